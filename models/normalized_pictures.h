// Pictures as the networks that learn features are given them: ImageNet's normalisation.
#pragma once

#include "engine/tensor.h"

namespace ddpmts {

/// pictures [N,H,W,3] u8 → [N,H,W,3] of `type` (f32 or bf16) on the same device: (x/255 − mean)/std per channel, mean and
/// deviation as in torchvision's weights. Throws ShapeError.
Tensor normalized_pictures(const Tensor& pictures, DType type);

}  // namespace ddpmts
