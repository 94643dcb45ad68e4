// What inspection shows: the distance map, the segmentation map, the memory map and their calibrated combination, at
// picture size.
//   distance     d = Π_k up(D_k) (the "DeST map" of arXiv 2211.11317) or mean_k up(D_k)
//   segmentation s = up(σ(z)) (as arXiv 2211.11317) or σ(up(z))
//   memory       r = up(R), R the distance to the nearest remembered feature (arXiv 2106.08265)
//   combined     c = Σ over the maps m of weight·(scale·(g(m) − pixel_mean)/pixel_std + offset), g(m) = m or log(m + ε)
// up: bilinear, half-pixel centres (PyTorch's align_corners=False).
// Layout: every map [N, h, w] f32; logits [N, h, w] f32 or bf16.
// Bytes moved: 4 written per output pixel and map that is wanted; the small inputs come from the cache.
// Variants: product or mean; each output optional; per-pixel normalisation optional.
#pragma once

#include "kernels/feature_levels.h"
#include "kernels/launch.h"

namespace ddpmts::kernels {

struct DistanceLevel {
  std::int64_t h = 0, w = 0;
  const float* distance = nullptr;  ///< [N, h, w], ≥ 0: cosine_loss_forward's distances
};

enum class DistanceCombination : std::uint8_t { product, mean };
enum class SegmentationOrder : std::uint8_t { probability_then_upsample, upsample_then_probability };

/// How one map enters the combination.
struct MapTerm {
  float weight = 0.0f;                ///< 0: left out, whatever its other values are
  bool logarithm = false;             ///< g(m) = log(max(m, 0) + log_epsilon) instead of m
  float log_epsilon = 1e-6f;          ///< a normal float > 0
  const float* pixel_mean = nullptr;  ///< [H, W] of g(m) over held-out good pictures; null: 0
  const float* pixel_std = nullptr;   ///< [H, W], > 0; null: 1
  float scale = 1.0f;
  float offset = 0.0f;
};

struct AnomalyMapArgs {
  std::int64_t n = 0, h = 0, w = 0;  ///< of the maps that are written
  int level_count = 0;               ///< ≥ 1 unless distance_map is null and the distance term has weight 0
  DistanceLevel level[kMaxFeatureLevels];
  DistanceCombination combination = DistanceCombination::product;
  DType logits_type = DType::f32;  ///< f32 or bf16
  std::int64_t logits_h = 0, logits_w = 0;
  const void* logits =
      nullptr;  ///< may be null where segmentation_map is null and the segmentation term has weight 0
  SegmentationOrder order = SegmentationOrder::probability_then_upsample;
  DistanceLevel memory;  ///< R; may be null where memory_map is null and the memory term has weight 0
  MapTerm distance_term, segmentation_term, memory_term;
  float* distance_map = nullptr;      ///< [N, H, W] out: d; null: not wanted
  float* segmentation_map = nullptr;  ///< [N, H, W] out: s in [0, 1]; null: not wanted
  float* memory_map = nullptr;        ///< [N, H, W] out: r; null: not wanted
  float* combined_map = nullptr;      ///< [N, H, W] out: c; null: not wanted
};

/// NaN in a distance or a logit gives NaN in the pixels that read it.
DDPMTS_KERNEL(anomaly_map, AnomalyMapArgs)

}  // namespace ddpmts::kernels
