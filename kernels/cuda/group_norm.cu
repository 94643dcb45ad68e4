// GroupNorm of NHWC pictures with the time embedding and SiLU of a UNet's block (contract: kernels/group_norm.h).
// Layout: sums are taken per channel and split of a picture's pixels (row_tiles.cuh), then by one block a group, so that
//   many blocks share a group; what is per picture and channel is folded into one multiplication and one addition.
// Bytes moved per element: forward reads 2, writes 1; backward reads 4, writes 1. Second passes run backwards, for the L2.
// Variants: f32, bf16; × SiLU; 16-byte accesses where channels and pointers allow. Add and scale-shift cost nothing per
//   element.
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/row_statistics.cuh"
#include "kernels/cuda/silu.cuh"
#include "kernels/group_norm.h"

namespace ddpmts::kernels::cuda {
namespace {

constexpr int kGroupThreads = 128;    // of the blocks that finish a group
constexpr int kChannelThreads = 256;  // of those with one channel a thread
constexpr int kGradientBatch = 2;     // rows that a thread of the backward pass has under way at a time
constexpr std::int64_t kMostPictures = 65535;

/// Sizes that all kernels need.
struct Sizes {
  std::int64_t n, pixels, channels, groups;

  __host__ __device__ std::int64_t maps() const { return n * channels; }
  __host__ __device__ int width() const { return static_cast<int>(channels / groups); }
};

/// Per picture and channel: w = (x − center)·scale + shift.
struct Affine {
  float *center, *scale, *shift;
};

/// What is added before, and multiplied with and added after the normalisation.
template <class T>
struct Embedding {
  const T *add, *scale_shift;  ///< [n, channels], [n, 2·channels]; null: none

  __device__ __forceinline__ double added(const Sizes& s, std::int64_t picture, std::int64_t c) const {
    return add == nullptr ? 0.0 : static_cast<double>(to_float(add[picture * s.channels + c]));
  }
  __device__ __forceinline__ double scale(const Sizes& s, std::int64_t picture, std::int64_t c) const {
    if (scale_shift == nullptr) return 1.0;
    return 1.0 + static_cast<double>(to_float(scale_shift[2 * picture * s.channels + c]));
  }
  __device__ __forceinline__ double shift(const Sizes& s, std::int64_t picture, std::int64_t c) const {
    if (scale_shift == nullptr) return 0.0;
    return static_cast<double>(to_float(scale_shift[(2 * picture + 1) * s.channels + c]));
  }
};

template <class T>
__device__ __forceinline__ void write_affine(const Sizes& s, const Embedding<T>& embedding,
                                             const float* gamma, const float* beta, std::int64_t picture,
                                             std::int64_t c, double mean, double rstd, const Affine& affine) {
  const double exact = mean - embedding.added(s, picture, c);
  const double modulation = embedding.scale(s, picture, c);
  const double scale = static_cast<double>(gamma[c]) * rstd * modulation;
  const float center = static_cast<float>(exact);
  const std::int64_t at = picture * s.channels + c;
  affine.center[at] = center;
  affine.scale[at] = static_cast<float>(scale);
  // What rounding the center to f32 lost goes into the shift.
  affine.shift[at] =
      static_cast<float>(static_cast<double>(beta[c]) * modulation + embedding.shift(s, picture, c) +
                         (static_cast<double>(center) - exact) * scale);
}

/// One thread's coefficients of its channels.
template <int kWidth>
struct ChannelAffine {
  Floats<kWidth> center, scale, shift;

  __device__ __forceinline__ ChannelAffine(const Affine& affine, std::int64_t at)
      : center(load<kWidth>(affine.center + at)),
        scale(load<kWidth>(affine.scale + at)),
        shift(load<kWidth>(affine.shift + at)) {}
};

// ---- Forward ----

/// A block has one group of one picture: mean and rstd from the splits' statistics of its channels.
template <class T>
__global__ void __launch_bounds__(kGroupThreads, 4)
    finish_statistics_kernel(const __grid_constant__ GroupNormForwardArgs args,
                             const __grid_constant__ Sizes sizes, const __grid_constant__ RowTiles tiles,
                             const double* means, const float* squares,
                             const __grid_constant__ Affine affine) {
  const Embedding<T> embedding{static_cast<const T*>(args.add), static_cast<const T*>(args.scale_shift)};
  const std::int64_t picture = quotient(blockIdx.x, sizes.groups);
  const std::int64_t group = blockIdx.x - picture * sizes.groups;
  const int width = sizes.width(), parts = tiles.splits * width;
  const std::int64_t first = picture * tiles.splits * sizes.channels + group * width;
  const double values = static_cast<double>(sizes.pixels) * width;
  double sum = 0.0;
  for (int k = static_cast<int>(threadIdx.x); k < parts; k += kGroupThreads) {
    const int split = k / width, c = k % width;
    const double mean =
        means[first + split * sizes.channels + c] + embedding.added(sizes, picture, group * width + c);
    sum += static_cast<double>(tiles.rows_of_split(split)) / values * mean;
  }
  const double mean = block_sum(sum);
  sum = 0.0;
  for (int k = static_cast<int>(threadIdx.x); k < parts; k += kGroupThreads) {
    const int split = k / width, c = k % width;
    const std::int64_t at = first + split * sizes.channels + c;
    const double d = means[at] + embedding.added(sizes, picture, group * width + c) - mean;
    sum += static_cast<double>(squares[at]) + static_cast<double>(tiles.rows_of_split(split)) * d * d;
  }
  const double rstd = 1.0 / sqrt(block_sum(sum) / values + static_cast<double>(args.epsilon));
  for (int c = static_cast<int>(threadIdx.x); c < width; c += kGroupThreads) {
    write_affine(sizes, embedding, args.gamma, args.beta, picture, group * width + c, mean, rstd, affine);
  }
  if (threadIdx.x != 0) return;
  if (args.saved_mean != nullptr) args.saved_mean[blockIdx.x] = static_cast<float>(mean);
  if (args.saved_rstd != nullptr) args.saved_rstd[blockIdx.x] = static_cast<float>(rstd);
}

template <int kWidth, bool kSilu, class T>
__global__ void __launch_bounds__(kMapThreads)
    normalize_kernel(const T* x, T* y, const __grid_constant__ RowTiles tiles,
                     const __grid_constant__ Affine affine) {
  const Place at = place_of<kWidth>(tiles);
  if (!at.inside) return;
  const std::int64_t picture = blockIdx.z, first = picture * tiles.rows * tiles.channels + at.channel;
  const ChannelAffine<kWidth> k(affine, picture * tiles.channels + at.channel);
  for_each_batch_backwards(tiles, at, [&](std::int64_t row) {
    Floats<kWidth> values[kBatch];
#pragma unroll
    for (int j = 0; j < kBatch; ++j) {
      const std::int64_t r = row - j * at.row_step;
      values[j] = r >= 0 ? load<kWidth>(x + first + r * tiles.channels) : k.center;
    }
#pragma unroll
    for (int j = 0; j < kBatch; ++j) {
      const std::int64_t r = row - j * at.row_step;
      if (r < 0) continue;
#pragma unroll
      for (int i = 0; i < kWidth; ++i) {
        const float w = (values[j][i] - k.center[i]) * k.scale[i] + k.shift[i];
        values[j][i] = kSilu ? silu(w) : w;
      }
      store<kWidth>(y + first + r * tiles.channels, values[j]);
    }
  });
}

/// How a picture's pixels are shared: as row_tiles, with all pictures' blocks together being `blocks_per_multiprocessor`.
RowTiles picture_tiles(const Sizes& s, int width, int threads, int groups_per_split,
                       int blocks_per_multiprocessor) {
  const std::int64_t most =
      ceil_div(multiprocessor_count() * blocks_per_multiprocessor, larger(s.n, std::int64_t{1}));
  return row_tiles(s.pixels, s.channels, width, threads, groups_per_split, s.pixels, most);
}

dim3 picture_grid(const RowTiles& tiles, const Sizes& s) {
  return dim3(static_cast<unsigned>(tiles.splits), static_cast<unsigned>(tiles.tiles),
              static_cast<unsigned>(s.n));
}

std::size_t bytes_of(std::int64_t doubles, std::int64_t floats) {
  return static_cast<std::size_t>(doubles) * sizeof(double) +
         static_cast<std::size_t>(floats) * sizeof(float);
}

template <int kWidth, class T>
void forward(const GroupNormForwardArgs& args, const Sizes& sizes, Stream stream) {
  const RowTiles tiles = picture_tiles(sizes, kWidth, kSumThreads, 1, 2);
  const std::int64_t partials = tiles.splits * sizes.maps();
  double* means =
      static_cast<double*>(scratch_memory(stream, bytes_of(partials, partials + 3 * sizes.maps())));
  float* squares = reinterpret_cast<float*>(means + partials);
  float* center = squares + partials;
  const Affine affine{center, center + sizes.maps(), center + 2 * sizes.maps()};
  const T* x = static_cast<const T*>(args.x);
  launch("group_norm_statistics", row_statistics_kernel<kWidth, T>, picture_grid(tiles, sizes), kSumThreads,
         0, stream, x, tiles, means, squares);
  launch("group_norm_finish_statistics", finish_statistics_kernel<T>, blocks_for(sizes.n * sizes.groups, 1),
         kGroupThreads, 0, stream, args, sizes, tiles, means, squares, affine);
  const RowTiles map = picture_tiles(sizes, kWidth, kMapThreads, kBatch, 8);
  launch("group_norm_forward",
         args.silu ? normalize_kernel<kWidth, true, T> : normalize_kernel<kWidth, false, T>,
         picture_grid(map, sizes), kMapThreads, 0, stream, x, static_cast<T*>(args.y), map, affine);
}

// ---- Backward ----

/// The forward's formula again, from what it saved.
template <class T>
__global__ void __launch_bounds__(kChannelThreads)
    affine_kernel(const __grid_constant__ GroupNormBackwardArgs args, const __grid_constant__ Sizes sizes,
                  const __grid_constant__ Affine affine) {
  const std::int64_t k = std::int64_t{blockIdx.x} * kChannelThreads + threadIdx.x;
  if (k >= sizes.maps()) return;
  const std::int64_t picture = quotient(k, sizes.channels), c = k - picture * sizes.channels;
  const std::int64_t group = picture * sizes.groups + c / sizes.width();
  write_affine(sizes, Embedding<T>{static_cast<const T*>(args.add), static_cast<const T*>(args.scale_shift)},
               args.gamma, args.beta, picture, c, static_cast<double>(args.saved_mean[group]),
               static_cast<double>(args.saved_rstd[group]), affine);
}

/// x − center and the gradient of w, for the rows row, row + step … of a batch; zeros where there is none.
template <int kWidth, bool kSilu, class T>
struct GradientBatch {
  Floats<kWidth> centered[kGradientBatch], gradient[kGradientBatch];

  /// `exists(r)` says which rows there are.
  template <class Exists>
  __device__ __forceinline__ GradientBatch(const T* x, const T* dy, const ChannelAffine<kWidth>& k,
                                           std::int64_t row, std::int64_t step, int channels, Exists exists) {
#pragma unroll
    for (int j = 0; j < kGradientBatch; ++j) {
      const std::int64_t r = row + j * step;
      centered[j] = exists(r) ? load<kWidth>(x + r * channels) : k.center;
      gradient[j] = exists(r) ? load<kWidth>(dy + r * channels) : splat<kWidth>(0.0f);
    }
#pragma unroll
    for (int j = 0; j < kGradientBatch; ++j) {
#pragma unroll
      for (int i = 0; i < kWidth; ++i) {
        centered[j][i] -= k.center[i];
        if constexpr (kSilu) gradient[j][i] *= silu_slope(centered[j][i] * k.scale[i] + k.shift[i]);
      }
    }
  }
};

/// Per channel and split, with g the gradient of w: Σ g, Σ g·(x − center) and Σ (x − center), to
/// [picture][split][three][channel].
template <int kWidth, bool kSilu, class T>
__global__ void __launch_bounds__(kSumThreads)
    gradient_sums_kernel(const T* x, const T* dy, const __grid_constant__ RowTiles tiles,
                         const __grid_constant__ Affine affine, float* sums) {
  const Place at = place_of<kWidth>(tiles);
  const std::int64_t picture = blockIdx.z, first = picture * tiles.rows * tiles.channels + at.channel;
  Floats<kWidth> sum = splat<kWidth>(0.0f), product = sum, deviation = sum;
  if (at.inside) {
    const ChannelAffine<kWidth> k(affine, picture * tiles.channels + at.channel);
    for (std::int64_t row = at.first_row; row < tiles.rows; row += kGradientBatch * at.row_step) {
      const GradientBatch<kWidth, kSilu, T> batch(x + first, dy + first, k, row, at.row_step, tiles.channels,
                                                  [&](std::int64_t r) { return r < tiles.rows; });
#pragma unroll
      for (int j = 0; j < kGradientBatch; ++j) {
#pragma unroll
        for (int i = 0; i < kWidth; ++i) {
          sum[i] += batch.gradient[j][i];
          product[i] += batch.gradient[j][i] * batch.centered[j][i];
          deviation[i] += batch.centered[j][i];
        }
      }
    }
  }
  constexpr int kSlots = kSumThreads / 2;
  __shared__ SharedArray<float, 3 * kWidth * kSlots> others;
  merge_lanes(
      tiles, at,
      [&](int slot) {
#pragma unroll
        for (int i = 0; i < kWidth; ++i) {
          others[(3 * i) * kSlots + slot] = sum[i];
          others[(3 * i + 1) * kSlots + slot] = product[i];
          others[(3 * i + 2) * kSlots + slot] = deviation[i];
        }
      },
      [&](int slot) {
#pragma unroll
        for (int i = 0; i < kWidth; ++i) {
          const float other_sum = others[(3 * i) * kSlots + slot];
          const float other_product = others[(3 * i + 1) * kSlots + slot];
          const float other_deviation = others[(3 * i + 2) * kSlots + slot];
          sum[i] += other_sum;
          product[i] += other_product;
          deviation[i] += other_deviation;
        }
      });
  if (at.inside && at.lane == 0) {
    float* to = sums + 3 * (picture * tiles.splits + blockIdx.x) * tiles.channels + at.channel;
    store<kWidth>(to, sum);
    store<kWidth>(to + tiles.channels, product);
    store<kWidth>(to + 2 * tiles.channels, deviation);
  }
}

/// Per picture and channel: dx = on_gradient·g + on_input·(x − center) + constant.
struct InputGradient {
  float *on_gradient, *on_input, *constant;
};

/// Sums over a picture's splits per channel, [picture][three][channel] each.
struct ChannelSums {
  double *gradients, *products, *deviations;  ///< Σ g, Σ g·x̂, Σ (x − center) with the unrounded center
};

/// A block has one group of one picture. With k = (1 + scale)·gamma, M = pixels·channels/groups, and S1 = Σ k·g,
/// S2 = Σ k·g·x̂ over the group:
///   du = rstd·(k·g − S1/M − x̂·S2/M).
template <class T>
__global__ void __launch_bounds__(kGroupThreads)
    finish_gradients_kernel(const __grid_constant__ GroupNormBackwardArgs args,
                            const __grid_constant__ Sizes sizes, int splits, const float* sums,
                            const __grid_constant__ Affine affine, const __grid_constant__ ChannelSums of,
                            const __grid_constant__ InputGradient input) {
  const Embedding<T> embedding{static_cast<const T*>(args.add), static_cast<const T*>(args.scale_shift)};
  const std::int64_t picture = quotient(blockIdx.x, sizes.groups);
  const int width = sizes.width(), thread = static_cast<int>(threadIdx.x);
  const std::int64_t first = (blockIdx.x - picture * sizes.groups) * width;  // the group's first channel
  const double pixels = static_cast<double>(sizes.pixels);
  const double mean = static_cast<double>(args.saved_mean[blockIdx.x]);
  const double rstd = static_cast<double>(args.saved_rstd[blockIdx.x]);
  // What rounding the center took from every x − center.
  const auto lost = [&](std::int64_t c) {
    return static_cast<double>(affine.center[picture * sizes.channels + c]) -
           (mean - embedding.added(sizes, picture, c));
  };
  for (int k = thread / kWarp; k < width; k += kGroupThreads / kWarp) {
    const std::int64_t c = first + k;
    double gradient = 0.0, product = 0.0, deviation = 0.0;
    for (int s = thread % kWarp; s < splits; s += kWarp) {
      const float* of_split = sums + 3 * (picture * splits + s) * sizes.channels + c;
      gradient += static_cast<double>(of_split[0]);
      product += static_cast<double>(of_split[sizes.channels]);
      deviation += static_cast<double>(of_split[2 * sizes.channels]);
    }
    gradient = warp_sum(gradient);
    product = warp_sum(product);
    deviation = warp_sum(deviation);
    if (thread % kWarp == 0) {
      const std::int64_t at = picture * sizes.channels + c;
      of.gradients[at] = gradient;
      of.products[at] = (product + lost(c) * gradient) * rstd;
      of.deviations[at] = deviation + lost(c) * pixels;
    }
  }
  __syncthreads();
  double gradient_sum = 0.0, product_sum = 0.0;  // S1, S2
  for (int k = thread; k < width; k += kGroupThreads) {
    const std::int64_t c = first + k, at = picture * sizes.channels + c;
    const double on = embedding.scale(sizes, picture, c) * static_cast<double>(args.gamma[c]);
    gradient_sum += on * of.gradients[at];
    product_sum += on * of.products[at];
  }
  gradient_sum = block_sum(gradient_sum);
  product_sum = block_sum(product_sum);
  const double values = pixels * width;
  const double on_input = -rstd * rstd * product_sum / values;
  const double constant = -rstd * gradient_sum / values;
  for (int k = thread; k < width; k += kGroupThreads) {
    const std::int64_t c = first + k, at = picture * sizes.channels + c;
    const double gamma = static_cast<double>(args.gamma[c]), scale = embedding.scale(sizes, picture, c);
    const double on_gradient = rstd * scale * gamma;
    const double gradient = of.gradients[at], product = of.products[at];
    input.on_gradient[at] = static_cast<float>(on_gradient);
    input.on_input[at] = static_cast<float>(on_input);
    input.constant[at] = static_cast<float>(constant + on_input * lost(c));
    if (args.dadd != nullptr) {
      static_cast<T*>(args.dadd)[at] = from_float<T>(
          static_cast<float>(on_gradient * gradient + on_input * of.deviations[at] + constant * pixels));
    }
    if (args.dscale_shift != nullptr) {
      T* to = static_cast<T*>(args.dscale_shift) + 2 * picture * sizes.channels + c;
      to[0] =
          from_float<T>(static_cast<float>(gamma * product + static_cast<double>(args.beta[c]) * gradient));
      to[sizes.channels] = from_float<T>(static_cast<float>(gradient));
    }
  }
}

/// dgamma and dbeta: the pictures' parts in order. A thread has one channel.
template <class T>
__global__ void __launch_bounds__(kChannelThreads)
    sum_pictures_kernel(const __grid_constant__ GroupNormBackwardArgs args,
                        const __grid_constant__ Sizes sizes, const __grid_constant__ ChannelSums of) {
  const Embedding<T> embedding{static_cast<const T*>(args.add), static_cast<const T*>(args.scale_shift)};
  const std::int64_t c = std::int64_t{blockIdx.x} * kChannelThreads + threadIdx.x;
  if (c >= sizes.channels) return;
  double dgamma = 0.0, dbeta = 0.0;
  for (std::int64_t i = 0; i < sizes.n; ++i) {
    const double scale = embedding.scale(sizes, i, c);
    dgamma += scale * of.products[i * sizes.channels + c];
    dbeta += scale * of.gradients[i * sizes.channels + c];
  }
  args.dgamma[c] = static_cast<float>(dgamma);
  args.dbeta[c] = static_cast<float>(dbeta);
}

template <int kWidth, bool kSilu, class T>
__global__ void __launch_bounds__(kMapThreads)
    input_gradient_kernel(const T* x, const T* dy, T* dx, const __grid_constant__ RowTiles tiles,
                          const __grid_constant__ Affine affine,
                          const __grid_constant__ InputGradient coefficients) {
  const Place at = place_of<kWidth>(tiles);
  if (!at.inside) return;
  const std::int64_t picture = blockIdx.z, first = picture * tiles.rows * tiles.channels + at.channel;
  const std::int64_t map = picture * tiles.channels + at.channel;
  const ChannelAffine<kWidth> k(affine, map);
  const Floats<kWidth> on_gradient = load<kWidth>(coefficients.on_gradient + map),
                       on_input = load<kWidth>(coefficients.on_input + map),
                       constant = load<kWidth>(coefficients.constant + map);
  for (std::int64_t row = tiles.rows - 1 - at.first_row; row >= 0; row -= kGradientBatch * at.row_step) {
    GradientBatch<kWidth, kSilu, T> batch(x + first, dy + first, k, row, -at.row_step, tiles.channels,
                                          [](std::int64_t r) { return r >= 0; });
#pragma unroll
    for (int j = 0; j < kGradientBatch; ++j) {
      const std::int64_t r = row - j * at.row_step;
      if (r < 0) continue;
#pragma unroll
      for (int i = 0; i < kWidth; ++i) {
        batch.gradient[j][i] =
            on_gradient[i] * batch.gradient[j][i] + (on_input[i] * batch.centered[j][i] + constant[i]);
      }
      store<kWidth>(dx + first + r * tiles.channels, batch.gradient[j]);
    }
  }
}

template <int kWidth, class T>
void backward(const GroupNormBackwardArgs& args, const Sizes& sizes, Stream stream) {
  const RowTiles tiles = picture_tiles(sizes, kWidth, kSumThreads, 1, 2);
  const std::int64_t maps = sizes.maps(), partials = 3 * tiles.splits * maps;
  double* doubles = static_cast<double*>(scratch_memory(stream, bytes_of(3 * maps, partials + 6 * maps)));
  const ChannelSums of{doubles, doubles + maps, doubles + 2 * maps};
  float* sums = reinterpret_cast<float*>(doubles + 3 * maps);
  float* floats = sums + partials;
  const Affine affine{floats, floats + maps, floats + 2 * maps};
  const InputGradient input{floats + 3 * maps, floats + 4 * maps, floats + 5 * maps};
  const T *x = static_cast<const T*>(args.x), *dy = static_cast<const T*>(args.dy);
  launch("group_norm_affine", affine_kernel<T>, blocks_for(maps, kChannelThreads), kChannelThreads, 0, stream,
         args, sizes, affine);
  launch("group_norm_gradient_sums",
         args.silu ? gradient_sums_kernel<kWidth, true, T> : gradient_sums_kernel<kWidth, false, T>,
         picture_grid(tiles, sizes), kSumThreads, 0, stream, x, dy, tiles, affine, sums);
  launch("group_norm_finish_gradients", finish_gradients_kernel<T>, blocks_for(sizes.n * sizes.groups, 1),
         kGroupThreads, 0, stream, args, sizes, tiles.splits, sums, affine, of, input);
  launch("group_norm_sum_pictures", sum_pictures_kernel<T>, blocks_for(sizes.channels, kChannelThreads),
         kChannelThreads, 0, stream, args, sizes, of);
  const RowTiles map = picture_tiles(sizes, kWidth, kMapThreads, kGradientBatch, 8);
  launch("group_norm_backward",
         args.silu ? input_gradient_kernel<kWidth, true, T> : input_gradient_kernel<kWidth, false, T>,
         picture_grid(map, sizes), kMapThreads, 0, stream, x, dy, static_cast<T*>(args.dx), map, affine,
         input);
}

template <class Args>
Sizes checked_sizes(const Args& args) {
  if (args.type != DType::f32 && args.type != DType::bf16) {
    throw std::invalid_argument("group_norm: x must be f32 or bf16");
  }
  if (args.n < 0 || args.pixels < 1 || args.channels < 1) {
    throw std::invalid_argument("group_norm: a picture must have at least one pixel and one channel");
  }
  if (args.groups < 1 || args.channels % args.groups != 0) {
    throw std::invalid_argument("group_norm: the number of groups must divide the number of channels");
  }
  if (args.n > kMostPictures) {
    throw std::invalid_argument("group_norm: on a GPU a batch has at most " + std::to_string(kMostPictures) +
                                " pictures");
  }
  return Sizes{args.n, args.pixels, args.channels, args.groups};
}

const char* bytes(const void* p) { return static_cast<const char*>(p); }

}  // namespace

void group_norm_forward(const GroupNormForwardArgs& args, Stream stream) {
  const Sizes sizes = checked_sizes(args);
  with_float_type(args.type, [&](auto zero) {
    using T = decltype(zero);
    if (args.channels % kVector<T> == 0 && aligned_to_16(bytes(args.x), bytes(args.y))) {
      forward<kVector<T>, T>(args, sizes, stream);
    } else {
      forward<1, T>(args, sizes, stream);
    }
  });
}

void group_norm_backward(const GroupNormBackwardArgs& args, Stream stream) {
  const Sizes sizes = checked_sizes(args);
  if ((args.add == nullptr) != (args.dadd == nullptr)) {
    throw std::invalid_argument("group_norm: dadd is needed exactly when add is there");
  }
  if ((args.scale_shift == nullptr) != (args.dscale_shift == nullptr)) {
    throw std::invalid_argument("group_norm: dscale_shift is needed exactly when scale_shift is there");
  }
  with_float_type(args.type, [&](auto zero) {
    using T = decltype(zero);
    if (args.channels % kVector<T> == 0 && aligned_to_16(bytes(args.x), bytes(args.dy), bytes(args.dx))) {
      backward<kVector<T>, T>(args, sizes, stream);
    } else {
      backward<1, T>(args, sizes, stream);
    }
  });
}

}  // namespace ddpmts::kernels::cuda
