// Mean and variance of channels, one block of rows at a time: what BatchNorm and GroupNorm combine.
#pragma once

#include "kernels/cpu/simd.h"

namespace ddpmts::kernels::cpu::DDPMTS_ISA {
namespace {

/// Mean, relative to `origin`, and sum of squared deviations of one block of rows, per channel. Deviations are first
/// taken from the block's own first row, so that a large common offset costs no precision.
template <class T>
void block_statistics(const T* x, std::int64_t rows, std::int64_t channels, const T* origin, float* mean,
                      float* squares) {
  for (std::int64_t c = 0; c < channels; ++c) mean[c] = squares[c] = 0.0f;
  for_each_row_group(rows, [&](std::int64_t r0, std::int64_t row_count) DDPMTS_INLINE_LAMBDA {
    for_each_vector(channels, [&](std::int64_t c, std::int64_t n) DDPMTS_INLINE_LAMBDA {
      const Floats pivot = load_upto(x + c, n);
      Floats sum = load_upto(mean + c, n);
      Floats sum_of_squares = load_upto(squares + c, n);
      for (std::int64_t r = r0; r < r0 + row_count; ++r) {
        const Floats d = as_written(load_upto(x + r * channels + c, n) - pivot);
        sum += d;
        sum_of_squares += d * d;
      }
      store_upto(mean + c, sum, n);
      store_upto(squares + c, sum_of_squares, n);
    });
  });
  const Floats share = splat(1.0f / static_cast<float>(rows));
  for_each_vector(channels, [&](std::int64_t c, std::int64_t n) DDPMTS_INLINE_LAMBDA {
    const Floats sum = load_upto(mean + c, n);
    const Floats offset = as_written(load_upto(x + c, n) - load_upto(origin + c, n));
    const Floats squared = load_upto(squares + c, n) - sum * sum * share;
    store_upto(mean + c, offset + sum * share, n);
    store_upto(squares + c, larger(Floats{}, squared), n);
  });
}

}  // namespace
}  // namespace ddpmts::kernels::cpu::DDPMTS_ISA
