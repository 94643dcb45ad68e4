// One fused pass over all parameters: gradient scaling (clipping), SGD-with-momentum or AdamW, the bf16 copy that the
// next forward pass reads, and the exponential moving average.
// Layout: one ParameterSlot a parameter (read on the device), everything f32 except the bf16 copy.
// Bytes moved per element: AdamW reads p, g, m, v and writes p, m, v (28), + 2 for the bf16 copy, + 8 for the average.
// Variants: sgd, adamw; each ± bf16 copy, ± moving average. The gradient norm is a pass of its own (it must be known first).
#pragma once

#include <cmath>

#include "kernels/launch.h"

namespace ddpmts::kernels {

struct ParameterSlot {
  std::int64_t count = 0;
  float* value = nullptr;
  const float* grad = nullptr;
  float* first_moment = nullptr;   ///< momentum buffer (sgd) or m (adamw)
  float* second_moment = nullptr;  ///< v (adamw); null for sgd
  bf16* low_precision = nullptr;   ///< null: none
  float* average = nullptr;        ///< null: none
  float lr_scale = 1.0f;
  float weight_decay = 0.0f;       ///< sgd: added to the gradient; adamw: decoupled
  bool operator==(const ParameterSlot&) const = default;
};

enum class OptimizerKind : std::uint8_t { sgd, adamw };

/// What changes from one step to the next. The kernel reads it in the device's memory, so that a step which was captured
/// once takes new values every time it is replayed.
struct OptimizerRates {
  double first_correction = 1.0;   ///< adamw: 1 − beta1^step, the bias of the first moment
  double second_correction = 1.0;  ///< adamw: 1 − beta2^step
  float learning_rate = 1e-3f;
  float average_decay = 0.9999f;
  std::int32_t first_step = 1;  ///< sgd: 1 where the momentum buffer holds nothing yet
};

struct OptimizerStepArgs {
  OptimizerKind kind = OptimizerKind::adamw;
  const ParameterSlot* slots = nullptr;  ///< [slot_count], in memory of the launcher's device
  std::int64_t slot_count = 0;
  const OptimizerRates* rates = nullptr;  ///< [1], in memory of the launcher's device
  float momentum = 0.9f;  ///< sgd: v ← momentum·v + g (first step: v = g, as PyTorch); p ← p − lr·v
  float beta1 = 0.9f, beta2 = 0.999f, epsilon = 1e-8f;
  /// [2] from gradient_norm: {norm, finite (1 or 0)}. When finite is 0 nothing is changed.
  const float* norm = nullptr;
  /// > 0 (needs norm): gradients are scaled by min(1, max_norm/(norm + 1e-6)), as PyTorch.
  float max_norm = 0.0f;
};

/// The rates of update number `step`, counted from 1, with the learning rate and the average's decay left to the caller.
inline OptimizerRates optimizer_rates(const OptimizerStepArgs& args, std::int64_t step) {
  OptimizerRates rates;
  rates.first_step = step == 1 ? 1 : 0;
  if (args.kind == OptimizerKind::sgd) return rates;
  const double power = static_cast<double>(step);
  rates.first_correction = 1.0 - std::pow(static_cast<double>(args.beta1), power);
  rates.second_correction = 1.0 - std::pow(static_cast<double>(args.beta2), power);
  return rates;
}

struct GradientNormArgs {
  const ParameterSlot* slots = nullptr;  ///< [slot_count], in memory of the launcher's device
  std::int64_t slot_count = 0;
  float* norm = nullptr;  ///< [2] out: global L2 norm, 1 if every gradient is finite else 0
};

DDPMTS_KERNEL(optimizer_step, OptimizerStepArgs)
DDPMTS_KERNEL(gradient_norm, GradientNormArgs)

}  // namespace ddpmts::kernels
