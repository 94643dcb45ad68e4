// Gaussian smoothing of maps: separable, weights exp(−i²/2σ²) for |i| ≤ radius, normalised to sum 1; borders reflect
// about the pixel's outer edge (d c b a | a b c d | d c b a), as scipy.ndimage.gaussian_filter does with its defaults.
// Layout: src, dst [N, H, W] f32.
// Bytes moved: 8 per pixel; the neighbouring rows come from the cache.
// Variants: none. sigma 0 is a copy. Any H, W ≥ 1, also smaller than the radius.
#pragma once

#include "kernels/launch.h"

namespace ddpmts::kernels {

/// Largest sigma, in pixels.
constexpr float kGaussianBlurMaxSigma = 64.0f;
constexpr int kGaussianBlurMaxRadius = 256;

/// Four standard deviations, rounded to the nearest pixel.
constexpr int gaussian_blur_radius(float sigma) { return static_cast<int>(4.0f * sigma + 0.5f); }

struct GaussianBlurArgs {
  std::int64_t n = 0, h = 0, w = 0;
  float sigma = 4.0f;  ///< pixels, in [0, kGaussianBlurMaxSigma]; the caller checks it
  const float* src = nullptr;
  float* dst = nullptr;  ///< may not overlap src
};

DDPMTS_KERNEL(gaussian_blur, GaussianBlurArgs)

}  // namespace ddpmts::kernels
