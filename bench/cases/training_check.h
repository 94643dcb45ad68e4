// How a training step is checked: its gradients against the loss itself, in f32; its loss and gradients in bf16 against f32.
#pragma once

#include <functional>

#include "bench/case.h"
#include "engine/parameter.h"

namespace ddpmts::bench {

/// What a step trains, and its loss on a fixed batch, recorded: [1] f32.
struct TrainingSubject {
  ParameterList parameters;
  std::function<Tensor()> loss;
};

/// Moves all parameters to and fro along their gradient: the loss must change by what the gradient says, within a tenth
/// (ReLUs open and close on the way, sums are f32). Leaves the parameters as they were.
Check check_gradient(const TrainingSubject& subject);

/// Loss within 2 % of the reference's, and gradients that point the same way: cosine 0.5 at least, where unrelated ones of
/// millions of parameters have 0. More cannot be asked of an untrained network of forty layers, on whose way back every
/// rounding grows.
Check check_against(const TrainingSubject& subject, const TrainingSubject& reference);

}  // namespace ddpmts::bench
