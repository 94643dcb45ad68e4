// Operations on tensors, recorded for differentiation where an input needs it. Pictures and features are
// [N,H,W,C]. Every operation checks shapes and element types and throws ShapeError; all tensors are on one
// device.
#pragma once

#include <vector>

#include "engine/autograd.h"
#include "engine/parameter.h"

namespace ddpmts {

struct ConvOptions {
  std::int64_t stride = 1, padding = 0, dilation = 1;
};

/// x [N,H,W,C] ⊛ weight [K,R,S,C] (+ bias [K]) (+ residual [N,H',W',K]) → [N,H',W',K] in x's element type. The residual
/// is added in the convolution's own pass; empty: none.
Tensor conv2d(const Tensor& x, const ParameterPtr& weight, const ParameterPtr& bias,
              const ConvOptions& options, const Tensor& residual = {});

/// conv2d with, on the CPU, the residual's memory for the result. The residual must be an operation's result whose values nothing
/// needs any more, which holds for the outputs of convolutions and of linear layers.
Tensor conv2d_onto(const Tensor& residual, const Tensor& x, const ParameterPtr& weight,
                   const ParameterPtr& bias, const ConvOptions& options);

/// relu?(conv2d(x) + bias + residual) in one call, for networks that are not trained: records nothing. The
/// residual's memory becomes the result; null: none.
Tensor conv2d_fused(const Tensor& x, Parameter& weight, const Tensor& bias, const ConvOptions& options,
                    const Tensor& residual, bool relu);

/// What BatchNorm learns and keeps, each [C].
struct BatchNormParameters {
  ParameterPtr weight, bias, running_mean, running_var;
};

enum class BatchNormMode { training, inference };

/// relu?(BatchNorm(x) + residual); residual may be empty. Training mode normalises by the batch and updates
/// the running statistics (momentum 0.1, unbiased variance). Inference mode cannot be differentiated.
Tensor batch_norm(const Tensor& x, const BatchNormParameters& parameters, const Tensor& residual, bool relu,
                  BatchNormMode mode, float epsilon = 1e-5f);

/// 3×3 windows, stride 2, padding 1, as in the ResNet stem.
Tensor max_pool_3x3_stride2(const Tensor& x);
/// Means over window×window positions; positions outside the picture count as zeros.
Tensor average_pool(const Tensor& x, std::int64_t window, std::int64_t stride, std::int64_t padding);
/// [N,H,W,C] → [N,1,1,C].
Tensor global_average_pool(const Tensor& x);

/// Resizes each input bilinearly (half-pixel centres) to [h, w] and concatenates along channels.
Tensor concat_resized(const std::vector<Tensor>& inputs, std::int64_t h, std::int64_t w);
inline Tensor resize_bilinear(const Tensor& x, std::int64_t h, std::int64_t w) {
  return concat_resized({x}, h, w);
}

/// x [rows, in] · weight[out, in]ᵀ + bias [out] → [rows, out].
Tensor linear(const Tensor& x, const ParameterPtr& weight, const ParameterPtr& bias);

/// Teacher and student features, finest level first; equal shapes per level.
struct FeaturePair {
  std::vector<Tensor> teacher, student;
};

/// Σ_levels mean_{n,i,j} (1 − cos) → [1] f32 (arXiv 2211.11317 eq. 3, batch mean).
Tensor cosine_loss(const FeaturePair& features);
/// The distances themselves, 1 − cos, [N,h,w] f32 per level; not recorded.
std::vector<Tensor> cosine_distances(const FeaturePair& features);
/// −(T̂⊙Ŝ) of all levels, upsampled to the finest and concatenated: the segmentation head's input.
Tensor feature_product(const FeaturePair& features);

struct SegmentationLossOptions {
  float gamma = 4.0f, focal_weight = 1.0f, l1_weight = 1.0f;
};
struct SegmentationLoss {
  Tensor total;  ///< [1] f32, differentiable
  Tensor terms;  ///< [3] f32: total, focal, l1, for display
};
/// logits [N,h,w,1], mask [N,h,w] u8 0/1.
SegmentationLoss segmentation_loss(const Tensor& logits, const Tensor& mask,
                                   const SegmentationLossOptions& options = {});

}  // namespace ddpmts
