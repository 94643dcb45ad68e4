// SGD with momentum and AdamW over all parameters in one fused pass, with clipping by the global gradient
// norm, a moving average of the weights, and learning-rate schedules.
#pragma once

#include <functional>

#include "engine/exchange_block.h"
#include "engine/parameter.h"
#include "kernels/optimizer_step.h"

namespace ddpmts {

struct OptimizerConfig {
  kernels::OptimizerKind kind = kernels::OptimizerKind::adamw;
  float momentum = 0.9f;                                ///< sgd
  float beta1 = 0.9f, beta2 = 0.999f, epsilon = 1e-8f;  ///< adamw
  float weight_decay = 0.01f;  ///< for weights of rank > 1; norms and biases do not decay unless decay_all
  bool decay_all = false;      ///< PyTorch's default behaviour
  float max_grad_norm = 0.0f;  ///< 0: no clipping
  float average_decay = 0.0f;  ///< 0: no moving average is kept
  /// The average's decay starts low and rises: min(average_decay, (1 + step)/(10 + step)), so that the starting weights
  /// are soon forgotten.
  bool average_warmup = false;
};

/// What one step saw.
struct StepReport {
  float grad_norm = 0.0f;
  bool finite = true;  ///< false: a gradient was not finite and nothing was changed
};

class Optimizer {
 public:
  /// `parameters` that are not trainable are left out. `lr_scale` per parameter by name prefix is set with
  /// scale_lr.
  Optimizer(const ParameterList& parameters, const OptimizerConfig& config);

  /// Multiplies the learning rate of every parameter whose name starts with `prefix`.
  void scale_lr(const std::string& prefix, float scale);

  /// Applies the gradients of all parameters that have one, then clears them. Deterministic.
  StepReport step(float learning_rate);

  /// step() in its three parts, for a step that is captured as a graph: what changes from step to step is written where
  /// the kernels read it, the work is enqueued (captured, or replayed), the outcome is waited for and counted.
  void prepare(float learning_rate);
  void enqueue();
  StepReport finish();

  std::int64_t steps() const { return steps_; }
  /// State for a checkpoint: moments and averages by name ("first_moment.<parameter>", …).
  std::vector<std::pair<std::string, Tensor>> state() const;
  /// Restores what state() gave; throws Error naming a missing tensor through `find`.
  void restore(std::int64_t steps,
               const std::function<Tensor(const std::string& name, const Shape& shape)>& find);
  /// The averaged weight of a parameter; empty when no average is kept.
  Tensor average(const Parameter& parameter) const;

 private:
  struct Entry {
    ParameterPtr parameter;
    Tensor first_moment, second_moment, average;
    float lr_scale = 1.0f;
  };
  void upload_slots();
  kernels::OptimizerStepArgs step_args() const;

  std::vector<Entry> entries_;
  OptimizerConfig config_;
  Device device_;
  ExchangeBlock rates_, norm_;  // OptimizerRates; norm and whether it is finite
  std::vector<kernels::ParameterSlot> slots_;
  Buffer slots_there_;
  std::vector<Parameter*> stepped_;  // what the enqueued step changes
  std::int64_t steps_ = 0;
};

/// Linear warm-up over the first `warmup` share of the run, then a cosine from 1 to `floor`. progress in [0,
/// 1].
float cosine_schedule(double progress, double warmup, double floor);

}  // namespace ddpmts
