#include "models/resnet_trunk.h"

#include "models/named_tensors.h"

namespace ddpmts {
namespace {

using NamedTensorList = std::vector<std::pair<std::string, Tensor>>;

void add_folded(const std::string& name, const ConvNorm& unit, DType weight_type, NamedTensorList& tensors) {
  const FrozenConv conv = unit.fold(DType::f32);
  const Shape& krsc = conv.weight().shape();
  const std::vector<float> oihw = krsc_to_oihw(conv.weight().value().to_floats(), krsc);
  const Tensor weight = Tensor::from_host<float>({krsc[0], krsc[3], krsc[1], krsc[2]}, oihw);
  tensors.emplace_back(name + ".weight", weight.cast(weight_type));
  tensors.emplace_back(name + ".bias", conv.bias().to(Device{}));
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

NamedTensorList ResNetTrunk::folded_tensors(DType weight_type) const {
  NamedTensorList tensors;
  add_folded("conv1", stem, weight_type, tensors);
  int layer = 0;
  for (const BasicStage* stage : {&layer1, &layer2, &layer3}) {
    ++layer;
    int number = 0;
    for (const BasicBlock* block : {&stage->first, &stage->second}) {
      const std::string prefix = fmt::format("layer{}.{}.", layer, number++);
      add_folded(prefix + "conv1", block->first(), weight_type, tensors);
      add_folded(prefix + "conv2", block->second(), weight_type, tensors);
      if (block->shortcut()) add_folded(prefix + "downsample.0", *block->shortcut(), weight_type, tensors);
    }
  }
  return tensors;
}

}  // namespace ddpmts
