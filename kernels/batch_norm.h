// BatchNorm over the rows of [M, C] (M = N·H·W, NHWC), with what follows it in a residual block folded in:
//   y = relu?( (x − mean)·rstd·gamma + beta + residual? )
// Layout: x, residual, y, and their gradients [rows, channels] in f32 or bf16; everything per channel in f32.
// Bytes moved: training forward reads x twice and writes y; backward reads x, y, dy twice and writes dx (+ residual).
// Variants: training (batch statistics), inference (running statistics); each ± residual, ± ReLU.
#pragma once

#include "kernels/launch.h"

namespace ddpmts::kernels {

struct BatchNormForwardArgs {
  DType type = DType::f32;  ///< of x, residual and y: f32 or bf16
  std::int64_t rows = 0;
  std::int64_t channels = 0;
  const void* x = nullptr;
  const void* residual = nullptr;  ///< added before the ReLU; null: none
  void* y = nullptr;               ///< may not alias x or residual
  const float* gamma = nullptr;
  const float* beta = nullptr;
  bool relu = false;
  bool training = false;
  float epsilon = 1e-5f;
  /// Training: running ← (1−momentum)·running + momentum·batch, with the unbiased variance, as PyTorch does (0 where
  /// there is one row only). A channel whose batch statistics are not finite keeps its running ones, so that a step that
  /// went wrong and is skipped leaves nothing behind.
  float momentum = 0.1f;
  float* running_mean = nullptr;  ///< read in inference, updated in training
  float* running_var = nullptr;
  float* saved_mean = nullptr;  ///< [channels], training: batch mean, for backward
  float* saved_rstd = nullptr;  ///< [channels], training: 1/sqrt(biased variance + epsilon)
};

struct BatchNormBackwardArgs {
  DType type = DType::f32;
  std::int64_t rows = 0;
  std::int64_t channels = 0;
  const void* x = nullptr;
  const void* y = nullptr;  ///< forward output: where relu, dy counts only where y > 0
  const void* dy = nullptr;
  void* dx = nullptr;
  void* dresidual = nullptr;  ///< null when the forward had no residual; else receives the masked dy
  const float* gamma = nullptr;
  const float* saved_mean = nullptr;
  const float* saved_rstd = nullptr;
  float* dgamma = nullptr;  ///< [channels], overwritten
  float* dbeta = nullptr;   ///< [channels], overwritten
  bool relu = false;
};

/// Reductions run in a fixed order: the same input gives the same bits on the same machine, whatever the thread count.
/// Means and variances are taken about values of the data, so that a large common offset costs no precision.
DDPMTS_KERNEL(batch_norm_forward, BatchNormForwardArgs)
DDPMTS_KERNEL(batch_norm_backward, BatchNormBackwardArgs)

}  // namespace ddpmts::kernels
