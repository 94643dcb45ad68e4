// Image score: the mean of the k largest values of a map (arXiv 2211.11317 Sec. 4.1, k = 100).
// Layout: map [N, pixels] f32, score [N] f32.
// Bytes moved: 4 per pixel, a few times over (a radix select on the float's bits), then one sum.
// Variants: none. k ≥ pixels gives the plain mean; NaN in a map gives NaN.
#pragma once

#include "kernels/launch.h"

namespace ddpmts::kernels {

struct TopKMeanArgs {
  std::int64_t n = 0;
  std::int64_t pixels = 0;  ///< ≥ 1
  std::int64_t k = 100;     ///< ≥ 1
  const float* map = nullptr;
  float* score = nullptr;
};

DDPMTS_KERNEL(top_k_mean, TopKMeanArgs)

}  // namespace ddpmts::kernels
