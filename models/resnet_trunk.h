// ResNet-18 up to layer3 (arXiv 1512.03385) with its BatchNorms, in training: the front of the student's encoder, and what
// becomes a teacher (models/resnet_teacher.h) once it has learned.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "layers/basic_block.h"

namespace ddpmts {

struct ResNetTrunk {
  ConvNorm stem;
  BasicStage layer1, layer2, layer3;

  /// Torchvision's names under `scope`: conv1, bn1, layer1.0.conv1, …
  explicit ResNetTrunk(const ParameterScope& scope);

  /// x [N,H,W,3] normalised → layer1 [N,H/4,W/4,64], layer2 [N,H/8,W/8,128], layer3 [N,H/16,W/16,256].
  std::vector<Tensor> features(const Tensor& x, Mode mode) const;

  /// All fifteen convolutions with their norms, each with the name that teacher_convs() gives it, in that order.
  std::vector<std::pair<std::string, const ConvNorm*>> units() const;

  /// These with their BatchNorms folded in, as a teacher's file has them: weights OIHW in `weight_type`, biases f32; on the CPU.
  /// Throws Error naming the first tensor that is not finite: of a training that has gone astray there is nothing to export.
  std::vector<std::pair<std::string, Tensor>> folded_tensors(DType weight_type) const;
};

}  // namespace ddpmts
