// The teacher's and the student's feature maps at up to four levels, as the kernels that compare them take them.
#pragma once

#include "kernels/types.h"

namespace ddpmts::kernels {

constexpr int kMaxFeatureLevels = 4;
/// Added to a vector's L2 norm before the division (DeSTSeg's code).
constexpr float kNormEpsilon = 1e-12f;

struct FeatureLevel {
  std::int64_t h = 0, w = 0, channels = 0;
  const void* teacher = nullptr;  ///< [N, h, w, channels], f32 or bf16
  const void* student = nullptr;  ///< [N, h, w, channels], same type
  float* distance = nullptr;      ///< [N, h, w] out: 1 − cos(teacher, student), in [0, 2]; null: not wanted
  void* student_grad = nullptr;   ///< [N, h, w, channels], backward out, overwritten, same type
};

struct FeatureLevels {
  DType type = DType::f32;
  std::int64_t n = 0;
  int count = 0;
  FeatureLevel level[kMaxFeatureLevels];
};

}  // namespace ddpmts::kernels
