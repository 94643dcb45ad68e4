// Rows of length 1 and their gradient (contract: kernels/normalize_rows.h).
// Layout: [rows, columns] row-major; a warp has a row, its lanes share the columns in groups of four.
// Bytes moved: as the contract says; the second reading comes from the first cache.
// Variants: x in f32 or bf16; vector accesses where columns and pointers allow.
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/vector.cuh"
#include "kernels/normalize_rows.h"

namespace ddpmts::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarpsPerBlock = kThreads / kWarp;
constexpr int kWidth = 4;

template <class T>
__global__ void __launch_bounds__(kThreads)
    forward_kernel(const T* rows, float* results, float* inverse_norms, std::int64_t count,
                   std::int64_t columns, bool aligned) {
  const std::int64_t row = std::int64_t{blockIdx.x} * kWarpsPerBlock + threadIdx.x / kWarp;
  if (row >= count) return;  // the whole warp
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  const T* x = rows + row * columns;
  float* y = results + row * columns;
  float square = 0.0f;
  for_each_stretch<kWidth>(lane, kWarp, columns, aligned, [&](const Stretch<kWidth>& here) {
    const Floats<kWidth> value = here.read(x);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) square += value[i] * value[i];
  });
  square = warp_sum(square);
  const float inverse = square < kLeastSquaredLength ? 0.0f : 1.0f / sqrtf(square);
  if (lane == 0) inverse_norms[row] = inverse;
  for_each_stretch<kWidth>(lane, kWarp, columns, aligned, [&](const Stretch<kWidth>& here) {
    Floats<kWidth> value = here.read(x);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) value[i] *= inverse;
    here.write(y, value);
  });
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    backward_kernel(const float* values, const float* gradients, const float* inverse_norms, T* results,
                    std::int64_t count, std::int64_t columns, bool aligned) {
  const std::int64_t row = std::int64_t{blockIdx.x} * kWarpsPerBlock + threadIdx.x / kWarp;
  if (row >= count) return;  // the whole warp
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  const float *y = values + row * columns, *dy = gradients + row * columns;
  T* dx = results + row * columns;
  float dot = 0.0f;
  for_each_stretch<kWidth>(lane, kWarp, columns, aligned, [&](const Stretch<kWidth>& here) {
    const Floats<kWidth> value = here.read(y), gradient = here.read(dy);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) dot += value[i] * gradient[i];
  });
  dot = warp_sum(dot);
  const float inverse = inverse_norms[row];
  for_each_stretch<kWidth>(lane, kWarp, columns, aligned, [&](const Stretch<kWidth>& here) {
    const Floats<kWidth> value = here.read(y);
    Floats<kWidth> gradient = here.read(dy);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) gradient[i] = inverse * (gradient[i] - dot * value[i]);
    here.write(dx, gradient);
  });
}

}  // namespace

void normalize_rows_forward(const NormalizeRowsArgs& args, Stream stream) {
  check(args);
  with_float_type(args.type, [&](auto zero) {
    using T = decltype(zero);
    const T* x = static_cast<const T*>(args.x);
    launch("normalize_rows_forward", forward_kernel<T>, blocks_for(args.rows, kWarpsPerBlock), kThreads, 0,
           stream, x, args.y, args.inverse_norms, args.rows, args.columns,
           args.columns % kWidth == 0 && aligned_to_16(x, args.y));
  });
}

void normalize_rows_backward(const NormalizeRowsArgs& args, Stream stream) {
  check(args);
  with_float_type(args.type, [&](auto zero) {
    using T = decltype(zero);
    T* dx = static_cast<T*>(args.dx);
    launch("normalize_rows_backward", backward_kernel<T>, blocks_for(args.rows, kWarpsPerBlock), kThreads, 0,
           stream, args.y, args.dy, args.inverse_norms, dx, args.rows, args.columns,
           args.columns % kWidth == 0 && aligned_to_16(args.y, args.dy, dx));
  });
}

}  // namespace ddpmts::kernels::cuda
