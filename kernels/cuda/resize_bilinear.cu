// Bilinear resize of NHWC maps into a slice of channels, and its adjoint (contract: kernels/resize_bilinear.h).
// Layout: a thread takes one vector of channels; forward of up to four neighbouring output pixels, which share what they
//   read; backward of one source pixel, or of every parts-th output row that reads it, then summed in shared memory.
// Bytes moved: forward writes dst once, reads src about once (neighbours come from cache); backward the reverse.
// Variants: f32, bf16; 16-byte accesses where channels, slice and pointers allow; a copy for equal sizes.
#include "kernels/cuda/bilinear.cuh"
#include "kernels/cuda/vector.cuh"
#include "kernels/resize_bilinear.h"

namespace ddpmts::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kGather = 4;                       // output pixels that the adjoint reads at a time
constexpr int kMostParts = 32;                   // threads that share one source pixel
constexpr int kThreadsPerMultiprocessor = 1024;  // below this the adjoint splits its sums

/// Output pixels of one thread: single elements lie closer together, one a thread, so that a warp's writes join.
template <int kWidth>
constexpr int kRun = kWidth == 1 ? 1 : 4;

struct Resize {
  BilinearAxis rows, columns;
  int channels, vectors, dst_channels;
};

/// Work items are counted in 32 bits.
unsigned item_count(std::int64_t items) {
  if (items > 0x7fffffff) {
    throw std::invalid_argument("resize_bilinear: " + std::to_string(items) +
                                " vectors are more than 2^31 − 1");
  }
  return static_cast<unsigned>(items);
}

/// Equal sizes: `channels` channels of every pixel, from one stride to another.
template <int kWidth, class T>
__global__ void __launch_bounds__(kThreads)
    copy_kernel(const T* from, int from_channels, T* to, int to_channels, unsigned vectors, unsigned items) {
  const unsigned item = blockIdx.x * kThreads + threadIdx.x;
  if (item >= items) return;
  const std::int64_t pixel = item / vectors;
  const unsigned c = item % vectors * kWidth;
  store<kWidth>(to + pixel * to_channels + c, load<kWidth>(from + pixel * from_channels + c));
}

template <int kWidth, class T>
__global__ void __launch_bounds__(kThreads)
    forward_kernel(const T* src, T* dst, const __grid_constant__ Resize resize, unsigned runs,
                   unsigned items) {
  const unsigned item = blockIdx.x * kThreads + threadIdx.x;
  if (item >= items) return;
  const unsigned vectors = static_cast<unsigned>(resize.vectors);
  const unsigned run = item / vectors, out_row = run / runs;
  const int c = static_cast<int>(item % vectors) * kWidth;
  const int x = static_cast<int>(run % runs) * kRun<kWidth>;
  const unsigned out_h = static_cast<unsigned>(resize.rows.out_size);
  const std::int64_t first_row = std::int64_t{out_row / out_h} * resize.rows.source_size;
  const BilinearTap vertical = resize.rows.tap(static_cast<int>(out_row % out_h));
  const std::int64_t row_size = std::int64_t{resize.columns.source_size} * resize.channels;
  const T* above = src + (first_row + vertical.first) * row_size + c;
  const T* below = src + (first_row + vertical.second) * row_size + c;
  const auto column = [&](int source_x) {
    const Floats<kWidth> top = load<kWidth>(above + std::int64_t{source_x} * resize.channels);
    const Floats<kWidth> bottom = load<kWidth>(below + std::int64_t{source_x} * resize.channels);
    Floats<kWidth> between;
#pragma unroll
    for (int i = 0; i < kWidth; ++i) between[i] = top[i] + (bottom[i] - top[i]) * vertical.fraction;
    return between;
  };
  T* out = dst + std::int64_t{out_row} * resize.columns.out_size * resize.dst_channels + c;
  Floats<kWidth> left{}, right{};
  int held = -1;  // the source column in `left`
  for (int j = 0; j < kRun<kWidth> && x + j < resize.columns.out_size; ++j) {
    const BilinearTap tap = resize.columns.tap(x + j);
    if (tap.first != held) {
      left = column(tap.first);
      right = column(tap.second);
      held = tap.first;
    }
    Floats<kWidth> value;
#pragma unroll
    for (int i = 0; i < kWidth; ++i) value[i] = left[i] + (right[i] - left[i]) * tap.fraction;
    store<kWidth>(out + std::int64_t{x + j} * resize.dst_channels, value);
  }
}

/// What source pixel (y, x) gets from output rows begin + part, begin + part + parts …; `picture` is the picture's first
/// output pixel, at the vector's channels.
template <int kWidth, class T>
__device__ __forceinline__ Floats<kWidth> gather(const Resize& resize, const T* picture, int y, int x,
                                                 int part, int parts) {
  Floats<kWidth> sum = splat<kWidth>(0.0f);
  const int rows_end = resize.rows.readers_end(y), columns_end = resize.columns.readers_end(x);
  for (int row = resize.rows.readers_begin(y) + part; row < rows_end; row += parts) {
    const float row_weight = resize.rows.tap(row).weight_of(y);
    if (row_weight == 0.0f) continue;
    const T* pixels = picture + std::int64_t{row} * resize.columns.out_size * resize.dst_channels;
    for (int column = resize.columns.readers_begin(x); column < columns_end; column += kGather) {
      Floats<kWidth> values[kGather];
      float weights[kGather];
#pragma unroll
      for (int j = 0; j < kGather; ++j) {
        weights[j] = column + j < columns_end ? resize.columns.tap(column + j).weight_of(x) : 0.0f;
        values[j] = weights[j] != 0.0f ? load<kWidth>(pixels + std::int64_t{column + j} * resize.dst_channels)
                                       : splat<kWidth>(0.0f);
      }
#pragma unroll
      for (int j = 0; j < kGather; ++j) {
#pragma unroll
        for (int i = 0; i < kWidth; ++i) sum[i] += values[j][i] * (row_weight * weights[j]);
      }
    }
  }
  return sum;
}

/// A block has kThreads / parts vectors of source pixels, and `parts` threads for each.
template <int kWidth, class T>
__global__ void __launch_bounds__(kThreads)
    backward_kernel(const T* d_dst, T* d_src, const __grid_constant__ Resize resize, int parts,
                    unsigned items) {
  const int own_items = kThreads / parts;
  const int slot = static_cast<int>(threadIdx.x) % own_items,
            part = static_cast<int>(threadIdx.x) / own_items;
  const unsigned item = blockIdx.x * static_cast<unsigned>(own_items) + static_cast<unsigned>(slot);
  const unsigned vectors = static_cast<unsigned>(resize.vectors);
  const std::int64_t pixel = item / vectors;
  const int c = static_cast<int>(item % vectors) * kWidth;
  Floats<kWidth> sum = splat<kWidth>(0.0f);
  if (item < items) {
    const unsigned w = static_cast<unsigned>(resize.columns.source_size),
                   h = static_cast<unsigned>(resize.rows.source_size);
    const unsigned row = item / vectors / w, picture = row / h;
    const int x = static_cast<int>(item / vectors - row * w), y = static_cast<int>(row - picture * h);
    const std::int64_t first =
        std::int64_t{picture} * resize.rows.out_size * resize.columns.out_size * resize.dst_channels;
    sum = gather<kWidth>(resize, d_dst + first + c, y, x, part, parts);
  }
  if (parts > 1) {
    __shared__ SharedArray<float, kWidth * kThreads / 2> other;
    for (int half = parts / 2; half > 0; half /= 2) {
      const int place = part % half * own_items + slot;
      if (part >= half && part < 2 * half) {
#pragma unroll
        for (int i = 0; i < kWidth; ++i) other[i * (kThreads / 2) + place] = sum[i];
      }
      __syncthreads();
      if (part < half) {
#pragma unroll
        for (int i = 0; i < kWidth; ++i) sum[i] += other[i * (kThreads / 2) + place];
      }
      __syncthreads();
    }
  }
  if (item < items && part == 0) store<kWidth>(d_src + pixel * resize.channels + c, sum);
}

template <int kWidth>
Resize resize_of(const ResizeBilinearArgs& args) {
  return Resize{bilinear_axis(args.src_h, args.dst_h), bilinear_axis(args.src_w, args.dst_w),
                static_cast<int>(args.channels), static_cast<int>(args.channels / kWidth),
                static_cast<int>(args.dst_channels)};
}

bool same_size(const ResizeBilinearArgs& args) {
  return args.src_h == args.dst_h && args.src_w == args.dst_w;
}

/// Threads for one source pixel: more than one where there are too few pixels to fill the device and each has many rows
/// to read.
int parts_for(const ResizeBilinearArgs& args, std::int64_t items) {
  const std::int64_t enough = std::int64_t{multiprocessor_count()} * kThreadsPerMultiprocessor;
  const std::int64_t rows = smaller(args.dst_h, 2 * args.dst_h / args.src_h);
  int parts = 1;
  while (parts < kMostParts && 2 * parts <= rows && items * parts < enough) parts *= 2;
  return parts;
}

template <int kWidth, class T>
void copy(const char* name, const ResizeBilinearArgs& args, const T* from, std::int64_t from_channels, T* to,
          std::int64_t to_channels, Stream stream) {
  const std::int64_t vectors = args.channels / kWidth;
  const unsigned items = item_count(args.n * args.src_h * args.src_w * vectors);
  launch(name, copy_kernel<kWidth, T>, blocks_for(items, kThreads), kThreads, 0, stream, from,
         static_cast<int>(from_channels), to, static_cast<int>(to_channels), static_cast<unsigned>(vectors),
         items);
}

template <int kWidth, class T>
void forward(const ResizeBilinearArgs& args, const T* src, T* dst, Stream stream) {
  if (same_size(args)) {
    copy<kWidth>("resize_bilinear_forward", args, src, args.channels, dst, args.dst_channels, stream);
    return;
  }
  const Resize resize = resize_of<kWidth>(args);
  const std::int64_t runs = ceil_div(args.dst_w, kRun<kWidth>);
  const unsigned items = item_count(args.n * args.dst_h * runs * resize.vectors);
  launch("resize_bilinear_forward", forward_kernel<kWidth, T>, blocks_for(items, kThreads), kThreads, 0,
         stream, src, dst, resize, static_cast<unsigned>(runs), items);
}

template <int kWidth, class T>
void backward(const ResizeBilinearArgs& args, const T* d_dst, T* d_src, Stream stream) {
  if (same_size(args)) {
    copy<kWidth>("resize_bilinear_backward", args, d_dst, args.dst_channels, d_src, args.channels, stream);
    return;
  }
  const Resize resize = resize_of<kWidth>(args);
  const unsigned items = item_count(args.n * args.src_h * args.src_w * resize.vectors);
  const int parts = parts_for(args, items);
  launch("resize_bilinear_backward", backward_kernel<kWidth, T>, blocks_for(items, kThreads / parts),
         kThreads, 0, stream, d_dst, d_src, resize, parts, items);
}

/// Whether both sides can be read and written in 16-byte vectors.
template <class T>
bool fits_vectors(const ResizeBilinearArgs& args, const T* source, const T* slice) {
  return args.channels % kVector<T> == 0 && args.dst_channels % kVector<T> == 0 &&
         aligned_to_16(source, slice);
}

}  // namespace

void resize_bilinear_forward(const ResizeBilinearArgs& args, Stream stream) {
  with_float_type(args.type, [&](auto zero) {
    using T = decltype(zero);
    const T* src = static_cast<const T*>(args.src);
    T* slice = static_cast<T*>(args.dst) + args.dst_offset;
    if (fits_vectors<T>(args, src, slice)) {
      forward<kVector<T>>(args, src, slice, stream);
    } else {
      forward<1>(args, src, slice, stream);
    }
  });
}

void resize_bilinear_backward(const ResizeBilinearArgs& args, Stream stream) {
  with_float_type(args.type, [&](auto zero) {
    using T = decltype(zero);
    const T* slice = static_cast<const T*>(args.d_dst) + args.dst_offset;
    T* d_src = static_cast<T*>(args.d_src);
    if (fits_vectors<T>(args, d_src, slice)) {
      backward<kVector<T>>(args, slice, d_src, stream);
    } else {
      backward<1>(args, slice, d_src, stream);
    }
  });
}

}  // namespace ddpmts::kernels::cuda
