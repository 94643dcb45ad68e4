// BatchNorm over the rows of [M, C], ± residual, ± ReLU, and its backward (contract: kernels/batch_norm.h).
// Layout: a block takes up to 64 channels and every splits-th group of rows; its threads' sums are merged in a tree, the
//   blocks' by a small kernel in between, both in an order that the shape and the device alone decide.
// Bytes moved per element: training forward reads 2, writes 1; backward reads 6, writes 1 (with residual reads 5, writes 2:
//   the masked gradient is written first, then read instead of y and dy). Second passes run backwards, for the L2's sake.
// Variants: training, inference; ± residual, ± ReLU; f32, bf16; 16-byte accesses where channels and pointers allow.
#include "kernels/batch_norm.h"
#include "kernels/cuda/row_statistics.cuh"

namespace ddpmts::kernels::cuda {
namespace {

// ---- Forward ----

/// Per channel: y = (x − center)·scale + shift.
struct Affine {
  float *center, *scale, *shift;
};

/// The statistics of all splits together, and all that follows from them.
__global__ void __launch_bounds__(kFinishChannels* kFinishParts)
    finish_statistics_kernel(const __grid_constant__ BatchNormForwardArgs args,
                             const __grid_constant__ RowTiles tiles, const double* means,
                             const float* squares, const __grid_constant__ Affine affine) {
  const int part = static_cast<int>(threadIdx.x) / kFinishChannels;
  const std::int64_t c =
      std::int64_t{blockIdx.x} * kFinishChannels + static_cast<int>(threadIdx.x) % kFinishChannels;
  const int splits = c < args.channels ? tiles.splits : 0;
  const double rows = static_cast<double>(args.rows);
  double sum = 0.0;
  for (int s = part; s < splits; s += kFinishParts) {
    sum += static_cast<double>(tiles.rows_of_split(s)) / rows * means[s * args.channels + c];
  }
  const double mean = sum_of_parts(sum);
  sum = 0.0;
  for (int s = part; s < splits; s += kFinishParts) {
    const double d = means[s * args.channels + c] - mean;
    sum += static_cast<double>(squares[s * args.channels + c]) +
           static_cast<double>(tiles.rows_of_split(s)) * d * d;
  }
  const double all_squares = sum_of_parts(sum);
  if (part != 0 || c >= args.channels) return;
  const double rstd = 1.0 / sqrt(all_squares / rows + static_cast<double>(args.epsilon));
  const double scale = static_cast<double>(args.gamma[c]) * rstd;
  const float center = static_cast<float>(mean);
  affine.center[c] = center;
  affine.scale[c] = static_cast<float>(scale);
  // What rounding the mean to f32 lost goes into the shift.
  affine.shift[c] =
      static_cast<float>(static_cast<double>(args.beta[c]) + (static_cast<double>(center) - mean) * scale);
  args.saved_mean[c] = center;
  args.saved_rstd[c] = static_cast<float>(rstd);
  const float unbiased = args.rows > 1 ? static_cast<float>(all_squares / (rows - 1.0)) : 0.0f;
  args.running_mean[c] = (1.0f - args.momentum) * args.running_mean[c] + args.momentum * center;
  args.running_var[c] = (1.0f - args.momentum) * args.running_var[c] + args.momentum * unbiased;
}

template <int kWidth, bool kResidual, class T>
__global__ void __launch_bounds__(kMapThreads)
    normalize_kernel(const __grid_constant__ BatchNormForwardArgs args,
                     const __grid_constant__ RowTiles tiles, const __grid_constant__ Affine affine) {
  const Place at = place_of<kWidth>(tiles);
  if (!at.inside) return;
  Floats<kWidth> center, scale, shift;
  if (args.training) {
    center = load<kWidth>(affine.center + at.channel);
    scale = load<kWidth>(affine.scale + at.channel);
    shift = load<kWidth>(affine.shift + at.channel);
  } else {
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      center[i] = args.running_mean[at.channel + i];
      scale[i] = args.gamma[at.channel + i] / sqrtf(args.running_var[at.channel + i] + args.epsilon);
      shift[i] = args.beta[at.channel + i];
    }
  }
  const T* x = static_cast<const T*>(args.x) + at.channel;
  const T* residual = static_cast<const T*>(args.residual) + (kResidual ? at.channel : 0);
  T* y = static_cast<T*>(args.y) + at.channel;
  const float least = args.relu ? 0.0f : -INFINITY;
  for_each_batch_backwards(tiles, at, [&](std::int64_t row) {
    Floats<kWidth> values[kBatch], added[kBatch];
#pragma unroll
    for (int j = 0; j < kBatch; ++j) {
      const std::int64_t r = row - j * at.row_step;
      values[j] = r >= 0 ? load<kWidth>(x + r * tiles.channels) : center;
      if constexpr (kResidual) added[j] = r >= 0 ? load<kWidth>(residual + r * tiles.channels) : center;
    }
#pragma unroll
    for (int j = 0; j < kBatch; ++j) {
      const std::int64_t r = row - j * at.row_step;
      if (r < 0) continue;
      Floats<kWidth> out;
#pragma unroll
      for (int i = 0; i < kWidth; ++i) {
        float value = (values[j][i] - center[i]) * scale[i] + shift[i];
        if constexpr (kResidual) value += added[j][i];
        out[i] = value < least ? least : value;  // NaN stays NaN
      }
      store<kWidth>(y + r * tiles.channels, out);
    }
  });
}

template <int kWidth, class T>
void forward(const BatchNormForwardArgs& args, Stream stream) {
  Affine affine{nullptr, nullptr, nullptr};
  if (args.training) {
    const RowTiles tiles = sum_tiles("batch_norm_forward", args.rows, args.channels, kWidth);
    const std::int64_t partials = tiles.splits * args.channels;
    double* means = reduction_scratch(stream).partials;
    float* squares = reinterpret_cast<float*>(means + partials);
    affine.center = squares + partials;
    affine.scale = affine.center + args.channels;
    affine.shift = affine.scale + args.channels;
    launch("batch_norm_statistics", row_statistics_kernel<kWidth, T>, grid_of(tiles), kSumThreads, 0, stream,
           static_cast<const T*>(args.x), tiles, means, squares);
    launch("batch_norm_finish_statistics", finish_statistics_kernel,
           blocks_for(args.channels, kFinishChannels), kFinishChannels * kFinishParts, 0, stream, args, tiles,
           means, squares, affine);
  }
  const RowTiles tiles = map_tiles(args.rows, args.channels, kWidth);
  launch("batch_norm_forward",
         args.residual != nullptr ? normalize_kernel<kWidth, true, T> : normalize_kernel<kWidth, false, T>,
         grid_of(tiles), kMapThreads, 0, stream, args, tiles, affine);
}

// ---- Backward ----

/// The masked gradient g and its place: dy where the forward's ReLU was open.
template <class T>
struct Gradient {
  const T *dy, *y;  ///< y: null where nothing is masked
  T* copy;          ///< where g goes as well; null: nowhere
};

template <int kWidth, bool kMasked, class T>
__device__ __forceinline__ Floats<kWidth> load_gradient(const Gradient<T>& from, std::int64_t i) {
  Floats<kWidth> g = load<kWidth>(from.dy + i);
  if constexpr (kMasked) {
    const Floats<kWidth> y = load<kWidth>(from.y + i);
#pragma unroll
    for (int k = 0; k < kWidth; ++k) g[k] = y[k] > 0.0f ? g[k] : 0.0f;
  }
  return g;
}

/// Σ g and Σ g·(x − mean) over the block's rows, per channel.
template <int kWidth, bool kMasked, class T>
__global__ void __launch_bounds__(kSumThreads)
    gradient_sums_kernel(const T* x, const __grid_constant__ Gradient<T> gradient, const float* saved_mean,
                         const __grid_constant__ RowTiles tiles, float* sums, float* products) {
  const Place at = place_of<kWidth>(tiles);
  Floats<kWidth> sum = splat<kWidth>(0.0f), product = splat<kWidth>(0.0f);
  if (at.inside) {
    Floats<kWidth> mean;
#pragma unroll
    for (int i = 0; i < kWidth; ++i) mean[i] = saved_mean[at.channel + i];
    for (std::int64_t row = at.first_row; row < tiles.rows; row += kBatch * at.row_step) {
      Floats<kWidth> values[kBatch], g[kBatch];
#pragma unroll
      for (int j = 0; j < kBatch; ++j) {
        const std::int64_t r = row + j * at.row_step, i = r * tiles.channels + at.channel;
        values[j] = r < tiles.rows ? load<kWidth>(x + i) : mean;
        g[j] = r < tiles.rows ? load_gradient<kWidth, kMasked>(gradient, i) : splat<kWidth>(0.0f);
      }
#pragma unroll
      for (int j = 0; j < kBatch; ++j) {
        const std::int64_t r = row + j * at.row_step;
        if (gradient.copy != nullptr && r < tiles.rows) {
          store<kWidth>(gradient.copy + r * tiles.channels + at.channel, g[j]);
        }
#pragma unroll
        for (int i = 0; i < kWidth; ++i) {
          sum[i] += g[j][i];
          product[i] += g[j][i] * (values[j][i] - mean[i]);
        }
      }
    }
  }
  __shared__ SharedArray<float, kWidth * kSumThreads / 2> other_sums;
  __shared__ SharedArray<float, kWidth * kSumThreads / 2> other_products;
  merge_lanes(
      tiles, at,
      [&](int slot) {
#pragma unroll
        for (int i = 0; i < kWidth; ++i) {
          other_sums[i * (kSumThreads / 2) + slot] = sum[i];
          other_products[i * (kSumThreads / 2) + slot] = product[i];
        }
      },
      [&](int slot) {
#pragma unroll
        for (int i = 0; i < kWidth; ++i) {
          const float other_sum = other_sums[i * (kSumThreads / 2) + slot];
          const float other_product = other_products[i * (kSumThreads / 2) + slot];
          sum[i] += other_sum;
          product[i] += other_product;
        }
      });
  if (at.inside && at.lane == 0) {
    const std::int64_t to = std::int64_t{blockIdx.x} * tiles.channels + at.channel;
    store<kWidth>(sums + to, sum);
    store<kWidth>(products + to, product);
  }
}

/// Per channel: dx = on_gradient·g + on_input·(x − mean) + constant.
struct InputGradient {
  float *on_gradient, *on_input, *constant;
};

__global__ void __launch_bounds__(kFinishChannels* kFinishParts)
    finish_gradient_sums_kernel(const __grid_constant__ BatchNormBackwardArgs args, int all_splits,
                                const float* sums, const float* products,
                                const __grid_constant__ InputGradient coefficients) {
  const int part = static_cast<int>(threadIdx.x) / kFinishChannels;
  const std::int64_t c =
      std::int64_t{blockIdx.x} * kFinishChannels + static_cast<int>(threadIdx.x) % kFinishChannels;
  const int splits = c < args.channels ? all_splits : 0;
  double sum = 0.0, product = 0.0;
  for (int s = part; s < splits; s += kFinishParts) {
    sum += static_cast<double>(sums[s * args.channels + c]);
    product += static_cast<double>(products[s * args.channels + c]);
  }
  sum = sum_of_parts(sum);
  product = sum_of_parts(product);
  if (part != 0 || c >= args.channels) return;
  const double rows = static_cast<double>(args.rows);
  const double rstd = static_cast<double>(args.saved_rstd[c]);
  const double on_gradient = static_cast<double>(args.gamma[c]) * rstd;
  args.dbeta[c] = static_cast<float>(sum);
  args.dgamma[c] = static_cast<float>(product * rstd);
  coefficients.on_gradient[c] = static_cast<float>(on_gradient);
  coefficients.on_input[c] = static_cast<float>(-on_gradient * rstd * rstd * product / rows);
  coefficients.constant[c] = static_cast<float>(-on_gradient * sum / rows);
}

template <int kWidth, bool kMasked, class T>
__global__ void __launch_bounds__(kMapThreads)
    input_gradient_kernel(const T* x, const __grid_constant__ Gradient<T> gradient, const float* saved_mean,
                          const __grid_constant__ RowTiles tiles,
                          const __grid_constant__ InputGradient coefficients, T* dx) {
  const Place at = place_of<kWidth>(tiles);
  if (!at.inside) return;
  const Floats<kWidth> on_gradient = load<kWidth>(coefficients.on_gradient + at.channel),
                       on_input = load<kWidth>(coefficients.on_input + at.channel),
                       constant = load<kWidth>(coefficients.constant + at.channel);
  Floats<kWidth> mean;
#pragma unroll
  for (int i = 0; i < kWidth; ++i) mean[i] = saved_mean[at.channel + i];
  for_each_batch_backwards(tiles, at, [&](std::int64_t row) {
    Floats<kWidth> values[kBatch], g[kBatch];
#pragma unroll
    for (int j = 0; j < kBatch; ++j) {
      const std::int64_t r = row - j * at.row_step, i = r * tiles.channels + at.channel;
      values[j] = r >= 0 ? load<kWidth>(x + i) : mean;
      g[j] = r >= 0 ? load_gradient<kWidth, kMasked>(gradient, i) : mean;
    }
#pragma unroll
    for (int j = 0; j < kBatch; ++j) {
      const std::int64_t r = row - j * at.row_step;
      if (r < 0) continue;
      Floats<kWidth> out;
#pragma unroll
      for (int i = 0; i < kWidth; ++i) {
        out[i] = on_gradient[i] * g[j][i] + (on_input[i] * (values[j][i] - mean[i]) + constant[i]);
      }
      store<kWidth>(dx + r * tiles.channels + at.channel, out);
    }
  });
}

template <int kWidth, class T>
void backward(const BatchNormBackwardArgs& args, Stream stream) {
  const T* x = static_cast<const T*>(args.x);
  T* copy = static_cast<T*>(args.dresidual);
  const Gradient<T> gradient{static_cast<const T*>(args.dy), static_cast<const T*>(args.y), copy};
  const RowTiles tiles = sum_tiles("batch_norm_backward", args.rows, args.channels, kWidth);
  const std::int64_t partials = tiles.splits * args.channels;
  float* sums = reinterpret_cast<float*>(reduction_scratch(stream).partials);
  float* products = sums + partials;
  const InputGradient coefficients{products + partials, products + partials + args.channels,
                                   products + partials + 2 * args.channels};
  launch("batch_norm_gradient_sums",
         args.relu ? gradient_sums_kernel<kWidth, true, T> : gradient_sums_kernel<kWidth, false, T>,
         grid_of(tiles), kSumThreads, 0, stream, x, gradient, args.saved_mean, tiles, sums, products);
  launch("batch_norm_finish_gradient_sums", finish_gradient_sums_kernel,
         blocks_for(args.channels, kFinishChannels), kFinishChannels * kFinishParts, 0, stream, args,
         tiles.splits, sums, products, coefficients);
  const RowTiles map = map_tiles(args.rows, args.channels, kWidth);
  const Gradient<T> again = copy != nullptr ? Gradient<T>{copy, nullptr, nullptr} : gradient;
  launch("batch_norm_backward",
         args.relu && copy == nullptr ? input_gradient_kernel<kWidth, true, T>
                                      : input_gradient_kernel<kWidth, false, T>,
         grid_of(map), kMapThreads, 0, stream, x, again, args.saved_mean, map, coefficients,
         static_cast<T*>(args.dx));
}

const char* bytes(const void* p) { return static_cast<const char*>(p); }

}  // namespace

void batch_norm_forward(const BatchNormForwardArgs& args, Stream stream) {
  with_float_type(args.type, [&](auto zero) {
    using T = decltype(zero);
    if (args.channels % kVector<T> == 0 &&
        aligned_to_16(bytes(args.x), bytes(args.residual), bytes(args.y))) {
      forward<kVector<T>, T>(args, stream);
    } else {
      forward<1, T>(args, stream);
    }
  });
}

void batch_norm_backward(const BatchNormBackwardArgs& args, Stream stream) {
  with_float_type(args.type, [&](auto zero) {
    using T = decltype(zero);
    if (args.channels % kVector<T> == 0 &&
        aligned_to_16(bytes(args.x), bytes(args.y), bytes(args.dy), bytes(args.dx), bytes(args.dresidual))) {
      backward<kVector<T>, T>(args, stream);
    } else {
      backward<1, T>(args, stream);
    }
  });
}

}  // namespace ddpmts::kernels::cuda
