// Bilinear resize of NHWC maps and its exact adjoint (contract: kernels/resize_bilinear.h).
// Layout: src [N, Hs, Ws, C], dst a slice of C channels of [N, Hd, Wd, dst_channels].
// Bytes moved: forward writes dst once, reads src about once; backward the reverse (neighbours from cache).
// Variants: forward blends two source rows into one row of f32, then resizes that row; a copy for equal sizes
//   and for a 1×1 source. Backward gathers each source pixel; a copy for equal sizes.
#include "kernels/resize_bilinear.h"

#include <omp.h>

#include "kernels/cpu/bilinear_tap.h"
#include "kernels/cpu/simd.h"

namespace ddpmts::kernels::cpu::DDPMTS_ISA {
namespace {

constexpr int kUnroll = 4;                // vectors of channels that the adjoint sums in registers
constexpr std::int64_t kSmall = 1 << 14;  // elements of dst below which one thread is faster than two

template <class T>
DDPMTS_INLINE void copy_channels(const T* from, T* to, std::int64_t channels) {
  __builtin_memcpy(to, from, static_cast<std::size_t>(channels) * sizeof(T));
}

/// out[i] = (1 − fraction)·top[i] + fraction·bottom[i]: one source row as the destination row sees it.
template <class T>
void blend_rows(const T* top, const T* bottom, float fraction, float* out, std::int64_t count) {
  const Floats down = splat(fraction);
  for_each_vector(count, [&](std::int64_t i, std::int64_t n) DDPMTS_INLINE_LAMBDA {
    const Floats above = load_upto(top + i, n);
    store_upto(out + i, above + down * as_written(load_upto(bottom + i, n) - above), n);
  });
}

/// One destination row from its blended source row [src_w, channels].
template <class T>
void resize_row(const ResizeBilinearArgs& args, const BilinearTap* columns, const float* row, T* out) {
  const std::int64_t channels = args.channels;
  for (std::int64_t x = 0; x < args.dst_w; ++x, out += args.dst_channels) {
    const float* left = row + columns[x].first * channels;
    const float* right = row + columns[x].second * channels;
    const float fraction = columns[x].fraction;
    std::int64_t c = 0;
    for (; c + kLanes <= channels; c += kLanes) {
      const Floats a = load(left + c);
      store(out + c, a + fraction * as_written(load(right + c) - a));
    }
    for (; c < channels; ++c) out[c] = from_float<T>(left[c] + fraction * as_written(right[c] - left[c]));
  }
}

/// Equal sizes, or a 1×1 source: every pixel of the destination row is a pixel of the source.
template <class T>
void copy_row(const ResizeBilinearArgs& args, const T* src, std::int64_t src_step, T* out) {
  for (std::int64_t x = 0; x < args.dst_w; ++x, out += args.dst_channels, src += src_step) {
    copy_channels(src, out, args.channels);
  }
}

template <class T>
void forward(const ResizeBilinearArgs& args) {
  const std::int64_t channels = args.channels;
  const bool same = args.src_h == args.dst_h && args.src_w == args.dst_w;
  const bool broadcast = args.src_h == 1 && args.src_w == 1;
  const std::int64_t rows = args.n * args.dst_h;
  const std::int64_t src_row = args.src_w * channels;
  const Scratch<BilinearTap> columns(args.dst_w);
  const BilinearAxis down = bilinear_axis(args.src_h, args.dst_h);
  const BilinearAxis across = bilinear_axis(args.src_w, args.dst_w);
  for (std::int64_t d = 0; d < args.dst_w; ++d) columns[d] = across.tap(d);
  const std::int64_t row_stride = ceil_div(src_row, 16) * 16;  // threads share no cache line
  const Scratch<float> blended(same || broadcast ? 0 : row_stride * omp_get_max_threads());
#pragma omp parallel for schedule(static) if (rows * args.dst_w * channels >= kSmall)
  for (std::int64_t r = 0; r < rows; ++r) {
    const T* src = static_cast<const T*>(args.src) + r / args.dst_h * args.src_h * src_row;
    T* out = static_cast<T*>(args.dst) + r * args.dst_w * args.dst_channels + args.dst_offset;
    if (same) {
      copy_row(args, src + r % args.dst_h * src_row, channels, out);
    } else if (broadcast) {
      copy_row(args, src, 0, out);
    } else {
      const BilinearTap tap = down.tap(r % args.dst_h);
      float* row = blended.data() + row_stride * omp_get_thread_num();
      blend_rows(src + tap.first * src_row, src + tap.second * src_row, tap.fraction, row, src_row);
      resize_row(args, columns.data(), row, out);
    }
  }
}

/// The adjoint along one axis: source index s collects weights[k]·dst[first + k] for k in [0, count). Tables
/// for all s lie one after the other.
struct AxisGather {
  struct Range {
    std::int64_t first, count, weights_at;
  };
  Scratch<Range> ranges;
  Scratch<float> weights;

  DDPMTS_INLINE AxisGather(std::int64_t src, std::int64_t dst) : ranges(src), weights(2 * dst) {
    const BilinearAxis axis = bilinear_axis(src, dst);
    // Taps move right with d, so that the d which touch s are contiguous, and each d touches at most two s.
    std::int64_t begin = 0;
    std::int64_t used = 0;
    for (std::int64_t s = 0; s < src; ++s) {
      while (begin < dst && axis.tap(begin).second < s) ++begin;
      ranges[s] = Range{begin, 0, used};
      for (std::int64_t d = begin; d < dst; ++d) {
        const BilinearTap tap = axis.tap(d);
        if (tap.first > s) break;
        weights[used++] = tap.weight_of(s);
        ++ranges[s].count;
      }
    }
  }
};

/// kVectors vectors of channels of one source pixel: each destination row is summed by itself, then weighted.
template <class T, int kVectors>
DDPMTS_INLINE void gather_channels(const T* gradient, std::int64_t row_stride, std::int64_t pixel_stride,
                                   std::int64_t row_count, std::int64_t column_count,
                                   const float* row_weights, const float* column_weights, T* out,
                                   std::int64_t n) {
  Floats total[kVectors] = {};
  for (std::int64_t i = 0; i < row_count; ++i) {
    const T* pixel = gradient + i * row_stride;
    Floats row[kVectors] = {};
    for (std::int64_t j = 0; j < column_count; ++j, pixel += pixel_stride) {
      const Floats weight = splat(column_weights[j]);
      for (int v = 0; v < kVectors; ++v) row[v] += weight * load_upto(pixel + v * kLanes, n);
    }
    const Floats weight = splat(row_weights[i]);
    for (int v = 0; v < kVectors; ++v) total[v] += weight * row[v];
  }
  for (int v = 0; v < kVectors; ++v) store_upto(out + v * kLanes, total[v], n);
}

template <class T>
void gather_pixel(const ResizeBilinearArgs& args, const AxisGather& rows, const AxisGather& columns,
                  std::int64_t image, std::int64_t src_y, std::int64_t src_x) {
  const AxisGather::Range ys = rows.ranges[src_y];
  const AxisGather::Range xs = columns.ranges[src_x];
  const float* row_weights = rows.weights.data() + ys.weights_at;
  const float* column_weights = columns.weights.data() + xs.weights_at;
  const std::int64_t stride = args.dst_w * args.dst_channels;
  const T* gradient = static_cast<const T*>(args.d_dst) + (image * args.dst_h + ys.first) * stride +
                      xs.first * args.dst_channels + args.dst_offset;
  T* out = static_cast<T*>(args.d_src) + ((image * args.src_h + src_y) * args.src_w + src_x) * args.channels;
  std::int64_t c = 0;
  for (; c + kUnroll * kLanes <= args.channels; c += kUnroll * kLanes) {
    gather_channels<T, kUnroll>(gradient + c, stride, args.dst_channels, ys.count, xs.count, row_weights,
                                column_weights, out + c, kLanes);
  }
  for (; c + kLanes <= args.channels; c += kLanes) {
    gather_channels<T, 1>(gradient + c, stride, args.dst_channels, ys.count, xs.count, row_weights,
                          column_weights, out + c, kLanes);
  }
  if (c < args.channels) {
    gather_channels<T, 1>(gradient + c, stride, args.dst_channels, ys.count, xs.count, row_weights,
                          column_weights, out + c, args.channels - c);
  }
}

template <class T>
void backward(const ResizeBilinearArgs& args) {
  const bool same = args.src_h == args.dst_h && args.src_w == args.dst_w;
  const std::int64_t pixels = args.n * args.src_h * args.src_w;
  const AxisGather rows(args.src_h, args.dst_h);
  const AxisGather columns(args.src_w, args.dst_w);
#pragma omp parallel for schedule(static) if (args.n * args.dst_h * args.dst_w * args.channels >= kSmall)
  for (std::int64_t pixel = 0; pixel < pixels; ++pixel) {
    if (same) {
      copy_channels(static_cast<const T*>(args.d_dst) + pixel * args.dst_channels + args.dst_offset,
                    static_cast<T*>(args.d_src) + pixel * args.channels, args.channels);
    } else {
      gather_pixel<T>(args, rows, columns, pixel / (args.src_h * args.src_w), pixel / args.src_w % args.src_h,
                      pixel % args.src_w);
    }
  }
}

}  // namespace

void resize_bilinear_forward(const ResizeBilinearArgs& args) {
  with_float_type(args.type, [&](auto zero) DDPMTS_INLINE_LAMBDA { forward<decltype(zero)>(args); });
}

void resize_bilinear_backward(const ResizeBilinearArgs& args) {
  with_float_type(args.type, [&](auto zero) DDPMTS_INLINE_LAMBDA { backward<decltype(zero)>(args); });
}

}  // namespace ddpmts::kernels::cpu::DDPMTS_ISA
