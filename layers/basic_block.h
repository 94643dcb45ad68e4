// The residual block of ResNet-18 (He et al., arXiv 1512.03385): two 3×3 ConvNorms and a shortcut.
#pragma once

#include <optional>

#include "layers/conv_norm.h"

namespace ddpmts {

class BasicBlock {
 public:
  /// Parameters conv1, bn1, conv2, bn2 and, when the shape changes, the 1×1 shortcut downsample.0 and
  /// downsample.1.
  BasicBlock(const ParameterScope& scope, std::int64_t in, std::int64_t out, std::int64_t stride = 1);

  /// relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut(x)). Hand x over (std::move) where it is not needed
  /// again: fused inference then writes the result over it.
  Tensor forward(Tensor x, Mode mode) const;

  const ConvNorm& first() const { return first_; }
  const ConvNorm& second() const { return second_; }
  const std::optional<ConvNorm>& shortcut() const { return shortcut_; }

 private:
  ConvNorm first_, second_;
  std::optional<ConvNorm> shortcut_;
};

/// Two blocks named "0" and "1" under `scope`; the first changes channels and stride.
struct BasicStage {
  BasicBlock first, second;

  BasicStage(const ParameterScope& scope, std::int64_t in, std::int64_t out, std::int64_t stride = 1)
      : first(scope.child("0"), in, out, stride), second(scope.child("1"), out, out) {}
  Tensor forward(Tensor x, Mode mode) const {
    return second.forward(first.forward(std::move(x), mode), mode);
  }
};

}  // namespace ddpmts
