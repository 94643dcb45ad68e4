#include "models/student.h"

#include <cmath>
#include <map>

namespace ddpmts {

Student::Student(const ParameterScope& scope)
    : trunk_(scope.child("encoder")),
      layer4_(scope.child("encoder").child("layer4"), 256, 512, 2),
      up4_(scope.child("decoder").child("layer4"), 512, 512),
      up3_(scope.child("decoder").child("layer3"), 512, 256),
      up2_(scope.child("decoder").child("layer2"), 256, 128),
      up1_(scope.child("decoder").child("layer1"), 128, 64) {}

std::vector<Tensor> Student::features(const Tensor& x, Mode mode) const {
  if (x.dim(1) % 32 != 0 || x.dim(2) % 32 != 0) {
    throw_error<ShapeError>("student: picture sides must be multiples of 32, not {} x {}", x.dim(1),
                            x.dim(2));
  }
  Tensor h = max_pool_3x3_stride2(trunk_.stem.forward(x, mode, true));
  for (const BasicStage* stage : {&trunk_.layer1, &trunk_.layer2, &trunk_.layer3, &layer4_})
    h = stage->forward(std::move(h), mode);
  h = up4_.forward(std::move(h), mode);
  std::vector<Tensor> levels;  // coarsest first
  for (const BasicStage* stage : {&up3_, &up2_, &up1_}) {
    h = stage->forward(resize_bilinear(h, h.dim(1) * 2, h.dim(2) * 2), mode);
    levels.push_back(h);
  }
  return {levels[2], levels[1], levels[0]};
}

namespace {

// Sets one ConvNorm from the teacher's folded convolution so that, on x, norm(conv(x)) = conv(x) + bias
// exactly. Returns relu?(conv(x) + bias + residual).
Tensor match_teacher(const ConvNorm& unit, const FrozenConv& teacher, const Tensor& x, bool relu,
                     const Tensor& residual = {}) {
  unit.weight()->value().copy_from(teacher.weight().value());
  unit.weight()->changed();
  const std::vector<float> sums = conv2d(x, unit.weight(), nullptr, unit.options()).to_floats();
  const std::vector<float> bias = teacher.bias().to_floats();
  const std::size_t channels = bias.size();
  const double rows = static_cast<double>(sums.size() / channels);
  std::vector<double> mean(channels), square(channels);
  for (std::size_t i = 0; i < sums.size(); ++i) mean[i % channels] += sums[i] / rows;
  for (std::size_t i = 0; i < sums.size(); ++i) {
    const double d = sums[i] - mean[i % channels];
    square[i % channels] += d * d / rows;
  }
  std::vector<float> gamma(channels), beta(channels), running_mean(channels), running_var(channels);
  for (std::size_t c = 0; c < channels; ++c) {
    gamma[c] = static_cast<float>(std::sqrt(square[c] + 1e-5));
    beta[c] = static_cast<float>(mean[c] + bias[c]);
    running_mean[c] = static_cast<float>(mean[c]);
    running_var[c] = static_cast<float>(square[c]);
  }
  const auto set = [](const ParameterPtr& parameter, const std::vector<float>& values) {
    parameter->value().copy_from(Tensor::from_host<float>(parameter->shape(), values));
    parameter->changed();
  };
  set(unit.norm().weight, gamma);
  set(unit.norm().bias, beta);
  set(unit.norm().running_mean, running_mean);
  set(unit.norm().running_var, running_var);
  return unit.forward(x, Mode::inference, relu, residual);
}

}  // namespace

void Student::start_from_teacher(const ResNetTeacher& teacher, const Tensor& pictures) {
  if (teacher.depth() != TeacherDepth::resnet18) {
    throw_error("a student is a ResNet-18 and cannot start from a {}", name_of(teacher.depth()));
  }
  const NoGrad looking;
  std::map<const ConvNorm*, const FrozenConv*> twins;
  for (const auto& [name, unit] : trunk_.units()) twins[unit] = &teacher.conv(name);
  const auto match = [&](const ConvNorm& unit, const Tensor& x, bool relu, const Tensor& residual = {}) {
    return match_teacher(unit, *twins.at(&unit), x, relu, residual);
  };
  Tensor h = max_pool_3x3_stride2(match(trunk_.stem, pictures, true));
  for (const BasicStage* stage : {&trunk_.layer1, &trunk_.layer2, &trunk_.layer3}) {
    for (const BasicBlock* block : {&stage->first, &stage->second}) {
      const Tensor hidden = match(block->first(), h, true);
      const Tensor shortcut = block->shortcut() ? match(*block->shortcut(), h, false) : h;
      h = match(block->second(), hidden, true, shortcut);
    }
  }
}

}  // namespace ddpmts
