// Max and average pooling, forward and backward (contract: device_kernels.h).
// Layout: NHWC; a thread takes 16 bytes of channels of one result where they divide, else one element.
// Bytes moved: each input about once (windows overlap in the cache), each result once, one index byte a maximum.
// Variants: by element type and index type; whole-map averages go through row_sums, whose blocks share the rows.
//
// Own kernels rather than cuDNN's resampling graphs: these read and write each byte once, which is all there is to
// win, keep a byte per maximum instead of cuDNN's own record, take every channel count, and always sum in one order.
#include "engine/cuda/device_kernels.h"
#include "kernels/cuda/vector.cuh"

namespace ddpmts::cuda {
namespace {

using namespace ddpmts::kernels::cuda;

constexpr int kThreads = 256;

struct Geometry {
  int h, w, c, p, q, window_h, window_w, stride, padding;
  bool padded;  ///< a mean counts zeros outside the map
};

Geometry geometry(const PoolShape& s) {
  const auto narrow = [](std::int64_t extent) { return static_cast<int>(extent); };
  return {narrow(s.h),        narrow(s.w),
          narrow(s.c),        narrow(s.out_h()),
          narrow(s.out_w()),  narrow(s.window_h),
          narrow(s.window_w), narrow(s.stride),
          narrow(s.padding),  s.kind == PoolKind::average_padded};
}

// Where a thread's vector lies in an [n, rows, columns, channels] array. A block works on a part of one row, so that
// nothing needs a 64-bit division.
struct Place {
  std::int64_t n, first;
  int row, column, channel;
  bool inside;
};
template <int kWidth>
__device__ __forceinline__ Place place(int rows, int columns, int channels) {
  const unsigned in_row = (blockIdx.y * kThreads + threadIdx.x) * kWidth;
  const unsigned per_row = static_cast<unsigned>(columns) * static_cast<unsigned>(channels);
  Place at;
  at.inside = in_row < per_row;
  at.column = static_cast<int>(in_row / static_cast<unsigned>(channels));
  at.channel = static_cast<int>(in_row % static_cast<unsigned>(channels));
  at.n = blockIdx.x / static_cast<unsigned>(rows);
  at.row = static_cast<int>(blockIdx.x % static_cast<unsigned>(rows));
  at.first = std::int64_t{blockIdx.x} * per_row + in_row;
  return at;
}
dim3 grid_of_rows(std::int64_t rows, std::int64_t per_row, int width) {
  return {blocks_for(rows, 1), blocks_for(per_row, kThreads * width)};
}

__device__ __forceinline__ std::int64_t element(std::int64_t n, int row, int column, int channel, int rows,
                                                int columns, int channels) {
  return ((n * rows + row) * columns + column) * channels + channel;
}

// A window's part inside the map, along one side.
struct Span {
  int origin, begin, end;
};
__device__ __forceinline__ Span span(int out, int stride, int padding, int window, int size) {
  const int origin = out * stride - padding;
  return {origin, larger(origin, 0), smaller(origin + window, size)};
}

// The windows that hold an element, along one side: [begin, end).
struct Windows {
  int begin, end;
};
__device__ __forceinline__ Windows windows(int at, int stride, int padding, int window, int outs) {
  const int lowest = at + padding - window + 1;
  return {lowest > 0 ? (lowest + stride - 1) / stride : 0, smaller((at + padding) / stride + 1, outs)};
}

// `index` may be null. A NaN in a window is its maximum, as in the comparison that other frameworks make.
template <class T, int kWidth, class Index>
__global__ void __launch_bounds__(kThreads) max_forward_kernel(const T* x, T* y, Index* index, Geometry g) {
  const Place out = place<kWidth>(g.p, g.q, g.c);
  if (!out.inside) return;
  const Span rows = span(out.row, g.stride, g.padding, g.window_h, g.h);
  const Span columns = span(out.column, g.stride, g.padding, g.window_w, g.w);
  Floats<kWidth> best = splat<kWidth>(-INFINITY);
  int at[kWidth];
#pragma unroll
  for (int i = 0; i < kWidth; ++i) {
    at[i] = (rows.begin - rows.origin) * g.window_w + columns.begin - columns.origin;
  }
  for (int h = rows.begin; h < rows.end; ++h) {
    for (int w = columns.begin; w < columns.end; ++w) {
      const Floats<kWidth> value = load<kWidth>(x + element(out.n, h, w, out.channel, g.h, g.w, g.c));
      const int here = (h - rows.origin) * g.window_w + w - columns.origin;
#pragma unroll
      for (int i = 0; i < kWidth; ++i) {
        if (value[i] > best[i] || value[i] != value[i]) {
          best[i] = value[i];
          at[i] = here;
        }
      }
    }
  }
  store<kWidth>(y + out.first, best);
  if (index == nullptr) return;
#pragma unroll
  for (int i = 0; i < kWidth; ++i) index[out.first + i] = static_cast<Index>(at[i]);
}

template <class T, int kWidth, class Index>
__global__ void __launch_bounds__(kThreads)
    max_backward_kernel(const T* dy, const Index* index, T* dx, Geometry g) {
  const Place in = place<kWidth>(g.h, g.w, g.c);
  if (!in.inside) return;
  const Windows rows = windows(in.row, g.stride, g.padding, g.window_h, g.p);
  const Windows columns = windows(in.column, g.stride, g.padding, g.window_w, g.q);
  Floats<kWidth> sum = splat<kWidth>(0.0f);
  for (int p = rows.begin; p < rows.end; ++p) {
    for (int q = columns.begin; q < columns.end; ++q) {
      const std::int64_t out = element(in.n, p, q, in.channel, g.p, g.q, g.c);
      const int here =
          (in.row - (p * g.stride - g.padding)) * g.window_w + in.column - (q * g.stride - g.padding);
      const Floats<kWidth> gradient = load<kWidth>(dy + out);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) {
        if (static_cast<int>(index[out + i]) == here) sum[i] += gradient[i];
      }
    }
  }
  store<kWidth>(dx + in.first, sum);
}

// What one position of a window weighs in its mean.
__device__ __forceinline__ float share_of(const Geometry& g, const Span& rows, const Span& columns) {
  const int positions =
      g.padded ? g.window_h * g.window_w : (rows.end - rows.begin) * (columns.end - columns.begin);
  return 1.0f / static_cast<float>(positions);
}

template <class T, int kWidth>
__global__ void __launch_bounds__(kThreads) average_forward_kernel(const T* x, T* y, Geometry g) {
  const Place out = place<kWidth>(g.p, g.q, g.c);
  if (!out.inside) return;
  const Span rows = span(out.row, g.stride, g.padding, g.window_h, g.h);
  const Span columns = span(out.column, g.stride, g.padding, g.window_w, g.w);
  Floats<kWidth> sum = splat<kWidth>(0.0f);
  for (int h = rows.begin; h < rows.end; ++h) {
    for (int w = columns.begin; w < columns.end; ++w) {
      const Floats<kWidth> value = load<kWidth>(x + element(out.n, h, w, out.channel, g.h, g.w, g.c));
#pragma unroll
      for (int i = 0; i < kWidth; ++i) sum[i] += value[i];
    }
  }
  const float share = share_of(g, rows, columns);
#pragma unroll
  for (int i = 0; i < kWidth; ++i) sum[i] *= share;
  store<kWidth>(y + out.first, sum);
}

template <class T, int kWidth>
__global__ void __launch_bounds__(kThreads) average_backward_kernel(const T* dy, T* dx, Geometry g) {
  const Place in = place<kWidth>(g.h, g.w, g.c);
  if (!in.inside) return;
  const Windows rows = windows(in.row, g.stride, g.padding, g.window_h, g.p);
  const Windows columns = windows(in.column, g.stride, g.padding, g.window_w, g.q);
  Floats<kWidth> sum = splat<kWidth>(0.0f);
  for (int p = rows.begin; p < rows.end; ++p) {
    const Span tall = span(p, g.stride, g.padding, g.window_h, g.h);
    for (int q = columns.begin; q < columns.end; ++q) {
      const Span wide = span(q, g.stride, g.padding, g.window_w, g.w);
      const float share = share_of(g, tall, wide);
      const Floats<kWidth> gradient = load<kWidth>(dy + element(in.n, p, q, in.channel, g.p, g.q, g.c));
#pragma unroll
      for (int i = 0; i < kWidth; ++i) sum[i] += gradient[i] * share;
    }
  }
  store<kWidth>(dx + in.first, sum);
}

// Calls f(T{}, width constant) with the widest access that channels and addresses allow.
template <class F, class... Pointers>
void with_width(const PoolShape& s, F&& f, const Pointers*... pointers) {
  kernels::with_float_type(s.type, [&](auto zero) {
    using T = decltype(zero);
    if (s.c % kVector<T> == 0 && aligned_to_16(pointers...)) {
      f(zero, std::integral_constant<int, kVector<T>>{});
    } else {
      f(zero, std::integral_constant<int, 1>{});
    }
  });
}

template <class F>
void with_index_type(const PoolShape& s, F&& f) {
  if (pool_index_bytes(s) == 1) {
    f(std::uint8_t{});
  } else {
    f(std::int32_t{});
  }
}

}  // namespace

void max_pool_forward(const PoolShape& s, const void* x, void* y, void* index, kernels::Stream stream) {
  with_width(
      s,
      [&](auto zero, auto width) {
        with_index_type(s, [&](auto index_zero) {
          using T = decltype(zero);
          using Index = decltype(index_zero);
          constexpr int kWidth = decltype(width)::value;
          launch("max_pool_forward", max_forward_kernel<T, kWidth, Index>,
                 grid_of_rows(s.n * s.out_h(), s.out_w() * s.c, kWidth), kThreads, 0, stream,
                 static_cast<const T*>(x), static_cast<T*>(y), static_cast<Index*>(index), geometry(s));
        });
      },
      x, y);
}

void max_pool_backward(const PoolShape& s, const void* dy, const void* index, void* dx,
                       kernels::Stream stream) {
  with_width(
      s,
      [&](auto zero, auto width) {
        with_index_type(s, [&](auto index_zero) {
          using T = decltype(zero);
          using Index = decltype(index_zero);
          constexpr int kWidth = decltype(width)::value;
          launch("max_pool_backward", max_backward_kernel<T, kWidth, Index>,
                 grid_of_rows(s.n * s.h, s.w * s.c, kWidth), kThreads, 0, stream, static_cast<const T*>(dy),
                 static_cast<const Index*>(index), static_cast<T*>(dx), geometry(s));
        });
      },
      dy, dx);
}

void average_pool_forward(const PoolShape& s, const void* x, void* y, kernels::Stream stream) {
  with_width(
      s,
      [&](auto zero, auto width) {
        using T = decltype(zero);
        constexpr int kWidth = decltype(width)::value;
        launch("average_pool_forward", average_forward_kernel<T, kWidth>,
               grid_of_rows(s.n * s.out_h(), s.out_w() * s.c, kWidth), kThreads, 0, stream,
               static_cast<const T*>(x), static_cast<T*>(y), geometry(s));
      },
      x, y);
}

void average_pool_backward(const PoolShape& s, const void* dy, void* dx, kernels::Stream stream) {
  with_width(
      s,
      [&](auto zero, auto width) {
        using T = decltype(zero);
        constexpr int kWidth = decltype(width)::value;
        launch("average_pool_backward", average_backward_kernel<T, kWidth>,
               grid_of_rows(s.n * s.h, s.w * s.c, kWidth), kThreads, 0, stream, static_cast<const T*>(dy),
               static_cast<T*>(dx), geometry(s));
      },
      dy, dx);
}

}  // namespace ddpmts::cuda
