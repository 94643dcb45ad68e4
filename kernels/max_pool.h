// Maximum over windows, for networks that are not trained: no record of where the maxima were.
// Layout: x [N, H, W, C], y [N, h, w, C] with h = (H + 2·padding − window) / stride + 1, f32 or bf16; what lies outside the
// picture is left out.
// Bytes moved: x read and y written once; the windows' overlap should come from the cache.
// Variants: f32, bf16. For CPUs only: a GPU's maxima are engine/cuda's, with their record.
#pragma once

#include "kernels/launch.h"

namespace ddpmts::kernels {

struct MaxPoolArgs {
  DType type = DType::f32;
  std::int64_t n = 0, h = 0, w = 0, c = 0;
  std::int64_t window_h = 3, window_w = 3, stride = 2, padding = 1;  ///< 0 ≤ padding < window
  std::int64_t out_h = 0, out_w = 0;
  const void* x = nullptr;
  void* y = nullptr;
};

/// NaN where a window holds one.
DDPMTS_KERNEL(max_pool, MaxPoolArgs)

}  // namespace ddpmts::kernels
