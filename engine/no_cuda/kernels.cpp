// The CUDA launchers of a build without CUDA. No device pointer can exist here, so reaching one is a
// programming error.
#include "engine/error.h"
#include "kernels/anomaly_map.h"
#include "kernels/batch_norm.h"
#include "kernels/contrastive_loss.h"
#include "kernels/cosine_loss.h"
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

#define DDPMTS_ABSENT(name, Args)                                               \
  void name(const Args&, Stream) {                                              \
    throw_error<DeviceError>("{}: this program was built without CUDA", #name); \
  }

namespace ddpmts::kernels::cuda {

DDPMTS_ABSENT(add, AddArgs)
DDPMTS_ABSENT(anomaly_map, AnomalyMapArgs)
DDPMTS_ABSENT(batch_norm_backward, BatchNormBackwardArgs)
DDPMTS_ABSENT(batch_norm_forward, BatchNormForwardArgs)
DDPMTS_ABSENT(cast, CastArgs)
DDPMTS_ABSENT(contrastive_loss_backward, ContrastiveLossArgs)
DDPMTS_ABSENT(contrastive_loss_forward, ContrastiveLossArgs)
DDPMTS_ABSENT(cosine_loss_backward, CosineLossArgs)
DDPMTS_ABSENT(cosine_loss_forward, CosineLossArgs)
DDPMTS_ABSENT(farthest_point, FarthestPointArgs)
DDPMTS_ABSENT(feature_product_backward, FeatureProductArgs)
DDPMTS_ABSENT(feature_product_forward, FeatureProductArgs)
DDPMTS_ABSENT(forward_diffusion, ForwardDiffusionArgs)
DDPMTS_ABSENT(gather_2x, Resample2xArgs)
DDPMTS_ABSENT(gaussian_blur, GaussianBlurArgs)
DDPMTS_ABSENT(gradient_norm, GradientNormArgs)
DDPMTS_ABSENT(group_norm_backward, GroupNormBackwardArgs)
DDPMTS_ABSENT(group_norm_forward, GroupNormForwardArgs)
DDPMTS_ABSENT(mask_downsample, MaskDownsampleArgs)
DDPMTS_ABSENT(nearest_update, NearestUpdateArgs)
DDPMTS_ABSENT(noise_loss_backward, NoiseLossArgs)
DDPMTS_ABSENT(noise_loss_forward, NoiseLossArgs)
DDPMTS_ABSENT(normalize_pictures, NormalizeArgs)
DDPMTS_ABSENT(normalize_rows_backward, NormalizeRowsArgs)
DDPMTS_ABSENT(normalize_rows_forward, NormalizeRowsArgs)
DDPMTS_ABSENT(optimizer_step, OptimizerStepArgs)
DDPMTS_ABSENT(perlin_mask, PerlinMaskArgs)
DDPMTS_ABSENT(resize_bilinear_backward, ResizeBilinearArgs)
DDPMTS_ABSENT(resize_bilinear_forward, ResizeBilinearArgs)
DDPMTS_ABSENT(reverse_step, ReverseStepArgs)
DDPMTS_ABSENT(scene_views, SceneViewsArgs)
DDPMTS_ABSENT(segmentation_loss_backward, SegmentationLossArgs)
DDPMTS_ABSENT(segmentation_loss_forward, SegmentationLossArgs)
DDPMTS_ABSENT(silu_backward, SiluArgs)
DDPMTS_ABSENT(silu_forward, SiluArgs)
DDPMTS_ABSENT(softmax_backward, SoftmaxArgs)
DDPMTS_ABSENT(softmax_forward, SoftmaxArgs)
DDPMTS_ABSENT(spread_2x, Resample2xArgs)
DDPMTS_ABSENT(squared_norms, SquaredNormsArgs)
DDPMTS_ABSENT(time_embedding, TimeEmbeddingArgs)
DDPMTS_ABSENT(top_k_mean, TopKMeanArgs)
DDPMTS_ABSENT(triplet, TripletArgs)

}  // namespace ddpmts::kernels::cuda
