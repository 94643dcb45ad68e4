// Rows of length 1, as cosines need them: y = x/|x| for every row, and the gradient.
// Layout: [rows, columns] row-major; x and dx f32 or bf16, the rest f32.
// Bytes moved: forward reads x twice (the second time from the cache) and writes y; backward reads y and dy twice, writes dx.
// Variants: none.
#pragma once

#include <stdexcept>

#include "kernels/launch.h"

namespace ddpmts::kernels {

/// Of a row's length squared, below which the row counts as zero.
constexpr float kLeastSquaredLength = 1e-24f;

struct NormalizeRowsArgs {
  DType type = DType::f32;  ///< of x and dx
  std::int64_t rows = 0, columns = 0;
  const void* x = nullptr;         ///< forward in
  float* y = nullptr;              ///< forward out, backward in
  float* inverse_norms = nullptr;  ///< [rows] forward out, backward in
  const float* dy = nullptr;       ///< backward in
  void* dx = nullptr;              ///< backward out: (dy − y·(y·dy))/|x|
};

/// Throws std::invalid_argument for types and sizes that do not fit: what every launcher does first.
inline __attribute__((always_inline)) void check(const NormalizeRowsArgs& args) {
  if (args.type != DType::f32 && args.type != DType::bf16) {
    throw std::invalid_argument("normalize_rows: x must be f32 or bf16");
  }
  if (args.rows < 0 || args.columns < 1) {
    throw std::invalid_argument("normalize_rows: a row must have at least one column");
  }
}

/// A row of zeros stays one and has gradient 0. Sums run in a fixed order whatever the thread count.
DDPMTS_KERNEL(normalize_rows_forward, NormalizeRowsArgs)
DDPMTS_KERNEL(normalize_rows_backward, NormalizeRowsArgs)

}  // namespace ddpmts::kernels
