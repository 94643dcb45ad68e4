// The teacher: ImageNet ResNet-18 up to layer3, frozen, BatchNorm folded, every block two fused convolutions
// (arXiv 2211.11317 Sec. 3.2). 2.78 M parameters, 1.83 GMAC at 256×256.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "layers/frozen_conv.h"
#include "models/named_tensors.h"

namespace ddpmts {

/// One of the teacher's convolutions, as torchvision names it, with the BatchNorm that follows.
struct TeacherConv {
  std::string name, norm;
  Shape shape;  ///< KRSC
  std::int64_t stride = 1;
};
/// All fifteen convolutions, in the order of the forward pass.
std::vector<TeacherConv> teacher_convs();

class ResNetTeacher {
 public:
  /// Reads torchvision's names, either with BatchNorms (`bn1.running_var` is there) or folded (`conv1.bias`
  /// is there). Throws Error naming the tensor that is missing or has another shape.
  ResNetTeacher(const NamedTensors& weights, DType type, Device device);

  /// x [N,H,W,3] normalised → layer1 [N,H/4,W/4,64], layer2 [N,H/8,W/8,128], layer3 [N,H/16,W/16,256].
  std::vector<Tensor> features(const Tensor& x) const;

  /// One convolution with its name in torchvision's file, for copying into a student.
  const FrozenConv& conv(const std::string& name) const;
  /// All weights in the folded form, f32, KRSC.
  std::vector<std::pair<std::string, Tensor>> tensors() const;

 private:
  std::vector<std::pair<std::string, FrozenConv>> convs_;
};

}  // namespace ddpmts
