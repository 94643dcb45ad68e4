// BatchNorm over the rows of [M, C], ± residual, ± ReLU, and its backward (contract: kernels/batch_norm.h).
// Layout: [rows, channels], f32 or bf16. Sums are taken per block of up to 512 rows, then over the blocks in
//   order, so that results do not depend on the number of threads.
// Bytes moved per element: training forward reads 2, writes 1; backward reads 6, writes 1 (with ReLU and
//   residual reads 5, writes 2: the masked gradient is written first, then read instead of y and dy).
// Variants: training, inference; × residual × ReLU; vectors run over channels.
#include "kernels/batch_norm.h"

#include <omp.h>

#include "kernels/cpu/block_statistics.h"

namespace ddpmts::kernels::cpu::DDPMTS_ISA {
namespace {

constexpr std::int64_t kRowGroup = 8;       // rows that share one load of the per-channel values
constexpr std::int64_t kChannelChunk = 16;  // channels that one task combines over the blocks
constexpr std::int64_t kSmall = 1 << 14;    // elements below which one thread is faster than two

/// How rows are cut into blocks; a function of the shape alone.
struct RowBlocks {
  std::int64_t rows, size, count;

  DDPMTS_INLINE explicit RowBlocks(std::int64_t total) : rows(total) {
    const std::int64_t even = ceil_div(ceil_div(total, 32), kRowGroup) * kRowGroup;
    size = larger(std::int64_t{64}, smaller(std::int64_t{512}, even));
    count = ceil_div(total, size);
  }
  DDPMTS_INLINE std::int64_t first(std::int64_t block) const { return block * size; }
  DDPMTS_INLINE std::int64_t rows_of(std::int64_t block) const { return smaller(size, rows - block * size); }
};

/// The contiguous blocks of the calling thread. A second pass walks them backwards: the last are still in its
/// cache.
struct ThreadShare {
  std::int64_t begin, end;

  DDPMTS_INLINE explicit ThreadShare(const RowBlocks& blocks) {
    const std::int64_t threads = omp_get_num_threads();
    const std::int64_t thread = omp_get_thread_num();
    begin = blocks.count * thread / threads;
    end = blocks.count * (thread + 1) / threads;
  }
};

/// Calls body(first_row, row_count) in groups of kRowGroup rows; the full groups know their count.
template <class Body>
DDPMTS_INLINE void for_each_row_group(std::int64_t rows, Body body) {
  std::int64_t r = 0;
  for (; r + kRowGroup <= rows; r += kRowGroup) body(r, kRowGroup);
  if (r < rows) body(r, rows - r);
}

/// Per channel: y = (x − center)·scale + shift.
struct Affine {
  float *center, *scale, *shift;
};

template <class T, bool kResidual, bool kRelu>
void normalize_rows(const T* x, const T* residual, T* y, std::int64_t rows, std::int64_t channels,
                    const Affine& affine) {
  for_each_row_group(rows, [&](std::int64_t r0, std::int64_t row_count) DDPMTS_INLINE_LAMBDA {
    for_each_vector(channels, [&](std::int64_t c, std::int64_t n) DDPMTS_INLINE_LAMBDA {
      const Floats center = load_upto(affine.center + c, n);
      const Floats scale = load_upto(affine.scale + c, n);
      const Floats shift = load_upto(affine.shift + c, n);
      for (std::int64_t r = r0; r < r0 + row_count; ++r) {
        const std::int64_t at = r * channels + c;
        Floats value = as_written(load_upto(x + at, n) - center) * scale + shift;
        if constexpr (kResidual) value += load_upto(residual + at, n);
        if constexpr (kRelu) value = relu(value);
        store_upto(y + at, value, n);
      }
    });
  });
}

/// Combines the blocks' statistics (Chan, Golub and LeVeque 1979, "Updating formulae …", eq. 2.1, for many
/// parts at once) for channels [c0, c0 + n), and writes all that follows from them.
template <class T>
void finish_statistics(const BatchNormForwardArgs& args, const RowBlocks& blocks, const float* partial,
                       std::int64_t c0, std::int64_t n, const Affine& affine) {
  const std::int64_t channels = args.channels;
  const double rows = static_cast<double>(args.rows);
  double mean[kChannelChunk] = {};
  double squares[kChannelChunk] = {};
  for (std::int64_t b = 0; b < blocks.count; ++b) {
    const double weight = static_cast<double>(blocks.rows_of(b)) / rows;
    const float* block_mean = partial + 2 * b * channels + c0;
    for (std::int64_t i = 0; i < n; ++i) mean[i] += weight * static_cast<double>(block_mean[i]);
  }
  for (std::int64_t b = 0; b < blocks.count; ++b) {
    const double count = static_cast<double>(blocks.rows_of(b));
    const float* block_mean = partial + 2 * b * channels + c0;
    const float* block_squares = block_mean + channels;
    for (std::int64_t i = 0; i < n; ++i) {
      const double d = static_cast<double>(block_mean[i]) - mean[i];
      squares[i] += static_cast<double>(block_squares[i]) + count * d * d;
    }
  }
  const T* origin = static_cast<const T*>(args.x);
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int64_t c = c0 + i;
    const double mu = static_cast<double>(to_float(origin[c])) + mean[i];
    const double rstd = 1.0 / __builtin_sqrt(squares[i] / rows + static_cast<double>(args.epsilon));
    const double scale = static_cast<double>(args.gamma[c]) * rstd;
    const float center = static_cast<float>(mu);
    affine.center[c] = center;
    affine.scale[c] = static_cast<float>(scale);
    // What rounding the mean to f32 lost goes into the shift.
    affine.shift[c] = static_cast<float>(static_cast<double>(args.beta[c]) +
                                         as_written(static_cast<double>(center) - mu) * scale);
    args.saved_mean[c] = center;
    args.saved_rstd[c] = static_cast<float>(rstd);
    const float unbiased = args.rows > 1 ? static_cast<float>(squares[i] / (rows - 1.0)) : 0.0f;
    if (!__builtin_isfinite(center) || !__builtin_isfinite(unbiased)) continue;
    args.running_mean[c] = (1.0f - args.momentum) * args.running_mean[c] + args.momentum * center;
    args.running_var[c] = (1.0f - args.momentum) * args.running_var[c] + args.momentum * unbiased;
  }
}

template <class T, bool kResidual, bool kRelu>
void forward(const BatchNormForwardArgs& args) {
  const std::int64_t channels = args.channels;
  const T* x = static_cast<const T*>(args.x);
  const T* residual = static_cast<const T*>(args.residual);
  T* y = static_cast<T*>(args.y);
  const RowBlocks blocks(args.rows);
  const Scratch<float> scratch(3 * channels + (args.training ? 2 * channels * blocks.count : 0));
  const Affine affine{scratch.data(), scratch.data() + channels, scratch.data() + 2 * channels};
  float* partial = scratch.data() + 3 * channels;  // [block][mean, squares][channel]
  if (!args.training) {
    for (std::int64_t c = 0; c < channels; ++c) {
      affine.center[c] = args.running_mean[c];
      affine.scale[c] = args.gamma[c] / __builtin_sqrtf(args.running_var[c] + args.epsilon);
      affine.shift[c] = args.beta[c];
    }
  }
#pragma omp parallel if (args.rows * channels >= kSmall)
  {
    const ThreadShare share(blocks);
    if (args.training) {
      for (std::int64_t b = share.begin; b < share.end; ++b) {
        float* mean = partial + 2 * b * channels;
        block_statistics(x + blocks.first(b) * channels, blocks.rows_of(b), channels, x, mean,
                         mean + channels);
      }
#pragma omp barrier
#pragma omp for schedule(static)
      for (std::int64_t c = 0; c < channels; c += kChannelChunk) {
        finish_statistics<T>(args, blocks, partial, c, smaller(kChannelChunk, channels - c), affine);
      }
    }
    for (std::int64_t b = share.end - 1; b >= share.begin; --b) {
      const std::int64_t at = blocks.first(b) * channels;
      normalize_rows<T, kResidual, kRelu>(x + at, kResidual ? residual + at : nullptr, y + at,
                                          blocks.rows_of(b), channels, affine);
    }
  }
}

/// dy where the forward's ReLU was open.
template <class T, bool kRelu>
DDPMTS_INLINE Floats masked_gradient(const T* y, const T* dy, std::int64_t at, std::int64_t n) {
  const Floats gradient = load_upto(dy + at, n);
  if constexpr (kRelu) {
    return load_upto(y + at, n) > Floats{} ? gradient : Floats{};
  } else {
    return gradient;
  }
}

/// Per channel and block: Σ g and Σ g·(x − mean), g the masked gradient, which also goes to dresidual if
/// there is one.
template <class T, bool kResidual, bool kRelu>
void block_gradient_sums(const T* x, const T* y, const T* dy, T* dresidual, std::int64_t rows,
                         std::int64_t channels, const float* mean, float* sums, float* products) {
  for (std::int64_t c = 0; c < channels; ++c) sums[c] = products[c] = 0.0f;
  for_each_row_group(rows, [&](std::int64_t r0, std::int64_t row_count) DDPMTS_INLINE_LAMBDA {
    for_each_vector(channels, [&](std::int64_t c, std::int64_t n) DDPMTS_INLINE_LAMBDA {
      const Floats center = load_upto(mean + c, n);
      Floats sum = load_upto(sums + c, n);
      Floats product = load_upto(products + c, n);
      for (std::int64_t r = r0; r < r0 + row_count; ++r) {
        const std::int64_t at = r * channels + c;
        const Floats g = masked_gradient<T, kRelu>(y, dy, at, n);
        if constexpr (kResidual) store_upto(dresidual + at, g, n);
        sum += g;
        product += g * as_written(load_upto(x + at, n) - center);
      }
      store_upto(sums + c, sum, n);
      store_upto(products + c, product, n);
    });
  });
}

/// Per channel: dx = on_gradient·g + on_input·(x − mean) + constant.
struct InputGradient {
  float *on_gradient, *on_input, *constant;
};

void finish_gradient_sums(const BatchNormBackwardArgs& args, const RowBlocks& blocks, const float* partial,
                          std::int64_t c0, std::int64_t n, const InputGradient& coefficients) {
  double sums[kChannelChunk] = {};
  double products[kChannelChunk] = {};
  for (std::int64_t b = 0; b < blocks.count; ++b) {
    const float* block_sums = partial + 2 * b * args.channels + c0;
    const float* block_products = block_sums + args.channels;
    for (std::int64_t i = 0; i < n; ++i) {
      sums[i] += static_cast<double>(block_sums[i]);
      products[i] += static_cast<double>(block_products[i]);
    }
  }
  const double rows = static_cast<double>(args.rows);
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int64_t c = c0 + i;
    const double rstd = static_cast<double>(args.saved_rstd[c]);
    const double on_gradient = static_cast<double>(args.gamma[c]) * rstd;
    args.dbeta[c] = static_cast<float>(sums[i]);
    args.dgamma[c] = static_cast<float>(products[i] * rstd);
    coefficients.on_gradient[c] = static_cast<float>(on_gradient);
    coefficients.on_input[c] = static_cast<float>(-on_gradient * rstd * rstd * products[i] / rows);
    coefficients.constant[c] = static_cast<float>(-on_gradient * sums[i] / rows);
  }
}

template <class T, bool kRelu>
void input_gradient_rows(const T* x, const T* y, const T* dy, T* dx, std::int64_t rows, std::int64_t channels,
                         const float* mean, const InputGradient& coefficients) {
  for_each_row_group(rows, [&](std::int64_t r0, std::int64_t row_count) DDPMTS_INLINE_LAMBDA {
    for_each_vector(channels, [&](std::int64_t c, std::int64_t n) DDPMTS_INLINE_LAMBDA {
      const Floats center = load_upto(mean + c, n);
      const Floats on_gradient = load_upto(coefficients.on_gradient + c, n);
      const Floats on_input = load_upto(coefficients.on_input + c, n);
      const Floats constant = load_upto(coefficients.constant + c, n);
      for (std::int64_t r = r0; r < r0 + row_count; ++r) {
        const std::int64_t at = r * channels + c;
        const Floats centered = as_written(load_upto(x + at, n) - center);
        const Floats g = masked_gradient<T, kRelu>(y, dy, at, n);
        store_upto(dx + at, on_gradient * g + (on_input * centered + constant), n);
      }
    });
  });
}

template <class T, bool kResidual, bool kRelu>
void backward(const BatchNormBackwardArgs& args) {
  const std::int64_t channels = args.channels;
  const T* x = static_cast<const T*>(args.x);
  const T* y = static_cast<const T*>(args.y);
  const T* dy = static_cast<const T*>(args.dy);
  T* dx = static_cast<T*>(args.dx);
  T* dresidual = static_cast<T*>(args.dresidual);
  const RowBlocks blocks(args.rows);
  const Scratch<float> scratch(3 * channels + 2 * channels * blocks.count);
  const InputGradient coefficients{scratch.data(), scratch.data() + channels, scratch.data() + 2 * channels};
  float* partial = scratch.data() + 3 * channels;  // [block][sums, products][channel]
#pragma omp parallel if (args.rows * channels >= kSmall)
  {
    const ThreadShare share(blocks);
    for (std::int64_t b = share.begin; b < share.end; ++b) {
      const std::int64_t at = blocks.first(b) * channels;
      float* sums = partial + 2 * b * channels;
      block_gradient_sums<T, kResidual, kRelu>(x + at, kRelu ? y + at : nullptr, dy + at,
                                               kResidual ? dresidual + at : nullptr, blocks.rows_of(b),
                                               channels, args.saved_mean, sums, sums + channels);
    }
#pragma omp barrier
#pragma omp for schedule(static)
    for (std::int64_t c = 0; c < channels; c += kChannelChunk) {
      finish_gradient_sums(args, blocks, partial, c, smaller(kChannelChunk, channels - c), coefficients);
    }
    for (std::int64_t b = share.end - 1; b >= share.begin; --b) {
      const std::int64_t at = blocks.first(b) * channels;
      const std::int64_t rows = blocks.rows_of(b);
      if constexpr (kResidual) {
        input_gradient_rows<T, false>(x + at, nullptr, dresidual + at, dx + at, rows, channels,
                                      args.saved_mean, coefficients);
      } else {
        input_gradient_rows<T, kRelu>(x + at, kRelu ? y + at : nullptr, dy + at, dx + at, rows, channels,
                                      args.saved_mean, coefficients);
      }
    }
  }
}

}  // namespace

void batch_norm_forward(const BatchNormForwardArgs& args) {
  with_float_type(args.type, [&](auto zero) DDPMTS_INLINE_LAMBDA {
    using T = decltype(zero);
    if (args.residual != nullptr) {
      args.relu ? forward<T, true, true>(args) : forward<T, true, false>(args);
    } else {
      args.relu ? forward<T, false, true>(args) : forward<T, false, false>(args);
    }
  });
}

void batch_norm_backward(const BatchNormBackwardArgs& args) {
  with_float_type(args.type, [&](auto zero) DDPMTS_INLINE_LAMBDA {
    using T = decltype(zero);
    if (args.dresidual != nullptr) {
      args.relu ? backward<T, true, true>(args) : backward<T, true, false>(args);
    } else {
      args.relu ? backward<T, false, true>(args) : backward<T, false, false>(args);
    }
  });
}

}  // namespace ddpmts::kernels::cpu::DDPMTS_ISA
