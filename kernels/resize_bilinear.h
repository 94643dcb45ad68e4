// Bilinear resize of NHWC maps with half-pixel centres (PyTorch's align_corners=False), and its adjoint.
// Layout: src [N, Hs, Ws, C]; dst is a slice of C channels, from `dst_offset`, of [N, Hd, Wd, dst_channels], so that a
// concatenation needs no copy. Types f32 or bf16, the same on both sides; weights and sums in f32.
// Bytes moved: forward writes dst once, reads src about once (neighbours come from cache); backward the reverse.
// Variants: forward; backward (gathers, never scatters: deterministic). Equal sizes reduce to a strided copy.
#pragma once

#include "kernels/launch.h"

namespace ddpmts::kernels {

struct ResizeBilinearArgs {
  DType type = DType::f32;
  std::int64_t n = 0, src_h = 0, src_w = 0, dst_h = 0, dst_w = 0, channels = 0;
  std::int64_t dst_channels = 0;  ///< channel count of the whole dst tensor, ≥ dst_offset + channels
  std::int64_t dst_offset = 0;
  const void* src = nullptr;  ///< forward: input
  void* dst = nullptr;        ///< forward: output slice (other channels untouched)
  const void* d_dst = nullptr;  ///< backward: gradient of dst (slice read)
  void* d_src = nullptr;        ///< backward: gradient of src, overwritten
};

DDPMTS_KERNEL(resize_bilinear_forward, ResizeBilinearArgs)
DDPMTS_KERNEL(resize_bilinear_backward, ResizeBilinearArgs)

}  // namespace ddpmts::kernels
