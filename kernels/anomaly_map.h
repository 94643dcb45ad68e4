// What inspection shows: the distance map, the segmentation map, the memory map and their calibrated combination, at
// picture size.
//   distance     d = Π_k up(D_k), the "DeST map" of arXiv 2211.11317
//   segmentation s = up(σ(z)), as arXiv 2211.11317
//   memory       r = up(R), R the distance to the nearest remembered feature (arXiv 2106.08265)
//   combined     c = Σ over the maps m of scale·m + offset
// up: bilinear, half-pixel centres (PyTorch's align_corners=False).
// Layout: every map [N, h, w] f32; logits [N, h, w] f32 or bf16.
// Bytes moved: 4 written per output pixel and map that is wanted; the small inputs come from the cache.
// Variants: each output optional.
#pragma once

#include "kernels/feature_levels.h"
#include "kernels/launch.h"

namespace ddpmts::kernels {

struct DistanceLevel {
  std::int64_t h = 0, w = 0;
  const float* distance = nullptr;  ///< [N, h, w], ≥ 0: cosine_loss_forward's distances
};

/// How one map enters the combination.
struct MapTerm {
  float scale = 0.0f;  ///< 0: left out, offset and all
  float offset = 0.0f;
};

struct AnomalyMapArgs {
  std::int64_t n = 0, h = 0, w = 0;  ///< of the maps that are written
  int level_count = 0;               ///< ≥ 1 unless distance_map is null and the distance term is left out
  DistanceLevel level[kMaxFeatureLevels];
  DType logits_type = DType::f32;  ///< f32 or bf16
  std::int64_t logits_h = 0, logits_w = 0;
  const void* logits = nullptr;  ///< may be null where segmentation_map is null and its term is left out
  DistanceLevel memory;          ///< R; may be null where memory_map is null and its term is left out
  MapTerm distance_term, segmentation_term, memory_term;
  float* distance_map = nullptr;      ///< [N, H, W] out: d; null: not wanted
  float* segmentation_map = nullptr;  ///< [N, H, W] out: s in [0, 1]; null: not wanted
  float* memory_map = nullptr;        ///< [N, H, W] out: r; null: not wanted
  float* combined_map = nullptr;      ///< [N, H, W] out: c; null: not wanted
};

/// NaN in a distance or a logit gives NaN in the pixels that read it.
DDPMTS_KERNEL(anomaly_map, AnomalyMapArgs)

}  // namespace ddpmts::kernels
