// GroupNorm of NHWC pictures with the time embedding and SiLU of a UNet's block (contract: kernels/group_norm.h).
// Layout: [n, pixels, channels]. Vectors run over channels, however few make a group: sums are taken per channel and block
//   of pixels, then over a picture's blocks in order, then over the channels of a group in order, so that results do not
//   depend on the number of threads.
// Bytes moved per element: forward reads 2, writes 1; backward reads 4, writes 1. Where there are pictures enough for the
//   threads, each does whole pictures, and the second reads come from its own cache if a picture fits there.
// Variants: f32, bf16; × SiLU. What is per picture and channel (add, scale-shift) costs nothing per element.
#include "kernels/group_norm.h"

#include <stdexcept>

#include "kernels/cpu/block_statistics.h"
#include "kernels/cpu/fast_exp.h"
#include "kernels/cpu/group_norm_parts.h"

namespace ddpmts::kernels::cpu::DDPMTS_ISA {
namespace {

template <class T, bool kSilu>
void normalize_rows(const T* x, T* y, std::int64_t rows, std::int64_t channels, const Affine& affine) {
  for_each_row_group(rows, [&](std::int64_t r0, std::int64_t row_count) DDPMTS_INLINE_LAMBDA {
    for_each_vector(channels, [&](std::int64_t c, std::int64_t n) DDPMTS_INLINE_LAMBDA {
      const Floats center = load_upto(affine.center + c, n);
      const Floats scale = load_upto(affine.scale + c, n);
      const Floats shift = load_upto(affine.shift + c, n);
      for (std::int64_t r = r0; r < r0 + row_count; ++r) {
        const std::int64_t at = r * channels + c;
        const Floats w = as_written(load_upto(x + at, n) - center) * scale + shift;
        store_upto(y + at, kSilu ? silu<T>(w) : w, n);
      }
    });
  });
}

template <class T, bool kSilu>
struct Forward {
  const GroupNormForwardArgs& args;
  const PixelBlocks& blocks;
  float* partial;    // [picture][block][mean, squares][channel]
  double* channels;  // [picture][mean, squares or rstd][channel]
  float* affines;    // [picture][center, scale, shift][channel]

  DDPMTS_INLINE const T* picture(std::int64_t i) const {
    return static_cast<const T*>(args.x) + i * args.pixels * args.channels;
  }
  DDPMTS_INLINE float* partial_of(std::int64_t i, std::int64_t block) const {
    return partial + 2 * (i * blocks.count + block) * args.channels;
  }

  DDPMTS_INLINE void sum_block(std::int64_t i, std::int64_t block) const {
    float* mean = partial_of(i, block);
    block_statistics(picture(i) + blocks.first(block) * args.channels, blocks.pixels_of(block), args.channels,
                     picture(i), mean, mean + args.channels);
  }

  /// Combines the blocks' statistics, then the channels' of a group (Chan, Golub and LeVeque 1979, "Updating formulae …",
  /// eq. 2.1, for many parts at once).
  void finish(std::int64_t i) const {
    const std::int64_t count = args.channels;
    const std::int64_t width = count / args.groups;
    const double pixels = static_cast<double>(args.pixels);
    double* mean = channels + 2 * i * count;
    double* squares = mean + count;
    for (std::int64_t c = 0; c < count; ++c) mean[c] = squares[c] = 0.0;
    for (std::int64_t b = 0; b < blocks.count; ++b) {
      const double weight = static_cast<double>(blocks.pixels_of(b)) / pixels;
      const float* block_mean = partial_of(i, b);
      for (std::int64_t c = 0; c < count; ++c) mean[c] += weight * static_cast<double>(block_mean[c]);
    }
    for (std::int64_t b = 0; b < blocks.count; ++b) {
      const double rows = static_cast<double>(blocks.pixels_of(b));
      const float* block_mean = partial_of(i, b);
      const float* block_squares = block_mean + count;
      for (std::int64_t c = 0; c < count; ++c) {
        const double d = static_cast<double>(block_mean[c]) - mean[c];
        squares[c] += static_cast<double>(block_squares[c]) + rows * d * d;
      }
    }
    const T* add = args.add == nullptr ? nullptr : static_cast<const T*>(args.add) + i * count;
    const T* origin = picture(i);
    for (std::int64_t c = 0; c < count; ++c) {
      mean[c] += static_cast<double>(to_float(origin[c])) +
                 (add != nullptr ? static_cast<double>(to_float(add[c])) : 0.0);
    }
    for (std::int64_t g = 0; g < args.groups; ++g) {
      double group_mean = 0.0, group_squares = 0.0;
      for (std::int64_t c = g * width; c < (g + 1) * width; ++c) group_mean += mean[c];
      group_mean /= static_cast<double>(width);
      for (std::int64_t c = g * width; c < (g + 1) * width; ++c) {
        const double d = mean[c] - group_mean;
        group_squares += squares[c] + pixels * d * d;
      }
      const double variance = group_squares / (pixels * static_cast<double>(width));
      const double rstd = 1.0 / __builtin_sqrt(variance + static_cast<double>(args.epsilon));
      for (std::int64_t c = g * width; c < (g + 1) * width; ++c) {
        mean[c] = group_mean;
        squares[c] = rstd;
      }
      if (args.saved_mean != nullptr) args.saved_mean[i * args.groups + g] = static_cast<float>(group_mean);
      if (args.saved_rstd != nullptr) args.saved_rstd[i * args.groups + g] = static_cast<float>(rstd);
    }
    const T* scale_shift =
        args.scale_shift == nullptr ? nullptr : static_cast<const T*>(args.scale_shift) + 2 * i * count;
    make_affine(count, add, scale_shift, args.gamma, args.beta, mean, squares,
                Affine(affines + 3 * i * count, count));
  }

  DDPMTS_INLINE void normalize_block(std::int64_t i, std::int64_t block) const {
    const std::int64_t at = (i * args.pixels + blocks.first(block)) * args.channels;
    normalize_rows<T, kSilu>(static_cast<const T*>(args.x) + at, static_cast<T*>(args.y) + at,
                             blocks.pixels_of(block), args.channels,
                             Affine(affines + 3 * i * args.channels, args.channels));
  }
};

template <class T, bool kSilu>
void forward(const GroupNormForwardArgs& args) {
  const PixelBlocks blocks(args.pixels, args.channels);
  const Scratch<float> partial(2 * args.n * blocks.count * args.channels);
  const Scratch<double> channels(2 * args.n * args.channels);
  const Scratch<float> affines(3 * args.n * args.channels);
  const Forward<T, kSilu> work{args, blocks, partial.data(), channels.data(), affines.data()};
  run_two_passes(
      args.n, args.channels, blocks,
      [&](std::int64_t i, std::int64_t b) DDPMTS_INLINE_LAMBDA { work.sum_block(i, b); },
      [&](std::int64_t i) DDPMTS_INLINE_LAMBDA { work.finish(i); },
      [&](std::int64_t i, std::int64_t b) DDPMTS_INLINE_LAMBDA { work.normalize_block(i, b); });
}

/// The gradient of w, from that of y.
template <class T, bool kSilu>
DDPMTS_INLINE Floats inner_gradient(Floats centered, Floats scale, Floats shift, Floats dy) {
  if constexpr (kSilu) {
    return dy * silu_slope<T>(centered * scale + shift);
  } else {
    return dy;
  }
}

/// Per channel and block, with g the gradient of w: Σ g, Σ g·(x − center) and Σ (x − center).
template <class T, bool kSilu>
void block_gradient_sums(const T* x, const T* dy, std::int64_t rows, std::int64_t channels,
                         const Affine& affine, float* sums) {
  float* products = sums + channels;
  float* deviations = products + channels;
  for (std::int64_t c = 0; c < 3 * channels; ++c) sums[c] = 0.0f;
  for_each_row_group(rows, [&](std::int64_t r0, std::int64_t row_count) DDPMTS_INLINE_LAMBDA {
    for_each_vector(channels, [&](std::int64_t c, std::int64_t n) DDPMTS_INLINE_LAMBDA {
      const Floats center = load_upto(affine.center + c, n);
      const Floats scale = load_upto(affine.scale + c, n);
      const Floats shift = load_upto(affine.shift + c, n);
      Floats sum = load_upto(sums + c, n);
      Floats product = load_upto(products + c, n);
      Floats deviation = load_upto(deviations + c, n);
      for (std::int64_t r = r0; r < r0 + row_count; ++r) {
        const std::int64_t at = r * channels + c;
        const Floats centered = as_written(load_upto(x + at, n) - center);
        const Floats g = inner_gradient<T, kSilu>(centered, scale, shift, load_upto(dy + at, n));
        sum += g;
        product += g * centered;
        deviation += centered;
      }
      store_upto(sums + c, sum, n);
      store_upto(products + c, product, n);
      store_upto(deviations + c, deviation, n);
    });
  });
}

/// Per channel of one picture: dx = on_gradient·g + on_input·(x − center) + constant.
struct InputGradient {
  float *on_gradient, *on_input, *constant;

  DDPMTS_INLINE InputGradient(float* at, std::int64_t channels)
      : on_gradient(at), on_input(at + channels), constant(at + 2 * channels) {}
};

template <class T, bool kSilu>
void input_gradient_rows(const T* x, const T* dy, T* dx, std::int64_t rows, std::int64_t channels,
                         const Affine& affine, const InputGradient& coefficients) {
  for_each_row_group(rows, [&](std::int64_t r0, std::int64_t row_count) DDPMTS_INLINE_LAMBDA {
    for_each_vector(channels, [&](std::int64_t c, std::int64_t n) DDPMTS_INLINE_LAMBDA {
      const Floats center = load_upto(affine.center + c, n);
      const Floats scale = load_upto(affine.scale + c, n);
      const Floats shift = load_upto(affine.shift + c, n);
      const Floats on_gradient = load_upto(coefficients.on_gradient + c, n);
      const Floats on_input = load_upto(coefficients.on_input + c, n);
      const Floats constant = load_upto(coefficients.constant + c, n);
      for (std::int64_t r = r0; r < r0 + row_count; ++r) {
        const std::int64_t at = r * channels + c;
        const Floats centered = as_written(load_upto(x + at, n) - center);
        const Floats g = inner_gradient<T, kSilu>(centered, scale, shift, load_upto(dy + at, n));
        store_upto(dx + at, on_gradient * g + (on_input * centered + constant), n);
      }
    });
  });
}

template <class T, bool kSilu>
struct Backward {
  const GroupNormBackwardArgs& args;
  const PixelBlocks& blocks;
  float* partial;       // [picture][block][sums, products, deviations][channel]
  double* channels;     // [picture][5][channel], see finish
  float* affines;       // [picture][center, scale, shift][channel]
  float* coefficients;  // [picture][on_gradient, on_input, constant][channel]

  DDPMTS_INLINE Affine affine_of(std::int64_t i) const {
    return Affine(affines + 3 * i * args.channels, args.channels);
  }
  DDPMTS_INLINE InputGradient input_gradient_of(std::int64_t i) const {
    return InputGradient(coefficients + 3 * i * args.channels, args.channels);
  }
  DDPMTS_INLINE const T* add_of(std::int64_t i) const {
    return args.add == nullptr ? nullptr : static_cast<const T*>(args.add) + i * args.channels;
  }
  DDPMTS_INLINE const T* scale_shift_of(std::int64_t i) const {
    return args.scale_shift == nullptr ? nullptr
                                       : static_cast<const T*>(args.scale_shift) + 2 * i * args.channels;
  }

  /// The forward's formula again, from what it saved.
  void prepare(std::int64_t i) const {
    double* mean = channels + 5 * i * args.channels;
    double* rstd = mean + args.channels;
    const std::int64_t width = args.channels / args.groups;
    for (std::int64_t g = 0; g < args.groups; ++g) {
      for (std::int64_t c = g * width; c < (g + 1) * width; ++c) {
        mean[c] = static_cast<double>(args.saved_mean[i * args.groups + g]);
        rstd[c] = static_cast<double>(args.saved_rstd[i * args.groups + g]);
      }
    }
    make_affine(args.channels, add_of(i), scale_shift_of(i), args.gamma, args.beta, mean, rstd, affine_of(i));
  }

  DDPMTS_INLINE void sum_block(std::int64_t i, std::int64_t block) const {
    const std::int64_t at = (i * args.pixels + blocks.first(block)) * args.channels;
    block_gradient_sums<T, kSilu>(static_cast<const T*>(args.x) + at, static_cast<const T*>(args.dy) + at,
                                  blocks.pixels_of(block), args.channels, affine_of(i),
                                  partial + 3 * (i * blocks.count + block) * args.channels);
  }

  /// What rounding the center took from every x − center.
  static DDPMTS_INLINE double lost_by_center(double mean, const T* add, std::int64_t c,
                                             const Affine& affine) {
    const double exact = mean - (add != nullptr ? static_cast<double>(to_float(add[c])) : 0.0);
    return as_written(static_cast<double>(affine.center[c]) - exact);
  }

  /// With k = (1 + scale)·gamma, M = pixels·channels/groups, and S1 = Σ k·g, S2 = Σ k·g·x̂ over the group:
  ///   du = rstd·(k·g − S1/M − x̂·S2/M).
  void finish(std::int64_t i) const {
    const std::int64_t count = args.channels;
    const std::int64_t width = count / args.groups;
    const double pixels = static_cast<double>(args.pixels);
    double* mean = channels + 5 * i * count;  // this picture's part of dgamma afterwards
    double* rstd = mean + count;              // this picture's part of dbeta afterwards
    double* sums = rstd + count;
    double* products = sums + count;
    double* deviations = products + count;
    for (std::int64_t c = 0; c < 3 * count; ++c) sums[c] = 0.0;
    for (std::int64_t b = 0; b < blocks.count; ++b) {
      const float* block_sums = partial + 3 * (i * blocks.count + b) * count;
      for (std::int64_t c = 0; c < 3 * count; ++c) sums[c] += static_cast<double>(block_sums[c]);
    }
    const T* add = add_of(i);
    const T* scale_shift = scale_shift_of(i);
    T* dadd = args.dadd == nullptr ? nullptr : static_cast<T*>(args.dadd) + i * count;
    T* dscale_shift =
        args.dscale_shift == nullptr ? nullptr : static_cast<T*>(args.dscale_shift) + 2 * i * count;
    const Affine affine = affine_of(i);
    const InputGradient input = input_gradient_of(i);
    for (std::int64_t g = 0; g < args.groups; ++g) {
      const double group_rstd = rstd[g * width];
      double gradient_sum = 0.0, product_sum = 0.0;  // S1, S2
      for (std::int64_t c = g * width; c < (g + 1) * width; ++c) {
        const double lost = lost_by_center(mean[c], add, c, affine);
        products[c] = (products[c] + lost * sums[c]) * group_rstd;  // Σ g·x̂ from here on
        deviations[c] += lost * pixels;
        const double k = modulation_of(scale_shift, count, c).scale * static_cast<double>(args.gamma[c]);
        gradient_sum += k * sums[c];
        product_sum += k * products[c];
      }
      const double values = pixels * static_cast<double>(width);
      const double on_input = -group_rstd * group_rstd * product_sum / values;
      const double constant = -group_rstd * gradient_sum / values;
      for (std::int64_t c = g * width; c < (g + 1) * width; ++c) {
        const double gamma = static_cast<double>(args.gamma[c]);
        const double scale = modulation_of(scale_shift, count, c).scale;
        const double on_gradient = group_rstd * scale * gamma;
        input.on_gradient[c] = static_cast<float>(on_gradient);
        input.on_input[c] = static_cast<float>(on_input);
        input.constant[c] = static_cast<float>(constant + on_input * lost_by_center(mean[c], add, c, affine));
        if (dadd != nullptr) {
          dadd[c] = from_float<T>(
              static_cast<float>(on_gradient * sums[c] + on_input * deviations[c] + constant * pixels));
        }
        if (dscale_shift != nullptr) {
          dscale_shift[c] = from_float<T>(
              static_cast<float>(gamma * products[c] + static_cast<double>(args.beta[c]) * sums[c]));
          dscale_shift[count + c] = from_float<T>(static_cast<float>(sums[c]));
        }
        mean[c] = scale * products[c];
        rstd[c] = scale * sums[c];
      }
    }
  }

  DDPMTS_INLINE void input_gradient_block(std::int64_t i, std::int64_t block) const {
    const std::int64_t at = (i * args.pixels + blocks.first(block)) * args.channels;
    input_gradient_rows<T, kSilu>(static_cast<const T*>(args.x) + at, static_cast<const T*>(args.dy) + at,
                                  static_cast<T*>(args.dx) + at, blocks.pixels_of(block), args.channels,
                                  affine_of(i), input_gradient_of(i));
  }

  /// dgamma and dbeta: the pictures' parts in order.
  void sum_pictures() const {
    for (std::int64_t c = 0; c < args.channels; ++c) {
      double dgamma = 0.0, dbeta = 0.0;
      for (std::int64_t i = 0; i < args.n; ++i) {
        const double* parts = channels + 5 * i * args.channels;
        dgamma += parts[c];
        dbeta += parts[args.channels + c];
      }
      args.dgamma[c] = static_cast<float>(dgamma);
      args.dbeta[c] = static_cast<float>(dbeta);
    }
  }
};

template <class T, bool kSilu>
void backward(const GroupNormBackwardArgs& args) {
  const PixelBlocks blocks(args.pixels, args.channels);
  const Scratch<float> partial(3 * args.n * blocks.count * args.channels);
  const Scratch<double> channels(5 * args.n * args.channels);
  const Scratch<float> affines(3 * args.n * args.channels);
  const Scratch<float> coefficients(3 * args.n * args.channels);
  const Backward<T, kSilu> work{
      args, blocks, partial.data(), channels.data(), affines.data(), coefficients.data()};
  for (std::int64_t i = 0; i < args.n; ++i) work.prepare(i);
  run_two_passes(
      args.n, args.channels, blocks,
      [&](std::int64_t i, std::int64_t b) DDPMTS_INLINE_LAMBDA { work.sum_block(i, b); },
      [&](std::int64_t i) DDPMTS_INLINE_LAMBDA { work.finish(i); },
      [&](std::int64_t i, std::int64_t b) DDPMTS_INLINE_LAMBDA { work.input_gradient_block(i, b); });
  work.sum_pictures();
}

template <class Args>
void check(const Args& args) {
  if (args.type != DType::f32 && args.type != DType::bf16) {
    throw std::invalid_argument("group_norm: x must be f32 or bf16");
  }
  if (args.n < 0 || args.pixels < 1 || args.channels < 1) {
    throw std::invalid_argument("group_norm: a picture must have at least one pixel and one channel");
  }
  if (args.groups < 1 || args.channels % args.groups != 0) {
    throw std::invalid_argument("group_norm: the number of groups must divide the number of channels");
  }
}

}  // namespace

void group_norm_forward(const GroupNormForwardArgs& args) {
  check(args);
  with_float_type(args.type, [&](auto zero) DDPMTS_INLINE_LAMBDA {
    using T = decltype(zero);
    args.silu ? forward<T, true>(args) : forward<T, false>(args);
  });
}

void group_norm_backward(const GroupNormBackwardArgs& args) {
  check(args);
  if ((args.add == nullptr) != (args.dadd == nullptr)) {
    throw std::invalid_argument("group_norm: dadd is needed exactly when add is there");
  }
  if ((args.scale_shift == nullptr) != (args.dscale_shift == nullptr)) {
    throw std::invalid_argument("group_norm: dscale_shift is needed exactly when scale_shift is there");
  }
  with_float_type(args.type, [&](auto zero) DDPMTS_INLINE_LAMBDA {
    using T = decltype(zero);
    args.silu ? backward<T, true>(args) : backward<T, false>(args);
  });
}

}  // namespace ddpmts::kernels::cpu::DDPMTS_ISA
