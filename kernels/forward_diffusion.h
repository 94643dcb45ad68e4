// Forward diffusion (DDPM, arXiv 2006.11239 eq. 4), noise made in registers:
//   ε ~ N(0, I);   x_t = sqrt(ᾱ_t)·x_0 + sqrt(1 − ᾱ_t)·ε
// and what a network is to predict from x_t: ε, or the velocity v = sqrt(ᾱ_t)·ε − sqrt(1 − ᾱ_t)·x_0 (arXiv 2202.00512
// App. D).
// Layout: x_0 and x_t [N, count] f32 or bf16 in [−1, 1] before noise; the target f32.
// Bytes moved per element: reads x_0, writes x_t and the target once.
// Variants: target ε, v or none.
#pragma once

#include "kernels/launch.h"

namespace ddpmts::kernels {

struct ForwardDiffusionArgs {
  DType type = DType::f32;  ///< of x_0 and x_t
  std::int64_t n = 0;
  std::int64_t count = 0;                      ///< values of one picture, H·W·C
  const void* x_0 = nullptr;                   ///< [n, count]
  const std::int32_t* timesteps = nullptr;     ///< [n], 0-based, < steps
  std::int64_t steps = 0;                      ///< length of the two tables
  const float* sqrt_alphas_cumprod = nullptr;  ///< [steps]
  const float* sqrt_one_minus_alphas_cumprod = nullptr;
  std::uint64_t seed = 0;
  /// Picture i draws from Philox(seed, RandomStream::diffusion, first_sample + i); value e from word e mod 4 of block e/4
  /// (diffusion_math.h).
  std::uint64_t first_sample = 0;
  void* x_t = nullptr;      ///< [n, count] out
  float* target = nullptr;  ///< [n, count] out, ε or v; null: not wanted
  bool velocity = false;    ///< the target is v
  /// [1], in memory of the launcher's device: is added to first_sample, so that a captured launch draws anew at every replay.
  /// null: nothing is added.
  const std::uint64_t* sample_offset = nullptr;
};

/// The same arguments give the same bits on every instruction set and thread count. x_t may alias x_0.
/// Throws std::invalid_argument for element types that do not fit, n < 0, count outside 0 to 2³⁴ (what one Philox step can
/// draw); on the CPU also for a timestep outside the tables.
DDPMTS_KERNEL(forward_diffusion, ForwardDiffusionArgs)

}  // namespace ddpmts::kernels
