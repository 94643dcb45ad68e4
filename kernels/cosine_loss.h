// Cosine distance of teacher and student features, summed over levels (arXiv 2211.11317 eq. 1–3; arXiv 2604.19240
// Sec. 3.3.3): X = T·S/(‖T‖‖S‖), D = 1 − Σ_c X, loss = scale · Σ_levels Σ_n mean_ij D.   scale = 1/N is the batch mean.
// Layout: features NHWC in f32 or bf16, norms and sums in f32.
// Bytes moved: forward reads T and S once and writes the small D; backward reads T and S once, writes dS once.
// Variants: all levels in one call; D only (inspection: loss = nullptr); loss only (distance = nullptr in a level).
// A zero vector has cosine 0 with anything; a zero student vector gets gradient 0.
#pragma once

#include "kernels/feature_levels.h"
#include "kernels/launch.h"

namespace ddpmts::kernels {

struct CosineLossArgs {
  FeatureLevels features;
  float scale = 1.0f;
  float* loss = nullptr;             ///< [1] out, f32; null: only the distances are wanted
  const float* grad_loss = nullptr;  ///< [1] in, backward: dL/dloss
};

/// Reductions run in a fixed order: the same input gives the same bits on the same machine, whatever the thread count.
DDPMTS_KERNEL(cosine_loss_forward, CosineLossArgs)
/// Writes level[k].student_grad. The teacher is frozen: it gets no gradient.
DDPMTS_KERNEL(cosine_loss_backward, CosineLossArgs)

}  // namespace ddpmts::kernels
