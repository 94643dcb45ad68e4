// One step of reverse diffusion, for every sampler and every disturbance:
//   x̂_0 = clamp(x_0_from_x·x_t − x_0_from_prediction·p, −1, 1),   p = ε̂, or v̂ for a network that predicts velocities
//   x   = from_x_0·x̂_0 + from_x·x_t + σ·z,   z ~ N(0, I) made in registers
// Ancestral sampling (arXiv 2006.11239 eq. 11) and DDIM with η (arXiv 2010.02502 eq. 12) differ in the coefficients only.
// The disturbed forms that paint defects differ in σ only: H1 multiplies the variance by 1 + s (arXiv 2403.05897 eq. 7);
// H1′ adds a variance δ² that is the same at every step. With a mask, σ_disturbed holds where it is 1 and σ elsewhere.
// With a known picture, the outside of the mask is taken from it (arXiv 2201.09865, Alg. 1):
//   x = sqrt(ᾱ_prev)·known + sqrt(1 − ᾱ_prev)·z.
// Layout: x_t f32 [N, P, C], in place; ε̂ and the network's next input f32 or bf16; mask u8 [N, P].
// Bytes moved per element: reads x_t and ε̂, writes x and the next input.
// Variants: mask or not, known or not, pictures (u8 levels) wanted or not.
#pragma once

#include <type_traits>

#include "kernels/launch.h"

namespace ddpmts::kernels {

/// What one picture needs at one step; made in double precision by models/diffusion.
struct ReverseStepCoefficients {
  float x_0_from_x = 1.0f;           ///< 1/sqrt(ᾱ_t); for v̂ sqrt(ᾱ_t)
  float x_0_from_prediction = 0.0f;  ///< sqrt(1/ᾱ_t − 1); for v̂ sqrt(1 − ᾱ_t)
  float from_x_0 = 1.0f;
  float from_x = 0.0f;
  float sigma = 0.0f;             ///< undisturbed
  float sigma_disturbed = 0.0f;   ///< everywhere without a mask
  float known_scale = 1.0f;       ///< sqrt(ᾱ_prev)
  float known_sigma = 0.0f;       ///< sqrt(1 − ᾱ_prev)
  std::uint64_t random_step = 0;  ///< Philox step; differs for every (picture, step)
};
static_assert(std::is_trivially_copyable_v<ReverseStepCoefficients>);

struct ReverseStepArgs {
  DType type = DType::f32;  ///< of noise_prediction, known and next_input
  std::int64_t n = 0, pixels = 0, channels = 0;
  const ReverseStepCoefficients* coefficients = nullptr;  ///< [n], on the device
  std::uint64_t seed = 0;
  float* x = nullptr;                      ///< [n, pixels, channels]: x_t in, x out
  const void* noise_prediction = nullptr;  ///< ε̂
  const std::uint8_t* mask = nullptr;      ///< [n, pixels] 0, else 1; null: disturbed everywhere
  const void* known = nullptr;             ///< [n, pixels, channels], needs mask; null: nothing is kept
  void* next_input = nullptr;              ///< x rounded to `type`; null: not wanted
  std::uint8_t* pictures =
      nullptr;  ///< [n, pixels, channels] round((x + 1)·127.5), halves up, clamped to 0–255; null: not wanted
};

/// Value e of picture i draws word e mod 4 of block e/4 of Philox(seed, RandomStream::diffusion, random_step), as
/// forward_diffusion does. Where no σ of a picture asks for noise, z is 0 and none is drawn.
/// The same arguments give the same bits on every instruction set and thread count. NaN stays NaN in x (the clamp lets it
/// through) and is level 0 in `pictures`. next_input may alias noise_prediction or known.
/// Throws std::invalid_argument for element types that do not fit, n < 0, a picture of less than 1 or more than 2³⁴ values,
/// or known without mask.
DDPMTS_KERNEL(reverse_step, ReverseStepArgs)

}  // namespace ddpmts::kernels
