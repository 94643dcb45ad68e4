// What GroupNorm's forward and backward share: how a picture's pixels are cut into blocks, how two passes over them are
// run by the threads, and the one formula that all per-channel values fold into.
// Kernel sources only: everything is inlined, in an unnamed namespace of the instruction set's own.
#pragma once

#include <omp.h>

#include "kernels/cpu/simd.h"

namespace ddpmts::kernels::cpu::DDPMTS_ISA {
namespace {

constexpr std::int64_t kRowGroup = 8;             // pixels that share one load of the per-channel values
constexpr std::int64_t kBlockElements = 1 << 14;  // of one block of pixels, roughly
constexpr std::int64_t kSmall = 1 << 15;          // elements below which one thread is faster than two

/// How a picture's pixels are cut into blocks; a function of the shape alone.
struct PixelBlocks {
  std::int64_t pixels, size, count;

  DDPMTS_INLINE PixelBlocks(std::int64_t of_picture, std::int64_t channels) : pixels(of_picture) {
    const std::int64_t even = ceil_div(ceil_div(kBlockElements, channels), kRowGroup) * kRowGroup;
    size = smaller(std::int64_t{512}, even);
    count = ceil_div(pixels, size);
  }
  DDPMTS_INLINE std::int64_t first(std::int64_t block) const { return block * size; }
  DDPMTS_INLINE std::int64_t pixels_of(std::int64_t block) const {
    return smaller(size, pixels - block * size);
  }
};

/// For each picture: first(picture, block) for its blocks, then finish(picture), then second(picture, block), last blocks
/// first: they are still in the cache.
template <class First, class Finish, class Second>
DDPMTS_INLINE void run_two_passes(std::int64_t n, std::int64_t channels, const PixelBlocks& blocks,
                                  First first, Finish finish, Second second) {
  const bool small = n * blocks.pixels * channels < kSmall;
  const std::int64_t wanted_threads = small ? 1 : omp_get_max_threads();
  if (n % wanted_threads == 0 || n >= 4 * wanted_threads) {
#pragma omp parallel for schedule(static) if (!small)
    for (std::int64_t i = 0; i < n; ++i) {
      for (std::int64_t b = 0; b < blocks.count; ++b) first(i, b);
      finish(i);
      for (std::int64_t b = blocks.count - 1; b >= 0; --b) second(i, b);
    }
    return;
  }
#pragma omp parallel
  {
    const std::int64_t total = n * blocks.count;
    const std::int64_t begin = total * omp_get_thread_num() / omp_get_num_threads();
    const std::int64_t end = total * (omp_get_thread_num() + 1) / omp_get_num_threads();
    for (std::int64_t k = begin; k < end; ++k) first(k / blocks.count, k % blocks.count);
#pragma omp barrier
#pragma omp for schedule(static)
    for (std::int64_t i = 0; i < n; ++i) finish(i);
    for (std::int64_t k = end - 1; k >= begin; --k) second(k / blocks.count, k % blocks.count);
  }
}

/// Calls body(first_row, row_count) in groups of kRowGroup rows; the full groups know their count.
template <class Body>
DDPMTS_INLINE void for_each_row_group(std::int64_t rows, Body body) {
  std::int64_t r = 0;
  for (; r + kRowGroup <= rows; r += kRowGroup) body(r, kRowGroup);
  if (r < rows) body(r, rows - r);
}

/// Per channel of one picture: w = (x − center)·scale + shift.
struct Affine {
  float *center, *scale, *shift;

  DDPMTS_INLINE Affine(float* at, std::int64_t channels)
      : center(at), scale(at + channels), shift(at + 2 * channels) {}
};

/// What one picture's channel is multiplied with and shifted by after the normalisation: w = v·scale + shift.
struct Modulation {
  double scale, shift;
};

template <class T>
DDPMTS_INLINE Modulation modulation_of(const T* scale_shift, std::int64_t channels, std::int64_t c) {
  if (scale_shift == nullptr) return Modulation{1.0, 0.0};
  return Modulation{1.0 + static_cast<double>(to_float(scale_shift[c])),
                    static_cast<double>(to_float(scale_shift[channels + c]))};
}

/// Everything per picture and channel in one formula. mean and rstd are per channel here, those of its group.
template <class T>
DDPMTS_INLINE void make_affine(std::int64_t channels, const T* add, const T* scale_shift, const float* gamma,
                               const float* beta, const double* mean, const double* rstd,
                               const Affine& affine) {
  for (std::int64_t c = 0; c < channels; ++c) {
    const Modulation m = modulation_of(scale_shift, channels, c);
    const double exact = mean[c] - (add != nullptr ? static_cast<double>(to_float(add[c])) : 0.0);
    const double scale = static_cast<double>(gamma[c]) * rstd[c] * m.scale;
    const float center = static_cast<float>(exact);
    affine.center[c] = center;
    affine.scale[c] = static_cast<float>(scale);
    // What rounding the center to f32 lost goes into the shift.
    affine.shift[c] = static_cast<float>(static_cast<double>(beta[c]) * m.scale + m.shift +
                                         as_written(static_cast<double>(center) - exact) * scale);
  }
}

}  // namespace
}  // namespace ddpmts::kernels::cpu::DDPMTS_ISA
