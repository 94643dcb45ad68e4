// Nearest-neighbour upsampling and average pooling by 2, and their gradients (contract: kernels/resample_2x.h).
// Layout: NHWC; a thread takes one vector of channels of a coarse pixel and the four fine pixels that belong to it.
// Bytes moved: the input once, the output once.
// Variants: f32, bf16; 16-byte accesses where channels and pointers allow.
#include "kernels/cuda/vector.cuh"
#include "kernels/resample_2x.h"

namespace ddpmts::kernels::cuda {
namespace {

constexpr int kThreads = 256;

template <int kWidth, bool kSpread, class T>
__global__ void __launch_bounds__(kThreads)
    resample_kernel(const T* x, T* y, std::int64_t vectors, std::int64_t w, std::int64_t channels,
                    float scale) {
  const std::int64_t v = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (v >= vectors) return;
  const std::int64_t coarse = v * kWidth;
  const std::int64_t pixel = quotient(coarse, channels), row = quotient(pixel, w);
  const std::int64_t column = pixel - row * w, channel = coarse - pixel * channels;
  const std::int64_t fine_row = 2 * w * channels;
  const std::int64_t upper = 2 * row * fine_row + 2 * column * channels + channel, lower = upper + fine_row;
  if constexpr (kSpread) {
    Floats<kWidth> value = load<kWidth>(x + coarse);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) value[i] *= scale;
    store<kWidth>(y + upper, value);
    store<kWidth>(y + upper + channels, value);
    store<kWidth>(y + lower, value);
    store<kWidth>(y + lower + channels, value);
  } else {
    const Floats<kWidth> a = load<kWidth>(x + upper), b = load<kWidth>(x + upper + channels),
                         c = load<kWidth>(x + lower), d = load<kWidth>(x + lower + channels);
    Floats<kWidth> sum;
#pragma unroll
    for (int i = 0; i < kWidth; ++i) sum[i] = ((a[i] + b[i]) + (c[i] + d[i])) * scale;
    store<kWidth>(y + coarse, sum);
  }
}

template <bool kSpread>
void resample(const char* name, const Resample2xArgs& args, Stream stream) {
  if (args.type != DType::f32 && args.type != DType::bf16) {
    throw std::invalid_argument("resample_2x: x must be f32 or bf16");
  }
  if (args.n < 0 || args.h < 1 || args.w < 1 || args.channels < 1) {
    throw std::invalid_argument("resample_2x: a coarse picture must have at least one pixel and one channel");
  }
  with_float_type(args.type, [&](auto zero) {
    using T = decltype(zero);
    const T* x = static_cast<const T*>(args.x);
    T* y = static_cast<T*>(args.y);
    const std::int64_t count = args.n * args.h * args.w * args.channels;
    const auto start = [&](auto kernel, int width) {
      launch(name, kernel, blocks_for(count / width, kThreads), kThreads, 0, stream, x, y, count / width,
             args.w, args.channels, args.scale);
    };
    if (args.channels % kVector<T> == 0 && aligned_to_16(x, y)) {
      start(resample_kernel<kVector<T>, kSpread, T>, kVector<T>);
    } else {
      start(resample_kernel<1, kSpread, T>, 1);
    }
  });
}

}  // namespace

void spread_2x(const Resample2xArgs& args, Stream stream) { resample<true>("spread_2x", args, stream); }

void gather_2x(const Resample2xArgs& args, Stream stream) { resample<false>("gather_2x", args, stream); }

}  // namespace ddpmts::kernels::cuda
