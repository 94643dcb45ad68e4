// A defect mask at the segmentation head's resolution: bilinear, then cut (contract: kernels/mask_downsample.h).
// Layout: src [N, H, W] u8, dst [N, h, w] u8; one output pixel a thread.
// Bytes moved: four taps read and one byte written per output pixel.
// Variants: none.
#include "kernels/cuda/bilinear.cuh"
#include "kernels/mask_downsample.h"

namespace ddpmts::kernels::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads)
    mask_kernel(const __grid_constant__ MaskDownsampleArgs args, BilinearAxis rows, BilinearAxis columns) {
  const std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= args.n * args.dst_h * args.dst_w) return;
  const std::int64_t row = i / args.dst_w, picture = row / args.dst_h;
  const BilinearTap x = columns.tap(static_cast<int>(i - row * args.dst_w));
  const BilinearTap y = rows.tap(static_cast<int>(row - picture * args.dst_h));
  const std::uint8_t* top = args.src + (picture * args.src_h + y.first) * args.src_w;
  const std::uint8_t* bottom = args.src + (picture * args.src_h + y.second) * args.src_w;
  const float upper =
      static_cast<float>(top[x.first]) * (1.0f - x.fraction) + static_cast<float>(top[x.second]) * x.fraction;
  const float lower = static_cast<float>(bottom[x.first]) * (1.0f - x.fraction) +
                      static_cast<float>(bottom[x.second]) * x.fraction;
  args.dst[i] = upper * (1.0f - y.fraction) + lower * y.fraction >= args.threshold ? 1 : 0;
}

}  // namespace

void mask_downsample(const MaskDownsampleArgs& args, Stream stream) {
  launch("mask_downsample", mask_kernel, blocks_for(args.n * args.dst_h * args.dst_w, kThreads), kThreads, 0,
         stream, args, bilinear_axis(args.src_h, args.dst_h), bilinear_axis(args.src_w, args.dst_w));
}

}  // namespace ddpmts::kernels::cuda
