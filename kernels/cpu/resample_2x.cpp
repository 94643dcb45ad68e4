// Nearest-neighbour upsampling and average pooling by 2, and their gradients (contract: kernels/resample_2x.h).
// Layout: NHWC; one task is one coarse row and the two fine rows that belong to it; vectors run over channels.
// Bytes moved: the input once, the output once.
// Variants: f32, bf16.
#include "kernels/resample_2x.h"

#include <stdexcept>

#include "kernels/cpu/simd.h"

namespace ddpmts::kernels::cpu::DDPMTS_ISA {
namespace {

constexpr std::int64_t kSmall = 1 << 14;  // fine elements below which one thread is faster than two

/// The two pixels of a fine row that coarse pixel j covers begin at 2j·channels and (2j + 1)·channels.
template <class T>
void spread_row(const T* coarse, T* upper, T* lower, std::int64_t w, std::int64_t channels, float scale) {
  for (std::int64_t j = 0; j < w; ++j) {
    for_each_vector(channels, [&](std::int64_t c, std::int64_t n) DDPMTS_INLINE_LAMBDA {
      const Floats value = load_upto(coarse + j * channels + c, n) * scale;
      const std::int64_t left = 2 * j * channels + c;
      store_upto(upper + left, value, n);
      store_upto(upper + left + channels, value, n);
      store_upto(lower + left, value, n);
      store_upto(lower + left + channels, value, n);
    });
  }
}

template <class T>
void gather_row(const T* upper, const T* lower, T* coarse, std::int64_t w, std::int64_t channels,
                float scale) {
  for (std::int64_t j = 0; j < w; ++j) {
    for_each_vector(channels, [&](std::int64_t c, std::int64_t n) DDPMTS_INLINE_LAMBDA {
      const std::int64_t left = 2 * j * channels + c;
      const Floats sum = (load_upto(upper + left, n) + load_upto(upper + left + channels, n)) +
                         (load_upto(lower + left, n) + load_upto(lower + left + channels, n));
      store_upto(coarse + j * channels + c, sum * scale, n);
    });
  }
}

template <class T, bool kSpread>
void resample(const Resample2xArgs& args) {
  const T* x = static_cast<const T*>(args.x);
  T* y = static_cast<T*>(args.y);
  const std::int64_t coarse_row = args.w * args.channels;
  const std::int64_t fine_row = 2 * coarse_row;
  const std::int64_t rows = args.n * args.h;
#pragma omp parallel for schedule(static) if (rows * 4 * coarse_row >= kSmall)
  for (std::int64_t r = 0; r < rows; ++r) {
    const std::int64_t coarse = r * coarse_row;
    const std::int64_t fine = 2 * r * fine_row;
    if constexpr (kSpread) {
      spread_row(x + coarse, y + fine, y + fine + fine_row, args.w, args.channels, args.scale);
    } else {
      gather_row(x + fine, x + fine + fine_row, y + coarse, args.w, args.channels, args.scale);
    }
  }
}

void check(const Resample2xArgs& args) {
  if (args.type != DType::f32 && args.type != DType::bf16) {
    throw std::invalid_argument("resample_2x: x must be f32 or bf16");
  }
  if (args.n < 0 || args.h < 1 || args.w < 1 || args.channels < 1) {
    throw std::invalid_argument("resample_2x: a coarse picture must have at least one pixel and one channel");
  }
}

}  // namespace

void spread_2x(const Resample2xArgs& args) {
  check(args);
  with_float_type(args.type, [&](auto zero) DDPMTS_INLINE_LAMBDA { resample<decltype(zero), true>(args); });
}

void gather_2x(const Resample2xArgs& args) {
  check(args);
  with_float_type(args.type, [&](auto zero) DDPMTS_INLINE_LAMBDA { resample<decltype(zero), false>(args); });
}

}  // namespace ddpmts::kernels::cpu::DDPMTS_ISA
