// Telling pairs of views apart from all others (NT-Xent, arXiv 2002.05709 eq. 1), of n rows that are n/2 pairs, row i with
// row i ± n/2:   loss = 1/n · Σ_i [ log Σ_{j≠i} e^(s_ij/τ) − s_ip/τ ],   p: i's partner, s: cosines.
// Layout: similarities [n, n] f32.
// Bytes moved: reads the similarities once forward, once backward, and writes their gradient.
// Variants: none.
#pragma once

#include <stdexcept>

#include "kernels/launch.h"

namespace ddpmts::kernels {

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

/// Throws std::invalid_argument for sizes that do not fit: what every launcher does first.
inline __attribute__((always_inline)) void check(const ContrastiveLossArgs& args) {
  if (args.n < 4 || args.n % 2 != 0) {
    throw std::invalid_argument("contrastive_loss: there must be at least two pairs of rows");
  }
  if (!(args.temperature >= 0.025f)) {
    throw std::invalid_argument("contrastive_loss: the temperature must be at least 0.025");
  }
}

/// Sums run in a fixed order whatever the thread count.
DDPMTS_KERNEL(contrastive_loss_forward, ContrastiveLossArgs)
DDPMTS_KERNEL(contrastive_loss_backward, ContrastiveLossArgs)

}  // namespace ddpmts::kernels
