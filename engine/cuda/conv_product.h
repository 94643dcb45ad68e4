// Convolution as a matrix product, for what cuDNN has no engine for: the input's windows are unfolded into a matrix, a
// few images at a time within the workspace limit. f32 sums. Slower than cuDNN and without its limits.
#pragma once

#include "engine/cuda/plan_key.h"

namespace ddpmts::cuda {

/// sum [n, p, q, k] f32 = conv(x, w).
void conv_product_forward(const ConvPlanKey& key, const void* x, const void* w, float* sum);
/// dx of the shape's type.
void conv_product_backward_data(const ConvPlanKey& key, const void* dy, const void* w, void* dx);
/// dw [k, r, s, c] f32.
void conv_product_backward_weights(const ConvPlanKey& key, const void* x, const void* dy, float* dw);

}  // namespace ddpmts::cuda
