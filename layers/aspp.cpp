#include "layers/aspp.h"

namespace ddpmts {
namespace {

std::vector<ConvNorm> make_branches(const ParameterScope& scope, std::int64_t channels) {
  constexpr std::int64_t dilations[] = {6, 12, 18};
  std::vector<ConvNorm> branches;
  for (std::size_t i = 0; i < std::size(dilations); ++i) {
    branches.emplace_back(scope.child("branch").child(std::to_string(i)), "conv", "bn", channels, channels, 3,
                          1, dilations[i]);
  }
  return branches;
}

}  // namespace

Aspp::Aspp(const ParameterScope& scope, std::int64_t channels)
    : pool_(scope.child("pool"), "conv", "bn", channels, channels, 1),
      branches_(make_branches(scope, channels)),
      project_(scope.child("project"), "conv", "bn", channels * 4, channels, 3) {}

Tensor Aspp::forward(const Tensor& x, Mode mode) const {
  std::vector<Tensor> parts{pool_.forward(global_average_pool(x), mode, true)};
  for (const ConvNorm& branch : branches_) parts.push_back(branch.forward(x, mode, true));
  return project_.forward(concat_resized(parts, x.dim(1), x.dim(2)), mode, true);
}

}  // namespace ddpmts
