// Between two resolutions of a UNet. Average pooling and nearest-neighbour upsampling by 2 are each other's adjoint up to a
// factor, so two kernels do both and their gradients:
//   spread: y[2i+a, 2j+b] = scale·x[i, j]            upsampling (scale 1), gradient of pooling (scale 1/4)
//   gather: y[i, j] = scale·Σ_ab x[2i+a, 2j+b]       pooling (scale 1/4), gradient of upsampling (scale 1)
// Layout: NHWC f32 or bf16; H, W are those of the coarse side.
// Bytes moved: one read of the input, one write of the output.
// Variants: none.
#pragma once

#include "kernels/launch.h"

namespace ddpmts::kernels {

struct Resample2xArgs {
  DType type = DType::f32;
  std::int64_t n = 0, h = 0, w = 0, channels = 0;  ///< coarse; the fine side is [n, 2h, 2w, channels]
  float scale = 1.0f;
  const void* x = nullptr;
  void* y = nullptr;
};

/// The four of a gather are summed in f32, rows first. y may not alias x.
/// Throws std::invalid_argument for element types that do not fit, n < 0 or another size below 1.
DDPMTS_KERNEL(spread_2x, Resample2xArgs)
DDPMTS_KERNEL(gather_2x, Resample2xArgs)

}  // namespace ddpmts::kernels
