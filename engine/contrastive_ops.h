// Operations of contrastive learning, beside those of engine/ops.h; the same rules hold.
#pragma once

#include "engine/autograd.h"

namespace ddpmts {

struct ContrastiveLoss {
  Tensor total;     ///< [1] f32, differentiable
  Tensor accuracy;  ///< [1] f32: share of views whose partner is the most similar of all others, for display
};

/// NT-Xent (arXiv 2002.05709 eq. 1) of embeddings [2·pairs, ...], first one view of every pair, then, in the same order, the
/// other. Rows are normalised to length 1 first; everything after that is f32. temperature ≥ 0.025.
ContrastiveLoss contrastive_loss(const Tensor& embeddings, float temperature);

}  // namespace ddpmts
