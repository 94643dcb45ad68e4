#include "models/resnet_trunk.h"

#include <algorithm>
#include <cmath>

#include "models/resnet_teacher.h"

namespace ddpmts {
namespace {

void require_finite(const std::string& name, const Tensor& tensor) {
  const std::vector<float> values = tensor.to_floats();
  if (std::ranges::all_of(values, [](float value) { return std::isfinite(value); })) return;
  throw_error(
      "the teacher's {} is not finite: the training has gone astray; start over with a lower learning rate "
      "or in f32",
      name);
}

}  // namespace

ResNetTrunk::ResNetTrunk(const ParameterScope& scope)
    : stem(scope, "conv1", "bn1", 3, 64, 7, 2),
      layer1(scope.child("layer1"), 64, 64),
      layer2(scope.child("layer2"), 64, 128, 2),
      layer3(scope.child("layer3"), 128, 256, 2) {}

std::vector<Tensor> ResNetTrunk::features(const Tensor& x, Mode mode) const {
  std::vector<Tensor> levels;
  Tensor h = max_pool_3x3_stride2(stem.forward(x, mode, true));
  for (const BasicStage* stage : {&layer1, &layer2, &layer3}) {
    h = stage->forward(std::move(h), mode);
    levels.push_back(h);
  }
  return levels;
}

std::vector<std::pair<std::string, const ConvNorm*>> ResNetTrunk::units() const {
  std::vector<const ConvNorm*> in_order{&stem};
  for (const BasicStage* stage : {&layer1, &layer2, &layer3}) {
    for (const BasicBlock* block : {&stage->first, &stage->second}) {
      in_order.insert(in_order.end(), {&block->first(), &block->second()});
      if (block->shortcut()) in_order.push_back(&*block->shortcut());
    }
  }
  std::vector<std::pair<std::string, const ConvNorm*>> named;
  for (const TeacherConv& conv : teacher_convs()) named.emplace_back(conv.name, in_order.at(named.size()));
  return named;
}

NamedTensorList ResNetTrunk::folded_tensors(DType weight_type) const {
  NamedTensorList tensors;
  for (const auto& [name, unit] : units()) add_folded(name, unit->fold(DType::f32), weight_type, tensors);
  for (const auto& [name, tensor] : tensors) require_finite(name, tensor);
  return tensors;
}

}  // namespace ddpmts
