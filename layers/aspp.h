// Atrous spatial pyramid pooling (DeepLab v3, arXiv 1706.05587) as in arXiv 2211.11317's segmentation head: a
// global average pool and three dilated 3×3 convolutions side by side, then a 3×3 projection.
#pragma once

#include "layers/conv_norm.h"

namespace ddpmts {

class Aspp {
 public:
  /// Parameters pool.{conv, bn}, branch.{0,1,2}.{conv, bn} with dilations 6, 12, 18, and project.{conv, bn}.
  Aspp(const ParameterScope& scope, std::int64_t channels);
  /// [N,H,W,channels] → the same shape.
  Tensor forward(const Tensor& x, Mode mode) const;

 private:
  ConvNorm pool_;
  std::vector<ConvNorm> branches_;
  ConvNorm project_;
};

}  // namespace ddpmts
