// The teacher: ImageNet ResNet-18 or ResNet-34 (arXiv 1512.03385) up to layer3, frozen, BatchNorm folded, every block two
// fused convolutions (arXiv 2211.11317 Sec. 3.2). ResNet-18: 2.78 M parameters, 1.83 GMAC at 256×256; ResNet-34: 8.17 M,
// 3.95 GMAC. Both give features of the same shapes.
#pragma once

#include <array>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "layers/frozen_conv.h"
#include "models/named_tensors.h"

namespace ddpmts {

enum class TeacherDepth : std::uint8_t { resnet18, resnet34 };
/// "ResNet-18"
const char* name_of(TeacherDepth depth);
/// Blocks of layers 1, 2 and 3.
std::array<int, 3> blocks_of(TeacherDepth depth);

/// One of the teacher's convolutions, as torchvision names it, with the BatchNorm that follows.
struct TeacherConv {
  std::string name, norm;
  Shape shape;  ///< KRSC
  std::int64_t stride = 1;
};
/// All convolutions (15 of a ResNet-18, 29 of a ResNet-34), in the order of the forward pass.
std::vector<TeacherConv> teacher_convs(TeacherDepth depth = TeacherDepth::resnet18);

using NamedTensorList = std::vector<std::pair<std::string, Tensor>>;

/// Adds <name>.weight, OIHW in `weight_type`, and <name>.bias, f32, as a teacher's file has them; on the CPU.
void add_folded(const std::string& name, const FrozenConv& conv, DType weight_type, NamedTensorList& tensors);

class ResNetTeacher {
 public:
  /// Reads torchvision's names, each convolution either with its BatchNorm (`bn1.weight`, …) or folded (`conv1.bias`), and
  /// tells the depth from them. Tensors outside of stem and layers 1 to 3 are not looked at. Throws Error naming the tensor
  /// that is missing, has another shape (expected and found), has no place in such a network, or is not finite once folded.
  ResNetTeacher(const NamedTensors& weights, DType type, Device device);

  TeacherDepth depth() const { return depth_; }

  /// x [N,H,W,3] normalised → layer1 [N,H/4,W/4,64], layer2 [N,H/8,W/8,128], layer3 [N,H/16,W/16,256].
  std::vector<Tensor> features(const Tensor& x) const;

  /// One convolution with its name in torchvision's file, for copying into a student.
  const FrozenConv& conv(const std::string& name) const;
  /// All weights in the folded form, f32, KRSC.
  NamedTensorList tensors() const;
  /// The same by add_folded.
  NamedTensorList folded_tensors(DType weight_type) const;

 private:
  TeacherDepth depth_;
  std::vector<std::pair<std::string, FrozenConv>> convs_;
};

}  // namespace ddpmts
