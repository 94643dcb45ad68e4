// The segmentation head's input −(T̂ ⊙ Ŝ), upsampled and concatenated over levels, and its adjoint to the student
//   (contract: kernels/feature_product.h).
// Layout: features NHWC, out [N, out_h, out_w, Σ channels]; a position's channels lie on neighbouring lanes
//   (feature_work.cuh); the upsampling gives a thread four output columns of one vector of channels.
// Bytes moved: forward reads T and S and writes out; levels of another size go through the workspace (f32) at their own
//   size. Backward reads T, S and dout (its neighbouring rows again from the cache) and writes dS.
// Variants: f32, bf16; levels of the output's size are written, and read back, directly.
#include "kernels/cuda/bilinear.cuh"
#include "kernels/cuda/feature_work.cuh"
#include "kernels/feature_product.h"

namespace ddpmts::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
constexpr int kRun = 4;  // output columns of one thread

/// One level's place in the concatenation.
struct Slice {
  BilinearAxis rows, columns;
  float* products;  // [N, h, w, channels], in the workspace
  int channels, offset;
  bool same_size;
};

struct Concatenation {
  int out_h, out_w, channels, count;
  Slice slice[kMaxFeatureLevels];
};

Concatenation concatenation_of(const FeatureProductArgs& args) {
  const FeatureLevels& features = args.features;
  Concatenation all{static_cast<int>(args.out_h), static_cast<int>(args.out_w), 0, features.count, {}};
  float* products = args.workspace;
  for (int k = 0; k < features.count; ++k) {
    const FeatureLevel& level = features.level[k];
    all.slice[k] = Slice{bilinear_axis(level.h, args.out_h),
                         bilinear_axis(level.w, args.out_w),
                         products,
                         static_cast<int>(level.channels),
                         all.channels,
                         level.h == args.out_h && level.w == args.out_w};
    all.channels += static_cast<int>(level.channels);
    products += features.n * level.h * level.w * level.channels;
  }
  return all;
}

/// Where 16-byte accesses fit a level's part of `joined` (out or its gradient), its part of the workspace, and
/// `own` (another array of the level's).
template <class T>
bool fits_vectors(const Concatenation& all, int k, const void* joined, const void* own) {
  const Slice& slice = all.slice[k];
  return slice.channels % kVector<T> == 0 && slice.offset % kVector<T> == 0 &&
         all.channels % kVector<T> == 0 &&
         aligned_to_16(static_cast<const char*>(joined), static_cast<const char*>(own), slice.products);
}

// ---- Forward ----

/// out[c] = −T̂[c]·Ŝ[c] at one position.
template <int kWidth, class T, class Out>
__device__ __forceinline__ void write_product(const T* teacher, const T* student, int channels,
                                              const LaneWork& at, Out* out) {
  const Dots d = dots_of<kWidth>(teacher, student, channels, at.lane, at.lanes);
  const float teacher_factor = -1.0f / (sqrtf(d.tt) + kNormEpsilon);
  const float student_factor = 1.0f / (sqrtf(d.ss) + kNormEpsilon);
  for (int c = at.lane * kWidth; c < channels; c += at.lanes * kWidth) {
    const Floats<kWidth> t = load<kWidth>(teacher + c), s = load<kWidth>(student + c);
    Floats<kWidth> product;
#pragma unroll
    for (int i = 0; i < kWidth; ++i) product[i] = (t[i] * teacher_factor) * (s[i] * student_factor);
    store<kWidth>(out + c, product);
  }
}

template <int kWidth, class T>
__device__ __forceinline__ void write_products(const FeatureLevel& level, const Slice& slice, int stride,
                                               const LaneWork& at, T* out) {
  const std::int64_t first = at.position * slice.channels;
  const int channels = at.inside ? slice.channels : 0;
  const T* teacher = static_cast<const T*>(level.teacher) + first;
  const T* student = static_cast<const T*>(level.student) + first;
  if (slice.same_size) {
    write_product<kWidth>(teacher, student, channels, at, out + at.position * stride + slice.offset);
  } else {
    write_product<kWidth>(teacher, student, channels, at, slice.products + first);
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads, 4)
    products_kernel(const __grid_constant__ FeatureLevels features, const __grid_constant__ FeatureWork work,
                    const __grid_constant__ Concatenation all, T* out) {
  const std::int64_t task = std::int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp;
  if (task >= work.tasks) return;
  const LaneWork at = lane_work(work, features.count, task);
  if (work.level[at.level].in_vectors) {
    write_products<kVector<T>>(features.level[at.level], all.slice[at.level], all.channels, at, out);
  } else {
    write_products<1>(features.level[at.level], all.slice[at.level], all.channels, at, out);
  }
}

/// Which blocks of a row (blockIdx.y) upsample which level.
struct UpsampleWork {
  int blocks = 0;  // of one output row, all levels
  int first_block[kMaxFeatureLevels] = {};
  bool in_vectors[kMaxFeatureLevels] = {};
};

/// Output columns [x, x + kRun) of one row, channels [c, c + kWidth) of one level.
template <int kWidth, class T>
__device__ __forceinline__ void upsample_run(const Slice& slice, std::int64_t picture, int y, int x, int c,
                                             int stride, T* row) {
  const BilinearTap vertical = slice.rows.tap(y);
  const std::int64_t row_size = std::int64_t{slice.columns.source_size} * slice.channels;
  const float* above = slice.products + (picture * slice.rows.source_size + vertical.first) * row_size + c;
  const float* below = slice.products + (picture * slice.rows.source_size + vertical.second) * row_size + c;
  const auto column = [&](int source_x) {
    const Floats<kWidth> top = load<kWidth>(above + std::int64_t{source_x} * slice.channels);
    const Floats<kWidth> bottom = load<kWidth>(below + std::int64_t{source_x} * slice.channels);
    Floats<kWidth> between;
#pragma unroll
    for (int i = 0; i < kWidth; ++i) between[i] = top[i] + (bottom[i] - top[i]) * vertical.fraction;
    return between;
  };
  Floats<kWidth> left{}, right{};
  int held = -1;  // the source column in `left`
  for (int j = 0; j < kRun && x + j < slice.columns.out_size; ++j) {
    const BilinearTap tap = slice.columns.tap(x + j);
    if (tap.first != held) {
      left = column(tap.first);
      right = column(tap.second);
      held = tap.first;
    }
    Floats<kWidth> value;
#pragma unroll
    for (int i = 0; i < kWidth; ++i) value[i] = left[i] + (right[i] - left[i]) * tap.fraction;
    store<kWidth>(row + std::int64_t{x + j} * stride + slice.offset + c, value);
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    upsample_kernel(const __grid_constant__ Concatenation all, const __grid_constant__ UpsampleWork work,
                    T* out) {
  int k = 0;
#pragma unroll
  for (int next = 1; next < kMaxFeatureLevels; ++next) {
    if (next < all.count && static_cast<int>(blockIdx.y) >= work.first_block[next]) k = next;
  }
  const Slice& slice = all.slice[k];
  const int width = work.in_vectors[k] ? kVector<T> : 1;
  const int vectors = slice.channels / width;
  const int i =
      (static_cast<int>(blockIdx.y) - work.first_block[k]) * kThreads + static_cast<int>(threadIdx.x);
  const int x = i / vectors * kRun, c = i % vectors * width;
  if (x >= all.out_w) return;
  const std::int64_t picture = blockIdx.x / static_cast<unsigned>(all.out_h);
  const int y = static_cast<int>(blockIdx.x % static_cast<unsigned>(all.out_h));
  T* row = out + std::int64_t{blockIdx.x} * all.out_w * all.channels;
  if (work.in_vectors[k]) {
    upsample_run<kVector<T>>(slice, picture, y, x, c, all.channels, row);
  } else {
    upsample_run<1>(slice, picture, y, x, c, all.channels, row);
  }
}

template <class T>
void forward(const FeatureProductArgs& args, Stream stream) {
  const Concatenation all = concatenation_of(args);
  T* out = static_cast<T*>(args.out);
  bool in_vectors[kMaxFeatureLevels] = {};
  UpsampleWork upsample;
  for (int k = 0; k < all.count; ++k) {
    in_vectors[k] = upsample.in_vectors[k] = fits_vectors<T>(all, k, out, nullptr);
    upsample.first_block[k] = upsample.blocks;
    if (all.slice[k].same_size) continue;
    const std::int64_t vectors = all.slice[k].channels / (in_vectors[k] ? kVector<T> : 1);
    upsample.blocks += static_cast<int>(ceil_div(vectors * ceil_div(args.out_w, kRun), kThreads));
  }
  const FeatureWork work = feature_work<T>(args.features, in_vectors);
  launch("feature_product_forward", products_kernel<T>, blocks_for(work.tasks, kWarps), kThreads, 0, stream,
         args.features, work, all, out);
  launch("feature_product_upsample", upsample_kernel<T>,
         dim3(blocks_for(args.features.n * args.out_h, 1), static_cast<unsigned>(upsample.blocks)), kThreads,
         0, stream, all, upsample, out);
}

// ---- Backward ----

/// The adjoint of the interpolation at source position (y, x): the weighted sum over the output pixels that read it, for
/// kWidth channels. grad: the picture's first output pixel, at these channels.
template <int kWidth, class T>
__device__ __forceinline__ Floats<kWidth> gather(const Slice& slice, int stride, const T* grad, int y,
                                                 int x) {
  constexpr int kGather = kWidth >= 8 ? 2 : 4;  // pixels in flight at once; more would spill registers
  Floats<kWidth> sum = splat<kWidth>(0.0f);
  const int rows_end = slice.rows.readers_end(y), columns_end = slice.columns.readers_end(x);
  for (int row = slice.rows.readers_begin(y); row < rows_end; ++row) {
    const float row_weight = slice.rows.tap(row).weight_of(y);
    if (row_weight == 0.0f) continue;
    const T* pixels = grad + std::int64_t{row} * slice.columns.out_size * stride;
    for (int column = slice.columns.readers_begin(x); column < columns_end; column += kGather) {
      Floats<kWidth> values[kGather];
      float weights[kGather];
#pragma unroll
      for (int j = 0; j < kGather; ++j) {
        weights[j] = column + j < columns_end ? slice.columns.tap(column + j).weight_of(x) : 0.0f;
        values[j] = weights[j] != 0.0f ? load<kWidth>(pixels + std::int64_t{column + j} * stride)
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

/// dS at one position. With g = dL/d(−T̂ ⊙ Ŝ) and q = dL/dŜ = −T̂ ⊙ g:
///   dS = q/(‖S‖ + ε) − S · Σ(q·S)/(‖S‖·(‖S‖ + ε)²).
/// A zero student vector has no direction: its gradient is 0.
template <int kWidth, class T>
__device__ __forceinline__ void write_gradient(const FeatureLevel& level, const Slice& slice, int stride,
                                               const LaneWork& at, const T* grad_out) {
  const std::int64_t first = at.position * slice.channels;
  const int channels = at.inside ? slice.channels : 0;
  const T* teacher = static_cast<const T*>(level.teacher) + first;
  const T* student = static_cast<const T*>(level.student) + first;
  const unsigned w = static_cast<unsigned>(slice.columns.source_size),
                 h = static_cast<unsigned>(slice.rows.source_size);
  const unsigned row = static_cast<unsigned>(at.position) / w, picture = row / h;
  const int x = static_cast<int>(static_cast<unsigned>(at.position) - row * w),
            y = static_cast<int>(row - picture * h);
  const std::int64_t pixel =
      slice.same_size ? at.position : std::int64_t{picture} * slice.rows.out_size * slice.columns.out_size;
  const T* grad = grad_out + pixel * stride + slice.offset;
  // One vector a lane is kept in a register; more wait in the workspace, each for the lane that wrote it.
  const bool in_register = channels <= at.lanes * kWidth;
  Floats<kWidth> g = splat<kWidth>(0.0f);
  float tt = 0.0f, ss = 0.0f, tsg = 0.0f;
  for (int c = at.lane * kWidth; c < channels; c += at.lanes * kWidth) {
    g = slice.same_size ? load<kWidth>(grad + c) : gather<kWidth>(slice, stride, grad + c, y, x);
    if (!in_register && !slice.same_size) store<kWidth>(slice.products + first + c, g);
    const Floats<kWidth> t = load<kWidth>(teacher + c), s = load<kWidth>(student + c);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      tt += t[i] * t[i];
      ss += s[i] * s[i];
      tsg += t[i] * s[i] * g[i];
    }
  }
  tt = group_sum(tt, at.lanes);
  ss = group_sum(ss, at.lanes);
  tsg = group_sum(tsg, at.lanes);
  const float norm = sqrtf(ss);
  const float teacher_inverse = 1.0f / (sqrtf(tt) + kNormEpsilon);
  const float student_inverse = 1.0f / (norm + kNormEpsilon);
  const bool zero = norm == 0.0f;
  const float along_teacher = zero ? 0.0f : -teacher_inverse * student_inverse;
  const float along_student =
      zero ? 0.0f : (tsg * teacher_inverse * student_inverse) * (student_inverse / norm);
  T* out = static_cast<T*>(level.student_grad) + first;
  for (int c = at.lane * kWidth; c < channels; c += at.lanes * kWidth) {
    const Floats<kWidth> t = load<kWidth>(teacher + c), s = load<kWidth>(student + c);
    if (!in_register) g = slice.same_size ? load<kWidth>(grad + c) : load<kWidth>(slice.products + first + c);
    Floats<kWidth> gradient;
#pragma unroll
    for (int i = 0; i < kWidth; ++i) gradient[i] = along_teacher * t[i] * g[i] + along_student * s[i];
    store<kWidth>(out + c, gradient);
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads, 3)
    backward_kernel(const __grid_constant__ FeatureLevels features, const __grid_constant__ FeatureWork work,
                    const __grid_constant__ Concatenation all, const T* grad_out) {
  // The last tasks first: they belong to the smallest maps, where a position gathers from the most output pixels.
  const std::int64_t task = work.tasks - 1 - (std::int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp);
  if (task < 0) return;
  const LaneWork at = lane_work(work, features.count, task);
  if (work.level[at.level].in_vectors) {
    write_gradient<kVector<T>>(features.level[at.level], all.slice[at.level], all.channels, at, grad_out);
  } else {
    write_gradient<1>(features.level[at.level], all.slice[at.level], all.channels, at, grad_out);
  }
}

template <class T>
void backward(const FeatureProductArgs& args, Stream stream) {
  const Concatenation all = concatenation_of(args);
  bool in_vectors[kMaxFeatureLevels] = {};
  for (int k = 0; k < all.count; ++k) {
    in_vectors[k] = fits_vectors<T>(all, k, args.grad_out, args.features.level[k].student_grad);
  }
  const FeatureWork work = feature_work<T>(args.features, in_vectors);
  launch("feature_product_backward", backward_kernel<T>, blocks_for(work.tasks, kWarps), kThreads, 0, stream,
         args.features, work, all, static_cast<const T*>(args.grad_out));
}

}  // namespace

void feature_product_forward(const FeatureProductArgs& args, Stream stream) {
  with_float_type(args.features.type, [&](auto zero) { forward<decltype(zero)>(args, stream); });
}

void feature_product_backward(const FeatureProductArgs& args, Stream stream) {
  with_float_type(args.features.type, [&](auto zero) { backward<decltype(zero)>(args, stream); });
}

}  // namespace ddpmts::kernels::cuda
