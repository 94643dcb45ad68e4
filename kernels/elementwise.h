// The few plain per-element passes that nothing else could absorb.
// Layout: flat arrays of `count` elements.
// Bytes moved: what the arrays hold, once.
// Variants: cast (f32 ↔ bf16), add (out = a + b, aliasing allowed), one value everywhere, u8 pictures to normalised
//   channels.
#pragma once

#include "kernels/launch.h"

namespace ddpmts::kernels {

struct CastArgs {
  std::int64_t count = 0;
  DType src_type = DType::f32, dst_type = DType::bf16;  ///< f32 or bf16 each
  const void* src = nullptr;
  void* dst = nullptr;
};

struct AddArgs {
  DType type = DType::f32;
  std::int64_t count = 0;
  const void* a = nullptr;
  const void* b = nullptr;
  void* out = nullptr;  ///< may be a or b
};

/// dst[i] = value
struct FillValuesArgs {
  std::int64_t count = 0;
  float value = 0.0f;
  float* dst = nullptr;
};

/// out = (u8/255 − mean)/std per channel; channels 3 … dst_channels−1 of dst are zero (padding for tensor cores).
struct NormalizeArgs {
  DType type = DType::f32;
  std::int64_t pixels = 0;  ///< N·H·W
  const std::uint8_t* src = nullptr;  ///< [pixels, 3] RGB
  void* dst = nullptr;                ///< [pixels, dst_channels]
  std::int64_t dst_channels = 3;
  float mean[3] = {0.485f, 0.456f, 0.406f};
  float std[3] = {0.229f, 0.224f, 0.225f};
};

DDPMTS_KERNEL(cast, CastArgs)
DDPMTS_KERNEL(add, AddArgs)
DDPMTS_KERNEL(fill_values, FillValuesArgs)
DDPMTS_KERNEL(normalize_pictures, NormalizeArgs)

}  // namespace ddpmts::kernels
