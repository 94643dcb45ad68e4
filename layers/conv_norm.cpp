#include "layers/conv_norm.h"

#include "layers/initialize.h"

namespace ddpmts {

ConvNorm::ConvNorm(const ParameterScope& scope, const std::string& conv_name, const std::string& norm_name,
                   std::int64_t in, std::int64_t out, std::int64_t kernel, std::int64_t stride,
                   std::int64_t dilation)
    : weight_(scope.child(conv_name).parameter("weight", {out, kernel, kernel, in})),
      options_{stride, dilation * (kernel - 1) / 2, dilation} {
  const ParameterScope norm = scope.child(norm_name);
  norm_.weight = norm.parameter("weight", {out});
  norm_.bias = norm.parameter("bias", {out});
  norm_.running_mean = norm.parameter("running_mean", {out}, false);
  norm_.running_var = norm.parameter("running_var", {out}, false);
  fill(*norm_.weight, 1.0f);
  fill(*norm_.running_var, 1.0f);
}

std::int64_t ConvNorm::version() const {
  // Versions only grow, so their sum changes whenever one does.
  return weight_->version() + norm_.weight->version() + norm_.bias->version() +
         norm_.running_mean->version() + norm_.running_var->version();
}

FrozenConv ConvNorm::fold(DType type) const {
  ConvWithNorm parts;
  parts.shape = weight_->shape();
  parts.weight = weight_->value().to_floats();
  parts.gamma = norm_.weight->value().to_floats();
  parts.beta = norm_.bias->value().to_floats();
  parts.running_mean = norm_.running_mean->value().to_floats();
  parts.running_var = norm_.running_var->value().to_floats();
  return {weight_->name(), parts, options_, type, weight_->value().device()};
}

const FrozenConv& ConvNorm::folded(DType type) const {
  if (!folded_ || folded_->version != version() || folded_->type != type) {
    folded_ = Folded{fold(type), version(), type};
  }
  return folded_->conv;
}

Tensor ConvNorm::forward(const Tensor& x, Mode mode, bool relu, const Tensor& residual) const {
  if (mode == Mode::inference && !grad_enabled()) return folded(x.type()).forward(x, relu, residual);
  const Tensor sum = conv2d(x, weight_, nullptr, options_);
  return batch_norm(sum, norm_, residual, relu,
                    mode == Mode::training ? BatchNormMode::training : BatchNormMode::inference);
}

}  // namespace ddpmts
