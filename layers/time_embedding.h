// How a UNet is told its timestep (arXiv 2006.11239 App. B, arXiv 2105.05233): sinusoids through a two-layer network.
#pragma once

#include "layers/conv.h"

namespace ddpmts {

class TimeEmbedding {
 public:
  /// Parameters "0" and "2" under `scope`, linear layers channels → 4·channels → 4·channels.
  TimeEmbedding(const ParameterScope& scope, std::int64_t channels);

  /// timesteps [N] i32 → silu(embedding) [N, 4·channels] of `type`. Every block's projection starts with that SiLU, so it
  /// is done once, here.
  Tensor forward(const Tensor& timesteps, DType type) const;

 private:
  std::int64_t channels_;
  Linear first_, second_;
};

}  // namespace ddpmts
