#include "layers/basic_block.h"

namespace ddpmts {

BasicBlock::BasicBlock(const ParameterScope& scope, std::int64_t in, std::int64_t out, std::int64_t stride)
    : first_(scope, "conv1", "bn1", in, out, 3, stride), second_(scope, "conv2", "bn2", out, out, 3) {
  if (stride != 1 || in != out) shortcut_.emplace(scope, "downsample.0", "downsample.1", in, out, 1, stride);
}

Tensor BasicBlock::forward(Tensor x, Mode mode) const {
  const Tensor hidden = first_.forward(x, mode, true);
  const Tensor shortcut = shortcut_ ? shortcut_->forward(x, mode, false) : std::move(x);
  return second_.forward(hidden, mode, true, shortcut);
}

}  // namespace ddpmts
