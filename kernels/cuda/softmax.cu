// Softmax over rows and its gradient (contract: kernels/softmax.h).
// Layout: [rows, columns] row-major; a warp has a row of up to 1024 columns in its registers, a block a longer one, which it
//   reads three times (backward: twice), from the caches after the first.
// Bytes moved: forward reads x and writes y; backward reads y and dy, writes dx.
// Variants: y in f32 or bf16; rows in registers or not; groups of four columns where columns and pointers allow.
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/vector.cuh"
#include "kernels/softmax.h"

namespace ddpmts::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarpsPerBlock = kThreads / kWarp;
constexpr int kWidth = 4;
constexpr int kVectorsOfLane = 8;
constexpr std::int64_t kShortRow = kWarp * kWidth * kVectorsOfLane;

/// The largest of the block; NaN loses against a number.
__device__ __forceinline__ float block_max(float value) {
  __shared__ SharedArray<float, kWarpsPerBlock> of_warp;
  value = warp_max(value);
  if (threadIdx.x % kWarp == 0) of_warp[threadIdx.x / kWarp] = value;
  __syncthreads();
  for (int w = 0; w < kWarpsPerBlock; ++w) {
    const float other = of_warp[w];
    value = fmaxf(value, other);
  }
  __syncthreads();  // of_warp may be written again
  return value;
}

/// A lane's part of a short row: vectors lane, lane + 32 … of four columns.
__device__ __forceinline__ Stretch<kWidth> part_of(int vector, std::int64_t columns, bool aligned) {
  const std::int64_t lane = threadIdx.x % kWarp;
  return stretch_of<kWidth>((std::int64_t{vector} * kWarp + lane) * kWidth, columns, aligned);
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    short_forward_kernel(const float* x, T* y, std::int64_t rows, std::int64_t columns, float scale,
                         bool aligned) {
  const std::int64_t row = std::int64_t{blockIdx.x} * kWarpsPerBlock + threadIdx.x / kWarp;
  if (row >= rows) return;  // the whole warp
  Floats<kWidth> values[kVectorsOfLane];
  float highest = -INFINITY;
#pragma unroll
  for (int v = 0; v < kVectorsOfLane; ++v) {
    const Stretch<kWidth> here = part_of(v, columns, aligned);
    values[v] = splat<kWidth>(-INFINITY);
    if (here.size <= 0) continue;
    const Floats<kWidth> read = here.read(x + row * columns);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      if (i < here.size) values[v][i] = read[i] * scale;
      highest = fmaxf(highest, values[v][i]);
    }
  }
  highest = warp_max(highest);
  float sum = 0.0f;
#pragma unroll
  for (int v = 0; v < kVectorsOfLane; ++v) {
    const int size = part_of(v, columns, aligned).size;
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      values[v][i] = i < size ? expf(values[v][i] - highest) : 0.0f;
      sum += values[v][i];
    }
  }
  const float share = 1.0f / warp_sum(sum);
#pragma unroll
  for (int v = 0; v < kVectorsOfLane; ++v) {
    const Stretch<kWidth> here = part_of(v, columns, aligned);
    if (here.size <= 0) continue;
#pragma unroll
    for (int i = 0; i < kWidth; ++i) values[v][i] *= share;
    here.write(y + row * columns, values[v]);
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    short_backward_kernel(const T* y, const T* dy, float* dx, std::int64_t rows, std::int64_t columns,
                          float scale, bool aligned) {
  const std::int64_t row = std::int64_t{blockIdx.x} * kWarpsPerBlock + threadIdx.x / kWarp;
  if (row >= rows) return;  // the whole warp
  Floats<kWidth> values[kVectorsOfLane], gradients[kVectorsOfLane];
  float dot = 0.0f;
#pragma unroll
  for (int v = 0; v < kVectorsOfLane; ++v) {
    const Stretch<kWidth> here = part_of(v, columns, aligned);
    values[v] = gradients[v] = splat<kWidth>(0.0f);
    if (here.size <= 0) continue;
    values[v] = here.read(y + row * columns);
    gradients[v] = here.read(dy + row * columns);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) dot += values[v][i] * gradients[v][i];
  }
  dot = warp_sum(dot);
#pragma unroll
  for (int v = 0; v < kVectorsOfLane; ++v) {
    const Stretch<kWidth> here = part_of(v, columns, aligned);
    if (here.size <= 0) continue;
#pragma unroll
    for (int i = 0; i < kWidth; ++i) values[v][i] = scale * values[v][i] * (gradients[v][i] - dot);
    here.write(dx + row * columns, values[v]);
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    long_forward_kernel(const float* rows, T* results, std::int64_t columns, float scale, bool aligned) {
  const int thread = static_cast<int>(threadIdx.x);
  const float* x = rows + std::int64_t{blockIdx.x} * columns;
  T* y = results + std::int64_t{blockIdx.x} * columns;
  float highest = -INFINITY;
  for_each_stretch<kWidth>(thread, kThreads, columns, aligned, [&](const Stretch<kWidth>& here) {
    const Floats<kWidth> read = here.read(x);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      if (i < here.size) highest = fmaxf(highest, read[i] * scale);
    }
  });
  highest = block_max(highest);
  float sum = 0.0f;
  for_each_stretch<kWidth>(thread, kThreads, columns, aligned, [&](const Stretch<kWidth>& here) {
    const Floats<kWidth> read = here.read(x);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      const float value = read[i] * scale;
      if (i < here.size) sum += expf(value - highest);
    }
  });
  const float share = 1.0f / block_sum(sum);
  for_each_stretch<kWidth>(thread, kThreads, columns, aligned, [&](const Stretch<kWidth>& here) {
    Floats<kWidth> value = here.read(x);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      value[i] *= scale;
      value[i] = expf(value[i] - highest) * share;
    }
    here.write(y, value);
  });
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    long_backward_kernel(const T* values, const T* gradients, float* results, std::int64_t columns,
                         float scale, bool aligned) {
  const int thread = static_cast<int>(threadIdx.x);
  const std::int64_t first = std::int64_t{blockIdx.x} * columns;
  const T *y = values + first, *dy = gradients + first;
  float* dx = results + first;
  float dot = 0.0f;
  for_each_stretch<kWidth>(thread, kThreads, columns, aligned, [&](const Stretch<kWidth>& here) {
    const Floats<kWidth> value = here.read(y), gradient = here.read(dy);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) dot += value[i] * gradient[i];
  });
  dot = block_sum(dot);
  for_each_stretch<kWidth>(thread, kThreads, columns, aligned, [&](const Stretch<kWidth>& here) {
    Floats<kWidth> value = here.read(y);
    const Floats<kWidth> gradient = here.read(dy);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) value[i] = scale * value[i] * (gradient[i] - dot);
    here.write(dx, value);
  });
}

void check(const SoftmaxArgs& args) {
  if (args.type != DType::f32 && args.type != DType::bf16) {
    throw std::invalid_argument("softmax: y must be f32 or bf16");
  }
  if (args.rows < 0 || args.columns < 1) {
    throw std::invalid_argument("softmax: a row must have at least one column");
  }
}

}  // namespace

void softmax_forward(const SoftmaxArgs& args, Stream stream) {
  check(args);
  with_float_type(args.type, [&](auto zero) {
    using T = decltype(zero);
    T* y = static_cast<T*>(args.y);
    const bool aligned = args.columns % kWidth == 0 && aligned_to_16(args.x, y);
    if (args.columns <= kShortRow) {
      launch("softmax_forward", short_forward_kernel<T>, blocks_for(args.rows, kWarpsPerBlock), kThreads, 0,
             stream, args.x, y, args.rows, args.columns, args.scale, aligned);
    } else {
      launch("softmax_forward", long_forward_kernel<T>, blocks_for(args.rows, 1), kThreads, 0, stream, args.x,
             y, args.columns, args.scale, aligned);
    }
  });
}

void softmax_backward(const SoftmaxArgs& args, Stream stream) {
  check(args);
  with_float_type(args.type, [&](auto zero) {
    using T = decltype(zero);
    const T *y = static_cast<const T*>(args.y), *dy = static_cast<const T*>(args.dy);
    const bool aligned = args.columns % kWidth == 0 && aligned_to_16(y, dy, args.dx);
    if (args.columns <= kShortRow) {
      launch("softmax_backward", short_backward_kernel<T>, blocks_for(args.rows, kWarpsPerBlock), kThreads, 0,
             stream, y, dy, args.dx, args.rows, args.columns, args.scale, aligned);
    } else {
      launch("softmax_backward", long_backward_kernel<T>, blocks_for(args.rows, 1), kThreads, 0, stream, y,
             dy, args.dx, args.columns, args.scale, aligned);
    }
  });
}

}  // namespace ddpmts::kernels::cuda
