#include "layers/frozen_conv.h"

#include <cmath>

namespace ddpmts {

FrozenConv::FrozenConv(const std::string& name, const Shape& shape, std::span<const float> weight,
                       std::span<const float> bias, const ConvOptions& options, DType type, Device device)
    : weight_(std::make_shared<Parameter>(name, shape, false, device)),
      bias_(Tensor::from_host<float>({shape[0]}, bias, device)),
      options_(options) {
  weight_->value().copy_from(Tensor::from_host<float>(shape, weight));
  weight_->changed();
  if (type == DType::bf16) weight_->keep_low_precision();
}

FrozenConv::FrozenConv(const std::string& name, const ConvWithNorm& parts, const ConvOptions& options,
                       DType type, Device device) {
  const std::size_t outputs = static_cast<std::size_t>(parts.shape[0]);
  const std::size_t per_output = parts.weight.size() / outputs;
  std::vector<float> weight(parts.weight.size());
  std::vector<float> bias(outputs);
  for (std::size_t k = 0; k < outputs; ++k) {
    const double scale = static_cast<double>(parts.gamma[k]) /
                         std::sqrt(static_cast<double>(parts.running_var[k] + parts.epsilon));
    bias[k] = static_cast<float>(parts.beta[k] - parts.running_mean[k] * scale);
    for (std::size_t i = k * per_output; i < (k + 1) * per_output; ++i) {
      weight[i] = static_cast<float>(parts.weight[i] * scale);
    }
  }
  *this = FrozenConv(name, parts.shape, weight, bias, options, type, device);
}

}  // namespace ddpmts
