// A defect mask at the segmentation head's resolution: bilinear with half-pixel centres, then cut (arXiv 2211.11317: 0.5).
// Layout: src [N, H, W] u8 (0 or 1), dst [N, h, w] u8 (0 or 1).
// Bytes moved: four taps read and one byte written per output pixel.
// Variants: none.
#pragma once

#include "kernels/launch.h"

namespace ddpmts::kernels {

struct MaskDownsampleArgs {
  std::int64_t n = 0, src_h = 0, src_w = 0, dst_h = 0, dst_w = 0;
  const std::uint8_t* src = nullptr;
  std::uint8_t* dst = nullptr;
  float threshold = 0.5f;  ///< dst = interpolated ≥ threshold
};

DDPMTS_KERNEL(mask_downsample, MaskDownsampleArgs)

}  // namespace ddpmts::kernels
