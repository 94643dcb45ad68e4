// The segmentation head's input −(T̂ ⊙ Ŝ), upsampled and concatenated over levels, and its adjoint to the student.
// Layout: features NHWC, out [N, out_h, out_w, Σ channels], f32 or bf16; the product of a level is held in f32.
// Bytes moved: forward reads T and S and writes out, one level's product going through the cache in between; backward
// reads dout (neighbouring rows again from the cache), T and S, and writes dS.
// Variants: f32, bf16; a level of the output's size skips the interpolation, both ways.
#include "kernels/feature_product.h"

#include <cmath>

#include "kernels/cpu/bilinear_tap.h"
#include "kernels/cpu/channel_pairs.h"

namespace ddpmts::kernels::cpu::DDPMTS_ISA {
namespace {

/// T̂ = T/(‖T‖ + ε), Ŝ = S/(‖S‖ + ε).
struct Norms {
  float teacher_inverse, student_inverse;
};

template <class T>
DDPMTS_INLINE Norms norms_of(const T* teacher, const T* student, std::int64_t channels) {
  Pair teacher_lanes = zero_pair(), student_lanes = zero_pair();
  std::int64_t c = 0;
  for (; c + kPair <= channels; c += kPair) {
    const Pair t = load_pair(teacher + c);
    const Pair s = load_pair(student + c);
    teacher_lanes = teacher_lanes + t * t;
    student_lanes = student_lanes + s * s;
  }
  float tt = sum_of(teacher_lanes), ss = sum_of(student_lanes);
  for (; c < channels; ++c) {
    tt += to_float(teacher[c]) * to_float(teacher[c]);
    ss += to_float(student[c]) * to_float(student[c]);
  }
  return Norms{1.0f / (std::sqrt(tt) + kNormEpsilon), 1.0f / (std::sqrt(ss) + kNormEpsilon)};
}

/// out[c] = −T̂[c]·Ŝ[c] at one position.
template <class T, class Out>
DDPMTS_INLINE void product(const T* teacher, const T* student, std::int64_t channels, Out* out) {
  const Norms norms = norms_of(teacher, student, channels);
  std::int64_t c = 0;
  for (; c + kPair <= channels; c += kPair) {
    store_pair(out + c, (load_pair(teacher + c) * -norms.teacher_inverse) *
                            (load_pair(student + c) * norms.student_inverse));
  }
  for (; c < channels; ++c) {
    out[c] = from_float<Out>((to_float(teacher[c]) * -norms.teacher_inverse) *
                             (to_float(student[c]) * norms.student_inverse));
  }
}

/// dS from g = dL/d(−T̂ ⊙ Ŝ) at one position. With q = dL/dŜ = −T̂ ⊙ g:
///   dS = q/(‖S‖ + ε) − S · Σ(q·S)/(‖S‖·(‖S‖ + ε)²).
/// A zero student vector has no direction: its gradient is set to 0.
template <class T, class G>
DDPMTS_INLINE void product_backward(const T* teacher, const T* student, const G* grad, std::int64_t channels,
                                    T* student_grad) {
  Pair teacher_lanes = zero_pair(), student_lanes = zero_pair(), triple_lanes = zero_pair();
  std::int64_t c = 0;
  for (; c + kPair <= channels; c += kPair) {
    const Pair t = load_pair(teacher + c);
    const Pair s = load_pair(student + c);
    teacher_lanes = teacher_lanes + t * t;
    student_lanes = student_lanes + s * s;
    triple_lanes = triple_lanes + t * s * load_pair(grad + c);
  }
  float tt = sum_of(teacher_lanes), ss = sum_of(student_lanes), tsg = sum_of(triple_lanes);
  for (; c < channels; ++c) {
    const float t = to_float(teacher[c]);
    const float s = to_float(student[c]);
    tt += t * t;
    ss += s * s;
    tsg += t * s * to_float(grad[c]);
  }
  const float norm = std::sqrt(ss);
  const float teacher_inverse = 1.0f / (std::sqrt(tt) + kNormEpsilon);
  const float student_inverse = 1.0f / (norm + kNormEpsilon);
  const bool zero = norm == 0.0f;
  const float along_teacher = zero ? 0.0f : -teacher_inverse * student_inverse;
  const float along_student =
      zero ? 0.0f : (tsg * teacher_inverse * student_inverse) * (student_inverse / norm);
  for (c = 0; c + kPair <= channels; c += kPair) {
    store_pair(student_grad + c, load_pair(teacher + c) * load_pair(grad + c) * along_teacher +
                                     load_pair(student + c) * along_student);
  }
  for (; c < channels; ++c) {
    student_grad[c] = from_float<T>(along_teacher * to_float(teacher[c]) * to_float(grad[c]) +
                                    along_student * to_float(student[c]));
  }
}

/// Output columns that lie between the same two source columns, as many as are written at once.
struct ColumnRun {
  static constexpr int kMost = 8;
  std::int64_t first, second;  ///< source columns
  float fraction[kMost];
  int count;
};

DDPMTS_INLINE ColumnRun column_run(const BilinearAxis& axis, std::int64_t column) {
  const BilinearTap start = axis.tap(column);
  ColumnRun run{start.first, start.second, {start.fraction}, 1};
  for (; run.count < ColumnRun::kMost && column + run.count < axis.out_size; ++run.count) {
    const BilinearTap next = axis.tap(column + run.count);
    if (next.first != start.first) break;
    run.fraction[run.count] = next.fraction;
  }
  return run;
}

/// Writes run.count output vectors, `stride` apart, from the products of the source rows above and below.
template <class T>
DDPMTS_INLINE void interpolate(const float* above, const float* below, float row_fraction,
                               const ColumnRun& run, std::int64_t channels, std::int64_t stride, T* out) {
  const float *above_left = above + run.first * channels, *above_right = above + run.second * channels;
  const float *below_left = below + run.first * channels, *below_right = below + run.second * channels;
  std::int64_t c = 0;
  for (; c + kPair <= channels; c += kPair) {
    const Pair top = load_pair(above_left + c), bottom = load_pair(below_left + c);
    const Pair top_right = load_pair(above_right + c), bottom_right = load_pair(below_right + c);
    const Pair left = top + (bottom - top) * row_fraction;
    const Pair across = top_right + (bottom_right - top_right) * row_fraction - left;
    for (int i = 0; i < run.count; ++i) store_pair(out + i * stride + c, left + across * run.fraction[i]);
  }
  for (; c < channels; ++c) {
    const float left = above_left[c] + (below_left[c] - above_left[c]) * row_fraction;
    const float right = above_right[c] + (below_right[c] - above_right[c]) * row_fraction;
    for (int i = 0; i < run.count; ++i) {
      out[i * stride + c] = from_float<T>(left + (right - left) * run.fraction[i]);
    }
  }
}

/// One level of the concatenation.
template <class T>
struct Slice {
  std::int64_t h, w, channels;
  const T* teacher;
  const T* student;
  T* student_grad;
  std::int64_t offset;  ///< of its first channel in the concatenation
  float* products;      ///< [N, h, w, channels]; unused where same_size
  bool same_size;       ///< the level has the output's size: nothing to interpolate
  BilinearAxis rows, columns;
};

template <class T>
struct Concatenation {
  std::int64_t n, out_h, out_w, channels;
  std::int64_t most_channels;  ///< of one level
  int count;
  Slice<T> slice[kMaxFeatureLevels];
};

template <class T>
DDPMTS_INLINE Concatenation<T> concatenation_of(const FeatureProductArgs& args) {
  const FeatureLevels& features = args.features;
  Concatenation<T> all{features.n, args.out_h, args.out_w, 0, 0, features.count, {}};
  float* products = args.workspace;
  for (int k = 0; k < features.count; ++k) {
    const FeatureLevel& level = features.level[k];
    const bool same_size = level.h == args.out_h && level.w == args.out_w;
    all.slice[k] = Slice<T>{level.h,
                            level.w,
                            level.channels,
                            static_cast<const T*>(level.teacher),
                            static_cast<const T*>(level.student),
                            static_cast<T*>(level.student_grad),
                            all.channels,
                            products,
                            same_size,
                            bilinear_axis(level.h, args.out_h),
                            bilinear_axis(level.w, args.out_w)};
    all.channels += level.channels;
    all.most_channels = larger(all.most_channels, level.channels);
    products += features.n * level.h * level.w * level.channels;
  }
  return all;
}

/// One level's channels of one output row.
template <class T>
DDPMTS_INLINE void write_row(const Slice<T>& slice, std::int64_t picture, std::int64_t out_y,
                             std::int64_t out_w, std::int64_t stride, T* out) {
  const std::int64_t channels = slice.channels;
  if (slice.same_size) {
    for (std::int64_t x = 0; x < out_w; ++x) {
      const std::int64_t i = ((picture * slice.h + out_y) * slice.w + x) * channels;
      product(slice.teacher + i, slice.student + i, channels, out + x * stride);
    }
    return;
  }
  const BilinearTap y = slice.rows.tap(out_y);
  const float* above = slice.products + (picture * slice.h + y.first) * slice.w * channels;
  const float* below = slice.products + (picture * slice.h + y.second) * slice.w * channels;
  for (std::int64_t x = 0; x < out_w;) {
    const ColumnRun run = column_run(slice.columns, x);
    interpolate(above, below, y.fraction, run, channels, stride, out + x * stride);
    x += run.count;
  }
}

template <class T>
void forward(const FeatureProductArgs& args) {
  const Concatenation<T> all = concatenation_of<T>(args);
  T* out = static_cast<T*>(args.out);
#pragma omp parallel
  {
    for (int k = 0; k < all.count; ++k) {
      const Slice<T>& slice = all.slice[k];
      if (slice.same_size) continue;
#pragma omp for schedule(static) nowait
      for (std::int64_t i = 0; i < all.n * slice.h * slice.w; ++i) {
        product(slice.teacher + i * slice.channels, slice.student + i * slice.channels, slice.channels,
                slice.products + i * slice.channels);
      }
    }
#pragma omp barrier
#pragma omp for schedule(static)
    for (std::int64_t row = 0; row < all.n * all.out_h; ++row) {
      for (int k = 0; k < all.count; ++k) {
        write_row(all.slice[k], row / all.out_h, row % all.out_h, all.out_w, all.channels,
                  out + row * all.out_w * all.channels + all.slice[k].offset);
      }
    }
  }
}

/// Weighted vectors waiting to be summed.
template <class T>
struct Gather {
  static constexpr int kMost = 16;
  const T* source[kMost];
  float weight[kMost];
  int count;

  /// sum += Σ weight·source, over the channels; empties the list.
  DDPMTS_INLINE void add_to(float* sum, std::int64_t channels) {
    std::int64_t c = 0;
    for (; c + kPair <= channels; c += kPair) {
      Pair total = load_pair(sum + c);
      for (int i = 0; i < count; ++i) total = total + load_pair(source[i] + c) * weight[i];
      store_pair(sum + c, total);
    }
    for (; c < channels; ++c) {
      for (int i = 0; i < count; ++i) sum[c] += to_float(source[i][c]) * weight[i];
    }
    count = 0;
  }
};

/// The adjoint of the interpolation at source position (y, x): sum = Σ over the output pixels that read it.
/// picture: the output gradient's first pixel, at this level's first channel.
template <class T>
DDPMTS_INLINE void gather_gradient(const Slice<T>& slice, const T* picture, std::int64_t stride,
                                   std::int64_t y, std::int64_t x, float* sum) {
  constexpr int kColumns = 8;
  for (std::int64_t c = 0; c < slice.channels; ++c) sum[c] = 0.0f;
  const BilinearReaders rows = slice.rows.readers(y);
  const BilinearReaders columns = slice.columns.readers(x);
  Gather<T> gather;
  gather.count = 0;
  for (std::int64_t column = columns.begin; column < columns.end;) {
    std::int64_t reading[kColumns];
    float column_weight[kColumns];
    int used = 0;
    for (; column < columns.end && used < kColumns; ++column) {
      const float weight = slice.columns.tap(column).weight_of(x);
      if (weight == 0.0f) continue;
      reading[used] = column;
      column_weight[used++] = weight;
    }
    for (std::int64_t row = rows.begin; row < rows.end; ++row) {
      const float row_weight = slice.rows.tap(row).weight_of(y);
      if (row_weight == 0.0f) continue;
      if (gather.count + used > Gather<T>::kMost) gather.add_to(sum, slice.channels);
      for (int i = 0; i < used; ++i) {
        gather.source[gather.count] = picture + (row * slice.columns.out_size + reading[i]) * stride;
        gather.weight[gather.count++] = row_weight * column_weight[i];
      }
    }
  }
  gather.add_to(sum, slice.channels);
}

/// The student's gradient in rows [begin, end) of one picture at one level; `sum` holds one channel vector.
template <class T>
DDPMTS_INLINE void backward_rows(const Slice<T>& slice, std::int64_t picture, std::int64_t begin,
                                 std::int64_t end, std::int64_t stride, const T* grad_picture, float* sum) {
  for (std::int64_t y = begin; y < end; ++y) {
    for (std::int64_t x = 0; x < slice.w; ++x) {
      const std::int64_t i = ((picture * slice.h + y) * slice.w + x) * slice.channels;
      if (slice.same_size) {
        product_backward(slice.teacher + i, slice.student + i, grad_picture + (y * slice.w + x) * stride,
                         slice.channels, slice.student_grad + i);
      } else {
        gather_gradient(slice, grad_picture, stride, y, x, sum);
        product_backward(slice.teacher + i, slice.student + i, sum, slice.channels, slice.student_grad + i);
      }
    }
  }
}

/// Goes over the pictures in horizontal bands, all levels of a band together, so that the rows of the output gradient
/// that the levels share are read from the cache.
template <class T>
void backward(const FeatureProductArgs& args) {
  const Concatenation<T> all = concatenation_of<T>(args);
  const T* grad_out = static_cast<const T*>(args.grad_out);
  std::int64_t bands = all.out_h;
  for (int k = 0; k < all.count; ++k) bands = smaller(bands, all.slice[k].h);
#pragma omp parallel for schedule(static)
  for (std::int64_t item = 0; item < all.n * bands; ++item) {
    const std::int64_t picture = item / bands, band = item % bands;
    for (int k = 0; k < all.count; ++k) {
      const Slice<T>& slice = all.slice[k];
      const T* grad_picture = grad_out + picture * all.out_h * all.out_w * all.channels + slice.offset;
      backward_rows(slice, picture, slice.h * band / bands, slice.h * (band + 1) / bands, all.channels,
                    grad_picture, args.workspace + item * all.most_channels);
    }
  }
}

}  // namespace

void feature_product_forward(const FeatureProductArgs& args) {
  with_float_type(args.features.type, [&](auto type) { forward<decltype(type)>(args); });
}

void feature_product_backward(const FeatureProductArgs& args) {
  with_float_type(args.features.type, [&](auto type) { backward<decltype(type)>(args); });
}

}  // namespace ddpmts::kernels::cpu::DDPMTS_ISA
