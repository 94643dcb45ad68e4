// The student (arXiv 2211.11317 Sec. 3.2, arXiv 2604.19240 Sec. 3.2): a whole ResNet-18 as encoder and a
// ResNet-18 turned around as decoder, without skip connections between them, so that what the bottleneck has
// not learned from good parts cannot be reproduced. 24.67 M parameters, 5.34 GMAC at 256×256.
#pragma once

#include <vector>

#include "models/resnet_teacher.h"
#include "models/resnet_trunk.h"

namespace ddpmts {

class Student {
 public:
  Student(const ParameterScope& scope);

  /// x [N,H,W,3] normalised, H and W multiples of 32 → features of the teacher's shapes, finest first.
  std::vector<Tensor> features(const Tensor& x, Mode mode) const;

  /// Starts the encoder's stem and layers 1–3 where the teacher is: convolution weights are the teacher's,
  /// and each BatchNorm is set from `pictures` [N,H,W,3] (normalised good parts) so that it reproduces the
  /// teacher on them. Throws Error when the teacher is no ResNet-18, as the encoder is.
  void start_from_teacher(const ResNetTeacher& teacher, const Tensor& pictures);

 private:
  ResNetTrunk trunk_;
  BasicStage layer4_;
  BasicStage up4_, up3_, up2_, up1_;
};

}  // namespace ddpmts
