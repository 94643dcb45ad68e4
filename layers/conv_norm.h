// Convolution, BatchNorm and ReLU: the unit that student and segmentation head are made of. It trains unfused
// and inspects fused: in inference mode, outside of recording, the BatchNorm is folded into the convolution
// (once, until a parameter changes).
#pragma once

#include <optional>

#include "layers/frozen_conv.h"
#include "layers/parameter_scope.h"

namespace ddpmts {

enum class Mode { training, inference };

class ConvNorm {
 public:
  /// Parameters `<conv_name>.weight` [out, kernel, kernel, in] and `<norm_name>.{weight, bias, running_mean,
  /// running_var}`. Padding keeps the size at stride 1: dilation·(kernel−1)/2.
  ConvNorm(const ParameterScope& scope, const std::string& conv_name, const std::string& norm_name,
           std::int64_t in, std::int64_t out, std::int64_t kernel, std::int64_t stride = 1,
           std::int64_t dilation = 1);

  /// relu?(norm(conv(x)) + residual). Fused inference writes over a residual that nobody else holds (conv2d_fused).
  Tensor forward(const Tensor& x, Mode mode, bool relu, const Tensor& residual = {}) const;

  /// Convolution and norm, with its running statistics, as one convolution.
  FrozenConv fold(DType type) const;

  const ParameterPtr& weight() const { return weight_; }
  const BatchNormParameters& norm() const { return norm_; }
  const ConvOptions& options() const { return options_; }

 private:
  struct Folded {
    FrozenConv conv;
    std::int64_t version = 0;
    DType type = DType::f32;
  };
  std::int64_t version() const;
  const FrozenConv& folded(DType type) const;

  ParameterPtr weight_;
  BatchNormParameters norm_;
  ConvOptions options_;
  mutable std::optional<Folded> folded_;
};

}  // namespace ddpmts
