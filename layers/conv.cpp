#include "layers/conv.h"

#include "layers/initialize.h"

namespace ddpmts {

Conv::Conv(const ParameterScope& scope, std::int64_t in, std::int64_t out, std::int64_t kernel,
           std::int64_t stride)
    : weight_(scope.parameter("weight", {out, kernel, kernel, in})),
      bias_(scope.parameter("bias", {out})),
      options_{stride, (kernel - 1) / 2, 1} {}

Linear::Linear(const ParameterScope& scope, std::int64_t in, std::int64_t out)
    : weight_(scope.parameter("weight", {out, in})), bias_(scope.parameter("bias", {out})) {}

GroupNorm::GroupNorm(const ParameterScope& scope, std::int64_t channels)
    : weight_(scope.parameter("weight", {channels})), bias_(scope.parameter("bias", {channels})) {
  if (channels < 1 || channels % kGroups != 0) {
    throw_error<ShapeError>("{}: {} channels do not divide into {} groups", weight_->name(), channels,
                            kGroups);
  }
  fill(*weight_, 1.0f);
}

Tensor GroupNorm::forward(const Tensor& x, GroupNormOptions options) const {
  options.groups = kGroups;
  return group_norm(x, weight_, bias_, options);
}

}  // namespace ddpmts
