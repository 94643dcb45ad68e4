// The segmentation head's input (arXiv 2211.11317 Sec. 3.3): per level −(T/‖T‖ ⊙ S/‖S‖), channels kept, upsampled
// bilinearly (half-pixel centres) to [out_h, out_w], and concatenated over levels.
// Layout: features NHWC, out [N, out_h, out_w, Σ channels], f32 or bf16; products and interpolation in f32.
// Bytes moved: forward reads T and S, writes out; backward reads dout, T and S, writes dS.
// Variants: forward; backward to the student (gathers, never scatters: deterministic). A level whose size is the output's
// is written directly. A zero vector gives zeros; a zero student vector gets gradient 0.
#pragma once

#include "kernels/feature_levels.h"
#include "kernels/launch.h"

namespace ddpmts::kernels {

struct FeatureProductArgs {
  FeatureLevels features;
  std::int64_t out_h = 0, out_w = 0;
  void* out = nullptr;             ///< forward out, features.type
  const void* grad_out = nullptr;  ///< backward in, features.type
  float* workspace = nullptr;      ///< feature_product_workspace() floats
};

/// Floats of workspace that forward and backward need: every level's product at its own size.
constexpr std::int64_t feature_product_workspace(const FeatureLevels& f) {
  std::int64_t floats = 0;
  for (int k = 0; k < f.count; ++k) {
    floats += f.n * f.level[k].h * f.level[k].w * f.level[k].channels;
  }
  return floats;
}

DDPMTS_KERNEL(feature_product_forward, FeatureProductArgs)
DDPMTS_KERNEL(feature_product_backward, FeatureProductArgs)

}  // namespace ddpmts::kernels
