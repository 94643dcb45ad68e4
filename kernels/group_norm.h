// GroupNorm of [N, P, C] (P = H·W, NHWC) with what precedes and follows it in a UNet's residual block folded in:
//   u = x + add;   v = (u − mean)·rstd·gamma + beta;   w = v·(1 + scale) + shift;   y = silu(w)
// mean and rstd over the P·C/groups values of a picture's group; add, scale and shift per picture and channel (the time
// embedding: added, or as scale-shift, ADM, arXiv 2105.05233); add, scale-shift and silu each optional.
// Layout: x, y, their gradients, add and scale_shift in f32 or bf16; gamma, beta and everything saved in f32.
// Bytes moved: forward reads x twice and writes y; backward reads x and dy twice and writes dx.
// Variants: each of add, scale-shift, silu on or off.
#pragma once

#include "kernels/launch.h"

namespace ddpmts::kernels {

struct GroupNormForwardArgs {
  DType type = DType::f32;  ///< of x, y, add and scale_shift: f32 or bf16
  std::int64_t n = 0, pixels = 0, channels = 0;
  std::int64_t groups = 32;           ///< divides channels
  const void* x = nullptr;            ///< [n, pixels, channels]
  const void* add = nullptr;          ///< [n, channels]; null: none
  const void* scale_shift = nullptr;  ///< [n, 2·channels], scales first; null: none
  const float* gamma = nullptr;       ///< [channels]
  const float* beta = nullptr;        ///< [channels]
  bool silu = false;
  float epsilon = 1e-5f;
  void* y = nullptr;            ///< [n, pixels, channels]; may not alias x
  float* saved_mean = nullptr;  ///< [n, groups] of u, for backward; null: not wanted
  float* saved_rstd = nullptr;  ///< [n, groups], 1/sqrt(biased variance + epsilon); null: not wanted
};

struct GroupNormBackwardArgs {
  DType type = DType::f32;
  std::int64_t n = 0, pixels = 0, channels = 0;
  std::int64_t groups = 32;
  const void* x = nullptr;
  const void* add = nullptr;
  const void* scale_shift = nullptr;
  const float* gamma = nullptr;
  const float* beta = nullptr;
  bool silu = false;
  const float* saved_mean = nullptr;
  const float* saved_rstd = nullptr;
  const void* dy = nullptr;
  void* dx = nullptr;            ///< [n, pixels, channels]
  void* dadd = nullptr;          ///< [n, channels], overwritten; null exactly when add is
  void* dscale_shift = nullptr;  ///< [n, 2·channels], overwritten; null exactly when scale_shift is
  float* dgamma = nullptr;       ///< [channels], overwritten
  float* dbeta = nullptr;        ///< [channels], overwritten
};

/// Reductions run in a fixed order: the same input gives the same bits on the same machine, whatever the thread count.
/// A large common offset of x or u costs no precision (means and variances are taken about values of the data); backward
/// knows the mean only as the f32 number that forward saved.
/// The logistic function is good to 1e-6 for f32, to 2⁻¹³ for bf16 (relative). NaN stays in its group.
/// No pictures (n = 0): dgamma and dbeta become 0, nothing else is done.
/// Throws std::invalid_argument for sizes or element types that do not fit, and if dadd or dscale_shift is there without its
/// input or the other way round.
DDPMTS_KERNEL(group_norm_forward, GroupNormForwardArgs)
DDPMTS_KERNEL(group_norm_backward, GroupNormBackwardArgs)

}  // namespace ddpmts::kernels
