// The plain passes: cast, add, fill, u8 pictures to normalised channels (contract: kernels/elementwise.h).
// Layout: flat arrays; a thread takes 16 bytes of the wider type (pictures: one pixel, or one number where a pixel is not
//   a multiple of 16 bytes).
// Bytes moved: what the arrays hold, once.
// Variants: per pair of element types; aligned arrays in 16-byte accesses, others one element at a time.
#include "kernels/cuda/vector.cuh"
#include "kernels/elementwise.h"

namespace ddpmts::kernels::cuda {
namespace {

constexpr int kThreads = 256;

template <class From, class To, int kWidth>
__global__ void __launch_bounds__(kThreads)
    cast_kernel(const From* from, To* to, std::int64_t count, bool aligned) {
  const std::int64_t first = (std::int64_t{blockIdx.x} * kThreads + threadIdx.x) * kWidth;
  if (first >= count) return;
  if (aligned && first + kWidth <= count) {
    store<kWidth>(to + first, load<kWidth>(from + first));
  } else {
    store_upto<kWidth>(to + first, load_upto<kWidth>(from + first, count - first), count - first);
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    add_kernel(const T* a, const T* b, T* out, std::int64_t count, bool aligned) {
  constexpr int kWidth = kVector<T>;
  const std::int64_t first = (std::int64_t{blockIdx.x} * kThreads + threadIdx.x) * kWidth;
  if (first >= count) return;
  const bool whole = aligned && first + kWidth <= count;
  const std::int64_t here = count - first;
  Floats<kWidth> sum = whole ? load<kWidth>(a + first) : load_upto<kWidth>(a + first, here);
  const Floats<kWidth> other = whole ? load<kWidth>(b + first) : load_upto<kWidth>(b + first, here);
#pragma unroll
  for (int i = 0; i < kWidth; ++i) sum[i] += other[i];
  if (whole) {
    store<kWidth>(out + first, sum);
  } else {
    store_upto<kWidth>(out + first, sum, here);
  }
}

__global__ void __launch_bounds__(kThreads) fill_kernel(float value, float* out, std::int64_t count) {
  const std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < count) out[i] = value;
}

/// value·scale + shift = (value/255 − mean)/std
struct Normalization {
  float scale[3], shift[3];
  __device__ __forceinline__ float operator()(const std::uint8_t* pixel, int c) const {
    // No scale[c]: an index that the compiler does not know would put the table into local memory.
    const float factor = c == 0 ? scale[0] : c == 1 ? scale[1] : scale[2];
    const float offset = c == 0 ? shift[0] : c == 1 ? shift[1] : shift[2];
    return static_cast<float>(pixel[c]) * factor + offset;
  }
};

Normalization normalization_of(const NormalizeArgs& args) {
  Normalization n{};
  for (int c = 0; c < 3; ++c) {
    const double std = static_cast<double>(args.std[c]);
    n.scale[c] = static_cast<float>(1.0 / (255.0 * std));
    n.shift[c] = static_cast<float>(-static_cast<double>(args.mean[c]) / std);
  }
  return n;
}

/// One pixel of `vectors` 16-byte vectors a thread.
template <class T>
__global__ void __launch_bounds__(kThreads)
    normalize_vectors_kernel(const std::uint8_t* src, T* dst, std::int64_t pixels, int vectors,
                             Normalization formula) {
  constexpr int kWidth = kVector<T>;
  const std::int64_t pixel = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (pixel >= pixels) return;
  Floats<kWidth> values = splat<kWidth>(0.0f);
#pragma unroll
  for (int c = 0; c < 3; ++c) values[c] = formula(src + 3 * pixel, c);
  T* out = dst + pixel * vectors * kWidth;
  store<kWidth>(out, values);
  for (int v = 1; v < vectors; ++v) store<kWidth>(out + v * kWidth, splat<kWidth>(0.0f));
}

/// One number a thread.
template <class T>
__global__ void __launch_bounds__(kThreads)
    normalize_numbers_kernel(const std::uint8_t* src, T* dst, std::int64_t count, int channels,
                             Normalization formula) {
  const std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= count) return;
  const std::int64_t pixel = i / channels;
  const int c = static_cast<int>(i - pixel * channels);
  dst[i] = from_float<T>(c < 3 ? formula(src + 3 * pixel, c) : 0.0f);
}

}  // namespace

void cast(const CastArgs& args, Stream stream) {
  with_float_type(args.src_type, [&](auto from_zero) {
    with_float_type(args.dst_type, [&](auto to_zero) {
      using From = decltype(from_zero);
      using To = decltype(to_zero);
      constexpr int kWidth = larger(kVector<From>, kVector<To>);
      launch("cast", cast_kernel<From, To, kWidth>, blocks_for(args.count, kThreads * kWidth), kThreads, 0,
             stream, static_cast<const From*>(args.src), static_cast<To*>(args.dst), args.count,
             aligned_to_16(static_cast<const From*>(args.src), static_cast<To*>(args.dst)));
    });
  });
}

void add(const AddArgs& args, Stream stream) {
  with_float_type(args.type, [&](auto zero) {
    using T = decltype(zero);
    const T *a = static_cast<const T*>(args.a), *b = static_cast<const T*>(args.b);
    T* out = static_cast<T*>(args.out);
    launch("add", add_kernel<T>, blocks_for(args.count, kThreads * kVector<T>), kThreads, 0, stream, a, b,
           out, args.count, aligned_to_16(a, b, out));
  });
}

void fill_values(const FillValuesArgs& args, Stream stream) {
  launch("fill_values", fill_kernel, blocks_for(args.count, kThreads), kThreads, 0, stream, args.value,
         args.dst, args.count);
}

void normalize_pictures(const NormalizeArgs& args, Stream stream) {
  with_float_type(args.type, [&](auto zero) {
    using T = decltype(zero);
    T* dst = static_cast<T*>(args.dst);
    const Normalization formula = normalization_of(args);
    if (args.dst_channels % kVector<T> == 0 && aligned_to_16(dst)) {
      launch("normalize_pictures", normalize_vectors_kernel<T>, blocks_for(args.pixels, kThreads), kThreads,
             0, stream, args.src, dst, args.pixels, static_cast<int>(args.dst_channels / kVector<T>),
             formula);
    } else {
      const std::int64_t count = args.pixels * args.dst_channels;
      launch("normalize_pictures", normalize_numbers_kernel<T>, blocks_for(count, kThreads), kThreads, 0,
             stream, args.src, dst, count, static_cast<int>(args.dst_channels), formula);
    }
  });
}

}  // namespace ddpmts::kernels::cuda
