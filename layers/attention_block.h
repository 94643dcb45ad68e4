// Self-attention among a map's pixels, as a residual block (arXiv 2105.05233).
#pragma once

#include "layers/conv.h"

namespace ddpmts {

class AttentionBlock {
 public:
  /// Parameters norm, qkv and proj_out; `heads` divides channels. qkv's outputs are [q | k | v], each head after head.
  AttentionBlock(const ParameterScope& scope, std::int64_t channels, std::int64_t heads);

  /// x + proj_out(attention(qkv(norm(x)))).
  Tensor forward(const Tensor& x) const;

 private:
  std::int64_t heads_;
  GroupNorm norm_;
  Conv qkv_, projection_;
};

}  // namespace ddpmts
