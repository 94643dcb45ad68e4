// Reverse-mode differentiation on a tape. An operation whose inputs need gradients records one node with what
// its backward needs; backward() walks the tape once, last to first, and frees as it goes.
#pragma once

#include <functional>
#include <vector>

#include "engine/tensor.h"

namespace ddpmts {

/// Given dL/d(output), adds to the gradients of the inputs (`add_grad`, `Parameter::add_grad`).
using BackwardFunction = std::function<void(const Tensor& output_grad)>;

/// True unless a NoGrad is alive on this thread.
bool grad_enabled();

/// While alive, nothing on this thread is recorded.
class NoGrad {
 public:
  NoGrad();
  ~NoGrad();
  NoGrad(const NoGrad&) = delete;
  NoGrad& operator=(const NoGrad&) = delete;

 private:
  bool previous_;
};

/// Marks `output` as needing a gradient and puts its backward on this thread's tape.
void record(Tensor output, BackwardFunction backward);

/// Adds `gradient` (shape and type of `tensor`) to the tensor's gradient; no effect when it needs none.
void add_grad(const Tensor& tensor, Tensor gradient);

/// One term of a loss: a single f32 value and its weight.
struct LossTerm {
  Tensor value;
  float weight = 1.0f;
};

/// Differentiates Σ weight·value: fills the gradients of every leaf it depends on and clears the tape.
/// Throws ShapeError when a term is not a single f32 that depends on a parameter.
void backward(std::span<const LossTerm> terms);
inline void backward(const Tensor& loss) {
  const LossTerm term{loss, 1.0f};
  backward({&term, 1});
}

/// Forgets what was recorded and not differentiated (an inspection that forgot NoGrad, a failed step).
void clear_tape();

}  // namespace ddpmts
