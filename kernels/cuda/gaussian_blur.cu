// Separable Gaussian smoothing of maps with reflecting borders (contract: kernels/gaussian_blur.h).
// Layout: src, dst [N, H, W] f32; a block makes 8 rows × 64 columns. It sums the columns straight from src, also
//   `radius` columns to either side, keeps those sums in shared memory, and sums along the rows from there.
// Bytes moved: 8 per pixel from and to memory; neighbouring rows come from the cache.
// Variants: none.
#include <cmath>

#include "kernels/cuda/launch.cuh"
#include "kernels/gaussian_blur.h"

namespace ddpmts::kernels::cuda {
namespace {

constexpr int kRows = 8, kColumns = 64;  // of one block's output
constexpr int kThreads = 128;
constexpr int kRowsOfThread = kRows * kColumns / kThreads;

/// The weights for offsets 0 … radius; the other side is the same. In constant memory, as all parameters are.
struct Taps {
  float weight[kGaussianBlurMaxRadius + 1];
};

Taps taps_of(float sigma, int radius) {
  Taps taps{{1.0f}};
  if (radius == 0) return taps;
  const double s = static_cast<double>(sigma);
  double total = 0.0;
  for (int i = -radius; i <= radius; ++i) total += std::exp(-0.5 * i * i / (s * s));
  for (int i = 0; i <= radius; ++i)
    taps.weight[i] = static_cast<float>(std::exp(-0.5 * i * i / (s * s)) / total);
  return taps;
}

/// … d c b a | a b c d | d c b a …
__device__ __forceinline__ int reflected(int i, int size) {
  if (i >= 0 && i < size) return i;
  const int period = 2 * size;
  const int phase = (i % period + period) % period;
  return phase < size ? phase : period - 1 - phase;
}

__global__ void __launch_bounds__(kThreads)
    blur_kernel(const float* src, float* dst, int h, int w, int radius, const __grid_constant__ Taps taps,
                unsigned bands) {
  const int stride = kColumns + 2 * radius;
  const DynamicShared<float> sums = dynamic_shared<float>(std::int64_t{kRows} * stride);
  const std::int64_t picture = blockIdx.x / bands;
  const int y0 = static_cast<int>(blockIdx.x % bands) * kRows, x0 = static_cast<int>(blockIdx.y) * kColumns;
  src += picture * h * w;
  dst += picture * h * w;

  // A thread slides down one column: every value that it reads counts for all kRows output rows.
  for (int i = static_cast<int>(threadIdx.x); i < stride; i += kThreads) {
    const float* column = src + reflected(x0 - radius + i, w);
    float sum[kRows] = {};
    for (int j = -radius; j < kRows + radius; ++j) {
      const float value = column[std::int64_t{reflected(y0 + j, h)} * w];
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        const int offset = j < r ? r - j : j - r;
        if (offset <= radius) sum[r] += value * taps.weight[offset];
      }
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) sums[r * stride + i] = sum[r];
  }
  __syncthreads();

  const int x = static_cast<int>(threadIdx.x) % kColumns;
  const int first_row = static_cast<int>(threadIdx.x) / kColumns * kRowsOfThread;
  float sum[kRowsOfThread] = {};
  for (int j = -radius; j <= radius; ++j) {
    const float weight = taps.weight[j < 0 ? -j : j];
#pragma unroll
    for (int r = 0; r < kRowsOfThread; ++r) {
      const float value = sums[(first_row + r) * stride + x + radius + j];
      sum[r] += value * weight;
    }
  }
  if (x0 + x >= w) return;
#pragma unroll
  for (int r = 0; r < kRowsOfThread; ++r) {
    const int y = y0 + first_row + r;
    if (y < h) dst[std::int64_t{y} * w + x0 + x] = sum[r];
  }
}

}  // namespace

void gaussian_blur(const GaussianBlurArgs& args, Stream stream) {
  const int radius = gaussian_blur_radius(args.sigma);
  const std::int64_t bands = ceil_div(args.h, kRows);
  const std::size_t bytes = sizeof(float) * kRows * static_cast<std::size_t>(kColumns + 2 * radius);
  launch("gaussian_blur", blur_kernel, dim3(blocks_for(args.n * bands, 1), blocks_for(args.w, kColumns)),
         kThreads, bytes, stream, args.src, args.dst, static_cast<int>(args.h), static_cast<int>(args.w),
         radius, taps_of(args.sigma, radius), static_cast<unsigned>(bands));
}

}  // namespace ddpmts::kernels::cuda
