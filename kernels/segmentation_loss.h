// Pixel supervision of the segmentation head (arXiv 2211.11317 Sec. 3.4): focal loss + L1, from logits.
//   p = σ(z), p_t = p where the mask is 1, 1−p where 0;  focal = mean −(1−p_t)^γ log p_t,  l1 = mean |p − mask|
//   loss = focal_weight·focal + l1_weight·l1
// Layout: logits [count] f32 or bf16, mask [count] u8 (not 0: defect); sums in a fixed order, whatever the thread count.
// Bytes moved: forward 3–5 per element; backward the same plus the gradient.
// Variants: forward writes the two terms; backward writes dlogits. log p_t is computed as −softplus: no overflow.
#pragma once

#include "kernels/launch.h"

namespace ddpmts::kernels {

struct SegmentationLossArgs {
  DType type = DType::f32;
  std::int64_t count = 0;  ///< ≥ 1
  const void* logits = nullptr;
  const std::uint8_t* mask = nullptr;
  float gamma = 4.0f;  ///< γ ≥ 0; focal terms too small for a normal float count as 0
  float focal_weight = 1.0f;
  float l1_weight = 1.0f;
  float* loss = nullptr;             ///< [3] out: weighted sum, focal, l1
  const float* grad_loss = nullptr;  ///< [1] in, backward: dL/d(weighted sum)
  void* grad_logits = nullptr;       ///< [count] out, type
};

DDPMTS_KERNEL(segmentation_loss_forward, SegmentationLossArgs)
DDPMTS_KERNEL(segmentation_loss_backward, SegmentationLossArgs)

}  // namespace ddpmts::kernels
