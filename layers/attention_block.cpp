#include "layers/attention_block.h"

namespace ddpmts {

AttentionBlock::AttentionBlock(const ParameterScope& scope, std::int64_t channels, std::int64_t heads)
    : heads_(heads),
      norm_(scope.child("norm"), channels),
      qkv_(scope.child("qkv"), channels, 3 * channels, 1),
      projection_(scope.child("proj_out"), channels, channels, 1) {
  if (heads < 1 || channels % heads != 0) {
    throw_error<ShapeError>("attention: {} channels do not divide into {} heads", channels, heads);
  }
}

Tensor AttentionBlock::forward(const Tensor& x) const {
  return projection_.forward(attention(qkv_.forward(norm_.forward(x, {})), heads_), x);
}

}  // namespace ddpmts
