// Every kernel of kernels/, by name and argument struct, for what stands in for the CUDA launchers.
#pragma once

#include "kernels/anomaly_map.h"
#include "kernels/batch_norm.h"
#include "kernels/contrastive_loss.h"
#include "kernels/cosine_loss.h"
#include "kernels/dropout.h"
#include "kernels/elementwise.h"
#include "kernels/feature_product.h"
#include "kernels/forward_diffusion.h"
#include "kernels/gaussian_blur.h"
#include "kernels/group_norm.h"
#include "kernels/mask_downsample.h"
#include "kernels/nearest_neighbour.h"
#include "kernels/noise_loss.h"
#include "kernels/normalize_rows.h"
#include "kernels/optimizer_step.h"
#include "kernels/perlin_mask.h"
#include "kernels/resample_2x.h"
#include "kernels/resize_bilinear.h"
#include "kernels/reverse_step.h"
#include "kernels/scene_views.h"
#include "kernels/segmentation_loss.h"
#include "kernels/softmax.h"
#include "kernels/time_embedding.h"
#include "kernels/top_k_mean.h"
#include "kernels/triplet.h"

#define DDPMTS_EVERY_KERNEL(X)                        \
  X(add, AddArgs)                                     \
  X(anomaly_map, AnomalyMapArgs)                      \
  X(batch_norm_backward, BatchNormBackwardArgs)       \
  X(batch_norm_forward, BatchNormForwardArgs)         \
  X(cast, CastArgs)                                   \
  X(contrastive_loss_backward, ContrastiveLossArgs)   \
  X(contrastive_loss_forward, ContrastiveLossArgs)    \
  X(cosine_loss_backward, CosineLossArgs)             \
  X(cosine_loss_forward, CosineLossArgs)              \
  X(dropout, DropoutArgs)                             \
  X(farthest_point, FarthestPointArgs)                \
  X(feature_product_backward, FeatureProductArgs)     \
  X(feature_product_forward, FeatureProductArgs)      \
  X(fill_values, FillValuesArgs)                      \
  X(forward_diffusion, ForwardDiffusionArgs)          \
  X(gather_2x, Resample2xArgs)                        \
  X(gaussian_blur, GaussianBlurArgs)                  \
  X(gradient_norm, GradientNormArgs)                  \
  X(group_norm_backward, GroupNormBackwardArgs)       \
  X(group_norm_forward, GroupNormForwardArgs)         \
  X(mask_downsample, MaskDownsampleArgs)              \
  X(nearest_update, NearestUpdateArgs)                \
  X(noise_loss_backward, NoiseLossArgs)               \
  X(noise_loss_forward, NoiseLossArgs)                \
  X(normalize_pictures, NormalizeArgs)                \
  X(normalize_rows_backward, NormalizeRowsArgs)       \
  X(normalize_rows_forward, NormalizeRowsArgs)        \
  X(optimizer_step, OptimizerStepArgs)                \
  X(perlin_mask, PerlinMaskArgs)                      \
  X(resize_bilinear_backward, ResizeBilinearArgs)     \
  X(resize_bilinear_forward, ResizeBilinearArgs)      \
  X(reverse_step, ReverseStepArgs)                    \
  X(scene_views, SceneViewsArgs)                      \
  X(segmentation_loss_backward, SegmentationLossArgs) \
  X(segmentation_loss_forward, SegmentationLossArgs)  \
  X(silu_backward, SiluArgs)                          \
  X(silu_forward, SiluArgs)                           \
  X(softmax_backward, SoftmaxArgs)                    \
  X(softmax_forward, SoftmaxArgs)                     \
  X(spread_2x, Resample2xArgs)                        \
  X(squared_norms, SquaredNormsArgs)                  \
  X(time_embedding, TimeEmbeddingArgs)                \
  X(top_k_mean, TopKMeanArgs)                         \
  X(triplet, TripletArgs)
