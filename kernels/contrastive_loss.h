// Telling pairs of views apart from all others (NT-Xent, arXiv 2002.05709 eq. 1), of n rows that are n/2 pairs, row i with
// row i ± n/2:   loss = 1/n · Σ_i [ log Σ_{j≠i} e^(s_ij/τ) − s_ip/τ ],   p: i's partner, s: cosines.
// And the normalisation before it: y = x/|x| for every row.
// Layout: similarities [n, n] f32, rows [rows, columns] row-major, x and dx f32 or bf16.
// Bytes moved: the loss reads the similarities once forward, once backward, and writes their gradient; normalisation reads x
//   twice (the second time from the cache) and writes y.
// Variants: none.
#pragma once

#include "kernels/launch.h"

namespace ddpmts::kernels {

struct NormalizeRowsArgs {
  DType type = DType::f32;  ///< of x and dx
  std::int64_t rows = 0, columns = 0;
  const void* x = nullptr;         ///< forward in
  float* y = nullptr;              ///< forward out, backward in
  float* inverse_norms = nullptr;  ///< [rows] forward out, backward in
  const float* dy = nullptr;       ///< backward in
  void* dx = nullptr;              ///< backward out: (dy − y·(y·dy))/|x|
};

struct ContrastiveLossArgs {
  std::int64_t n = 0;                   ///< rows, even, at least 4
  float temperature = 0.1f;             ///< τ, at least 0.025
  const float* similarities = nullptr;  ///< [n, n], symmetric, in [−1, 1]
  float* sums = nullptr;                ///< [n] forward out, backward in: Σ_{j≠i} e^((s_ij − 1)/τ)
  float* loss = nullptr;                ///< [1] forward out
  float* accuracy =
      nullptr;  ///< [1] forward out: share of rows to which none is more similar than the partner
  const float* grad_loss = nullptr;  ///< [1] backward in
  /// [n, n] backward out, ∂loss/∂s_ij + ∂loss/∂s_ji: with s = y·yᵀ the gradient of y is this matrix times y.
  float* similarities_grad = nullptr;
};

/// A row of zeros stays one and has gradient 0. Sums run in a fixed order whatever the thread count. Throw
/// std::invalid_argument for types and sizes that do not fit.
DDPMTS_KERNEL(normalize_rows_forward, NormalizeRowsArgs)
DDPMTS_KERNEL(normalize_rows_backward, NormalizeRowsArgs)
DDPMTS_KERNEL(contrastive_loss_forward, ContrastiveLossArgs)
DDPMTS_KERNEL(contrastive_loss_backward, ContrastiveLossArgs)

}  // namespace ddpmts::kernels
