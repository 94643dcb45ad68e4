// The plain layers with a bias: convolution, linear, GroupNorm. What a UNet is made of (layers/unet_block.h).
#pragma once

#include "engine/diffusion_ops.h"
#include "layers/parameter_scope.h"

namespace ddpmts {

class Conv {
 public:
  /// Parameters weight [out, kernel, kernel, in] and bias [out] under `scope`; padding keeps the size at stride 1.
  Conv(const ParameterScope& scope, std::int64_t in, std::int64_t out, std::int64_t kernel,
       std::int64_t stride = 1);

  /// conv(x) + bias + residual, as conv2d.
  Tensor forward(const Tensor& x, const Tensor& residual = {}) const {
    return conv2d(x, weight_, bias_, options_, residual);
  }
  /// The same with the residual's memory for the result, as conv2d_onto.
  Tensor forward_onto(const Tensor& residual, const Tensor& x) const {
    return conv2d_onto(residual, x, weight_, bias_, options_);
  }

 private:
  ParameterPtr weight_, bias_;
  ConvOptions options_;
};

class Linear {
 public:
  /// Parameters weight [out, in] and bias [out] under `scope`.
  Linear(const ParameterScope& scope, std::int64_t in, std::int64_t out);
  /// [rows, in] → [rows, out].
  Tensor forward(const Tensor& x) const { return linear(x, weight_, bias_); }

 private:
  ParameterPtr weight_, bias_;
};

class GroupNorm {
 public:
  static constexpr std::int64_t kGroups = 32;

  /// Parameters weight and bias [channels] under `scope`, 1 and 0. Throws ShapeError unless 32 divides channels.
  GroupNorm(const ParameterScope& scope, std::int64_t channels);
  /// As group_norm; options.groups is this layer's.
  Tensor forward(const Tensor& x, GroupNormOptions options) const;

 private:
  ParameterPtr weight_, bias_;
};

}  // namespace ddpmts
