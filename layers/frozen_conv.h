// A convolution with its BatchNorm folded in, for networks that only look: bias, residual and ReLU in one
// call.
#pragma once

#include "engine/ops.h"

namespace ddpmts {

/// Host copies of a convolution and the BatchNorm after it.
struct ConvWithNorm {
  Shape shape;                                                ///< [K, R, S, C]
  std::vector<float> weight;                                  ///< KRSC
  std::vector<float> gamma, beta, running_mean, running_var;  ///< [K]
  float epsilon = 1e-5f;
};

class FrozenConv {
 public:
  FrozenConv() = default;
  /// weight KRSC f32, bias [K]. bf16 keeps a rounded copy beside the f32 weight.
  FrozenConv(const std::string& name, const Shape& shape, std::span<const float> weight,
             std::span<const float> bias, const ConvOptions& options, DType type, Device device);
  /// Folds: w' = w·γ/√(σ²+ε), b' = β − μ·γ/√(σ²+ε).
  FrozenConv(const std::string& name, const ConvWithNorm& parts, const ConvOptions& options, DType type,
             Device device);

  /// relu?(conv(x) + bias + residual), as conv2d_fused.
  Tensor forward(const Tensor& x, bool relu, const Tensor& residual = {}) const {
    return conv2d_fused(x, *weight_, bias_, options_, residual, relu);
  }
  const Parameter& weight() const { return *weight_; }
  const Tensor& bias() const { return bias_; }

 private:
  ParameterPtr weight_;
  Tensor bias_;
  ConvOptions options_;
};

}  // namespace ddpmts
