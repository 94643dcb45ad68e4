// Perlin-noise masks (DRAEM, ICCV 2021; the generator of arXiv 2604.19240 Fig. 1 and arXiv 2211.11317): where a defect goes.
//   lattice (2^kx, 2^ky), unit gradients from Philox, fade 6t⁵−15t⁴+10t³, noise = √2·lerp(…), rotated about the centre,
//   zero outside the unit square, mask = noise > threshold.
// Layout: mask [N, H, W] u8, 0 or 1.
// Bytes moved: writes H·W bytes an image; everything else is computed.
// Variants: the paper's (an empty mask is allowed) and retried until not empty (max_tries > 1). Rotation is folded in
// by evaluating the noise at the rotated coordinate.
#pragma once

#include "kernels/launch.h"
#include "kernels/philox.h"

namespace ddpmts::kernels {

struct PerlinConfig {
  int min_exponent = 0;          ///< lattice exponents kx, ky ~ U{min, …, max}
  int max_exponent = 5;          ///< at most 5: 32 cells
  float threshold = 0.5f;        ///< noise lies in [−1, 1]
  float max_rotation = 90.0f;    ///< degrees; the angle ~ U(−max, max)
  int max_tries = 1;             ///< draws until a mask is not empty; the last one stands
};

struct PerlinMaskArgs {
  std::int64_t n = 0, h = 0, w = 0;
  PerlinConfig config;
  std::uint64_t seed = 0;
  std::uint64_t first_sample = 0;  ///< image i draws from Philox{seed, RandomStream::perlin, first_sample + i}
  std::uint8_t* mask = nullptr;
  float* noise = nullptr;  ///< [N, H, W] the noise itself, in [−1, 1]; null: not wanted
};

DDPMTS_KERNEL(perlin_mask, PerlinMaskArgs)

}  // namespace ddpmts::kernels
