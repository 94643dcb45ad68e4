#include "models/resnet_teacher.h"

namespace ddpmts {
namespace {

FrozenConv load_conv(const NamedTensors& weights, const TeacherConv& conv, DType type, Device device) {
  const ConvOptions options{conv.stride, (conv.shape[1] - 1) / 2, 1};
  const Shape per_channel{conv.shape[0]};
  const std::vector<float> weight = weights.read(conv.name + ".weight", conv.shape);
  if (!weights.has(conv.norm + ".running_var")) {
    return {conv.name, conv.shape, weight, weights.read(conv.name + ".bias", per_channel),
            options,   type,       device};
  }
  ConvWithNorm parts;
  parts.shape = conv.shape;
  parts.weight = weight;
  parts.gamma = weights.read(conv.norm + ".weight", per_channel);
  parts.beta = weights.read(conv.norm + ".bias", per_channel);
  parts.running_mean = weights.read(conv.norm + ".running_mean", per_channel);
  parts.running_var = weights.read(conv.norm + ".running_var", per_channel);
  return {conv.name, parts, options, type, device};
}

}  // namespace

std::vector<TeacherConv> teacher_convs() {
  std::vector<TeacherConv> convs{{"conv1", "bn1", {64, 7, 7, 3}, 2}};
  std::int64_t in = 64;
  for (int layer = 1; layer <= 3; ++layer) {
    const std::int64_t out = std::int64_t{32} << layer;
    for (int block = 0; block < 2; ++block) {
      const std::string prefix = fmt::format("layer{}.{}.", layer, block);
      const std::int64_t stride = layer > 1 && block == 0 ? 2 : 1;
      convs.push_back({prefix + "conv1", prefix + "bn1", {out, 3, 3, in}, stride});
      convs.push_back({prefix + "conv2", prefix + "bn2", {out, 3, 3, out}, 1});
      if (stride == 2)
        convs.push_back({prefix + "downsample.0", prefix + "downsample.1", {out, 1, 1, in}, 2});
      in = out;
    }
  }
  return convs;
}

ResNetTeacher::ResNetTeacher(const NamedTensors& weights, DType type, Device device) {
  for (const TeacherConv& conv : teacher_convs()) {
    convs_.emplace_back(conv.name, load_conv(weights, conv, type, device));
  }
}

const FrozenConv& ResNetTeacher::conv(const std::string& name) const {
  for (const auto& [conv_name, conv] : convs_) {
    if (conv_name == name) return conv;
  }
  throw_error("the teacher has no convolution {}", name);
}

std::vector<Tensor> ResNetTeacher::features(const Tensor& x) const {
  const NoGrad frozen;
  std::vector<Tensor> levels;
  Tensor h = max_pool_3x3_stride2(conv("conv1").forward(x, true));
  for (int layer = 1; layer <= 3; ++layer) {
    for (int block = 0; block < 2; ++block) {
      const std::string prefix = fmt::format("layer{}.{}.", layer, block);
      const Tensor hidden = conv(prefix + "conv1").forward(h, true);
      if (layer > 1 && block == 0) h = conv(prefix + "downsample.0").forward(h, false);
      h = conv(prefix + "conv2").forward(hidden, true, std::exchange(h, Tensor()));
    }
    levels.push_back(h);
  }
  return levels;
}

std::vector<std::pair<std::string, Tensor>> ResNetTeacher::tensors() const {
  std::vector<std::pair<std::string, Tensor>> result;
  for (const auto& [name, conv] : convs_) {
    result.emplace_back(name + ".weight", conv.weight().value());
    result.emplace_back(name + ".bias", conv.bias());
  }
  return result;
}

}  // namespace ddpmts
