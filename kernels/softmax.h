// Softmax over the last axis, for attention:   y = softmax(scale·x),   dx = scale·y·(dy − Σ y·dy).
// Layout: [rows, columns] row-major; x and dx f32, y and dy f32 or bf16.
// Bytes moved: forward reads x (cached rows: once) and writes y; backward reads y and dy once and writes dx.
// Variants: none.
#pragma once

#include "kernels/launch.h"

namespace ddpmts::kernels {

struct SoftmaxArgs {
  DType type = DType::f32;  ///< of y and dy
  std::int64_t rows = 0, columns = 0;
  float scale = 1.0f;        ///< usually 1/sqrt(channels of a head)
  const float* x = nullptr;  ///< forward in
  void* y = nullptr;         ///< forward out, backward in
  const void* dy = nullptr;  ///< backward in
  float* dx = nullptr;       ///< backward out
};

/// A row's largest value is subtracted first; sums in f32, in a fixed order whatever the thread count. −∞ gives 0 (at most
/// 2e-38); a row with NaN, with +∞ or with nothing but −∞ becomes NaN. y may not alias x, nor dx an input.
/// Throws std::invalid_argument for element types that do not fit, rows < 0 or columns < 1.
DDPMTS_KERNEL(softmax_forward, SoftmaxArgs)
DDPMTS_KERNEL(softmax_backward, SoftmaxArgs)

}  // namespace ddpmts::kernels
