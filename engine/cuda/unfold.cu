// A convolution's input as a matrix of its windows, and the adjoint (contract: device_kernels.h).
// Layout: x NHWC; columns [n·p·q, r·s·c], so that a row times a filter in KRSC is one output. A thread takes 16 bytes
//   of channels where they divide, else one element.
// Bytes moved: unfold writes r·s times the input; fold reads it back in f32, once.
// Variants: by element type, vectors or single elements.
#include "engine/cuda/device_kernels.h"
#include "kernels/cuda/vector.cuh"

namespace ddpmts::cuda {
namespace {

using namespace ddpmts::kernels::cuda;

constexpr int kThreads = 256;

struct Geometry {
  int h, w, c, p, q, r, s, stride, padding, dilation;
};

Geometry geometry(const ConvShape& s) {
  const auto narrow = [](std::int64_t extent) { return static_cast<int>(extent); };
  return {narrow(s.h), narrow(s.w), narrow(s.c),      narrow(s.out_h()), narrow(s.out_w()),
          narrow(s.r), narrow(s.s), narrow(s.stride), narrow(s.padding), narrow(s.dilation)};
}

// A block works on a part of one row of maps, so that nothing needs a 64-bit division.
dim3 grid_of_rows(std::int64_t rows, std::int64_t per_row, int width) {
  return {blocks_for(rows, 1), blocks_for(per_row, kThreads * width)};
}

template <class T, int kWidth>
__global__ void __launch_bounds__(kThreads)
    unfold_kernel(const T* x, T* columns, Geometry g, unsigned per_row) {
  const unsigned in_row = (blockIdx.y * kThreads + threadIdx.x) * kWidth;
  if (in_row >= per_row) return;
  const int c = static_cast<int>(in_row % static_cast<unsigned>(g.c));
  const int window = static_cast<int>(in_row / static_cast<unsigned>(g.c));  // (q, r, s)
  const int s = window % g.s, r = window / g.s % g.r, q = window / g.s / g.r;
  const std::int64_t n = blockIdx.x / static_cast<unsigned>(g.p);
  const int p = static_cast<int>(blockIdx.x % static_cast<unsigned>(g.p));
  const int h = p * g.stride - g.padding + r * g.dilation, w = q * g.stride - g.padding + s * g.dilation;
  Floats<kWidth> value = splat<kWidth>(0.0f);
  if (h >= 0 && h < g.h && w >= 0 && w < g.w) value = load<kWidth>(x + ((n * g.h + h) * g.w + w) * g.c + c);
  store<kWidth>(columns + std::int64_t{blockIdx.x} * per_row + in_row, value);
}

template <class T, int kWidth>
__global__ void __launch_bounds__(kThreads)
    fold_kernel(const float* columns, T* dx, Geometry g, unsigned per_row) {
  const unsigned in_row = (blockIdx.y * kThreads + threadIdx.x) * kWidth;
  if (in_row >= per_row) return;
  const int c = static_cast<int>(in_row % static_cast<unsigned>(g.c));
  const int w = static_cast<int>(in_row / static_cast<unsigned>(g.c));
  const std::int64_t n = blockIdx.x / static_cast<unsigned>(g.h);
  const int h = static_cast<int>(blockIdx.x % static_cast<unsigned>(g.h));
  Floats<kWidth> sum = splat<kWidth>(0.0f);
  for (int r = 0; r < g.r; ++r) {
    const int top = h + g.padding - r * g.dilation;
    if (top < 0 || top % g.stride != 0 || top / g.stride >= g.p) continue;
    for (int s = 0; s < g.s; ++s) {
      const int left = w + g.padding - s * g.dilation;
      if (left < 0 || left % g.stride != 0 || left / g.stride >= g.q) continue;
      const std::int64_t row = (n * g.p + top / g.stride) * g.q + left / g.stride;
      const Floats<kWidth> part = load<kWidth>(columns + ((row * g.r + r) * g.s + s) * g.c + c);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) sum[i] += part[i];
    }
  }
  store<kWidth>(dx + std::int64_t{blockIdx.x} * per_row + in_row, sum);
}

}  // namespace

void unfold(const UnfoldArgs& args, kernels::Stream stream) {
  const ConvShape& shape = args.shape;
  const std::int64_t rows = shape.n * shape.out_h(), per_row = shape.out_w() * shape.r * shape.s * shape.c;
  kernels::with_float_type(shape.type, [&](auto zero) {
    using T = decltype(zero);
    const T* x = static_cast<const T*>(args.x);
    T* columns = static_cast<T*>(args.columns);
    if (shape.c % kVector<T> == 0 && aligned_to_16(x, columns)) {
      launch("unfold", unfold_kernel<T, kVector<T>>, grid_of_rows(rows, per_row, kVector<T>), kThreads, 0,
             stream, x, columns, geometry(shape), static_cast<unsigned>(per_row));
    } else {
      launch("unfold", unfold_kernel<T, 1>, grid_of_rows(rows, per_row, 1), kThreads, 0, stream, x, columns,
             geometry(shape), static_cast<unsigned>(per_row));
    }
  });
}

void fold(const FoldArgs& args, kernels::Stream stream) {
  const ConvShape& shape = args.shape;
  const std::int64_t rows = shape.n * shape.h, per_row = shape.w * shape.c;
  kernels::with_float_type(shape.type, [&](auto zero) {
    using T = decltype(zero);
    T* dx = static_cast<T*>(args.dx);
    if (shape.c % kVector<T> == 0 && aligned_to_16(args.columns, dx)) {
      launch("fold", fold_kernel<T, kVector<T>>, grid_of_rows(rows, per_row, kVector<T>), kThreads, 0, stream,
             args.columns, dx, geometry(shape), static_cast<unsigned>(per_row));
    } else {
      launch("fold", fold_kernel<T, 1>, grid_of_rows(rows, per_row, 1), kThreads, 0, stream, args.columns, dx,
             geometry(shape), static_cast<unsigned>(per_row));
    }
  });
}

}  // namespace ddpmts::cuda
