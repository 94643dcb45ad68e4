#include "models/resnet_teacher.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "engine/files/file_error.h"

namespace ddpmts {
namespace {

std::string block_prefix(int layer, int block) { return fmt::format("layer{}.{}.", layer, block); }

/// What a BatchNorm keeps, besides its count of batches.
constexpr const char* kNormTensors[] = {".weight", ".bias", ".running_mean", ".running_var"};

bool has_norm(const NamedTensors& weights, const TeacherConv& conv) {
  return std::ranges::any_of(kNormTensors, [&](const char* part) { return weights.has(conv.norm + part); });
}

FrozenConv load_conv(const NamedTensors& weights, const TeacherConv& conv, DType type, Device device) {
  const ConvOptions options{conv.stride, (conv.shape[1] - 1) / 2, 1};
  const Shape per_channel{conv.shape[0]};
  const std::vector<float> weight = weights.read(conv.name + ".weight", conv.shape);
  if (!has_norm(weights, conv)) {
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

/// A deeper network than ResNet-18 has a third block in its first layer; what else it must have is checked afterwards.
TeacherDepth depth_of(const NamedTensors& weights) {
  return weights.has(block_prefix(1, blocks_of(TeacherDepth::resnet18)[0]) + "conv1.weight")
             ? TeacherDepth::resnet34
             : TeacherDepth::resnet18;
}

/// What stem and layers 1 to 3 hold beyond the network: more blocks, a third convolution in a block, attention, …
void refuse_others(const NamedTensors& weights, TeacherDepth depth) {
  std::set<std::string> expected;
  for (const TeacherConv& conv : teacher_convs(depth)) {
    expected.insert(conv.name + ".weight");
    if (!has_norm(weights, conv)) {
      expected.insert(conv.name + ".bias");
      continue;
    }
    for (const char* part : kNormTensors) expected.insert(conv.norm + part);
    expected.insert(conv.norm + ".num_batches_tracked");
  }
  for (const auto& [name, shape] : weights.shapes()) {
    const bool ours = std::ranges::any_of(std::array{"conv1.", "bn1.", "layer1.", "layer2.", "layer3."},
                                          [&](const char* part) { return name.starts_with(part); });
    if (!ours || expected.contains(name)) continue;
    throw FileError(
        fmt::format("cannot use {}: tensor {} of the shape {} has no place in a {}, whose layers 1 to 3 have "
                    "{} blocks of "
                    "two convolutions; a ResNet-18 or a ResNet-34 with torchvision's names is needed",
                    in_quotes(weights.path()), in_quotes(name), shape_text(shape), name_of(depth),
                    fmt::join(blocks_of(depth), ", ")),
        weights.path());
  }
}

void require_finite(const FrozenConv& conv, const std::string& name, const NamedTensors& weights) {
  const auto finite = [](const Tensor& tensor) {
    return std::ranges::all_of(tensor.to_floats(), [](float x) { return std::isfinite(x); });
  };
  if (finite(conv.weight().value()) && finite(conv.bias())) return;
  throw FileError(fmt::format("cannot use {}: convolution {} with its BatchNorm holds values that are not "
                              "finite numbers; copy or "
                              "download it again",
                              in_quotes(weights.path()), in_quotes(name)),
                  weights.path());
}

}  // namespace

const char* name_of(TeacherDepth depth) {
  return depth == TeacherDepth::resnet34 ? "ResNet-34" : "ResNet-18";
}

std::array<int, 3> blocks_of(TeacherDepth depth) {
  return depth == TeacherDepth::resnet34 ? std::array{3, 4, 6} : std::array{2, 2, 2};
}

std::vector<TeacherConv> teacher_convs(TeacherDepth depth) {
  std::vector<TeacherConv> convs{{"conv1", "bn1", {64, 7, 7, 3}, 2}};
  std::int64_t in = 64;
  for (int layer = 1; layer <= 3; ++layer) {
    const std::int64_t out = std::int64_t{32} << layer;
    for (int block = 0; block < blocks_of(depth)[static_cast<std::size_t>(layer - 1)]; ++block) {
      const std::string prefix = block_prefix(layer, block);
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

ResNetTeacher::ResNetTeacher(const NamedTensors& weights, DType type, Device device)
    : depth_(depth_of(weights)) {
  for (const TeacherConv& conv : teacher_convs(depth_)) {
    convs_.emplace_back(conv.name, load_conv(weights, conv, type, device));
    require_finite(convs_.back().second, conv.name, weights);
  }
  refuse_others(weights, depth_);
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
    for (int block = 0; block < blocks_of(depth_)[static_cast<std::size_t>(layer - 1)]; ++block) {
      const std::string prefix = block_prefix(layer, block);
      const Tensor hidden = conv(prefix + "conv1").forward(h, true);
      if (layer > 1 && block == 0) h = conv(prefix + "downsample.0").forward(h, false);
      h = conv(prefix + "conv2").forward(hidden, true, std::exchange(h, Tensor()));
    }
    levels.push_back(h);
  }
  return levels;
}

void add_folded(const std::string& name, const FrozenConv& conv, DType weight_type,
                NamedTensorList& tensors) {
  const Shape& krsc = conv.weight().shape();
  const std::vector<float> oihw = krsc_to_oihw(conv.weight().value().to_floats(), krsc);
  const Tensor weight = Tensor::from_host<float>({krsc[0], krsc[3], krsc[1], krsc[2]}, oihw);
  tensors.emplace_back(name + ".weight", weight.cast(weight_type));
  tensors.emplace_back(name + ".bias", conv.bias().to(Device{}));
}

NamedTensorList ResNetTeacher::tensors() const {
  NamedTensorList result;
  for (const auto& [name, conv] : convs_) {
    result.emplace_back(name + ".weight", conv.weight().value());
    result.emplace_back(name + ".bias", conv.bias());
  }
  return result;
}

NamedTensorList ResNetTeacher::folded_tensors(DType weight_type) const {
  NamedTensorList result;
  for (const auto& [name, conv] : convs_) add_folded(name, conv, weight_type, result);
  return result;
}

}  // namespace ddpmts
