// The sinusoid that tells a UNet its timestep (ADM's order, arXiv 2105.05233: cosines first):
//   y[n, i] = cos(t_n·f_i), y[n, half + i] = sin(t_n·f_i), f_i = exp(−ln(10000)·i/half), i < half = channels/2
// and silu(x) = x·sigmoid(x), which its two-layer network and the blocks' projections use.
// Layout: y [N, channels] f32 or bf16. Small: N·channels values.
// Variants: silu forward, silu backward dx = dy·σ(x)·(1 + x·(1 − σ(x))).
#pragma once

#include "kernels/launch.h"

namespace ddpmts::kernels {

struct TimeEmbeddingArgs {
  DType type = DType::f32;
  std::int64_t n = 0, channels = 0;         ///< channels even
  const std::int32_t* timesteps = nullptr;  ///< [n]
  void* y = nullptr;
};

struct SiluArgs {
  DType type = DType::f32;
  std::int64_t count = 0;
  const void* x = nullptr;
  void* y = nullptr;         ///< forward out
  const void* dy = nullptr;  ///< backward in
  void* dx = nullptr;        ///< backward out
};

/// Angles are reduced in double precision: up to 4000 rad the error is below 3e-7 in f32. silu: relative error of σ below
/// 4e-7 + 6e-8·|x| in f32, 2⁻¹³ in bf16; y may alias x, dx may alias x or dy. NaN stays NaN.
/// Throws std::invalid_argument for element types that do not fit, n or count < 0, or channels that are odd or below 2.
DDPMTS_KERNEL(time_embedding, TimeEmbeddingArgs)
DDPMTS_KERNEL(silu_forward, SiluArgs)
DDPMTS_KERNEL(silu_backward, SiluArgs)

}  // namespace ddpmts::kernels
