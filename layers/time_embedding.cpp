#include "layers/time_embedding.h"

namespace ddpmts {

TimeEmbedding::TimeEmbedding(const ParameterScope& scope, std::int64_t channels)
    : channels_(channels),
      first_(scope.child("0"), channels, 4 * channels),
      second_(scope.child("2"), 4 * channels, 4 * channels) {}

Tensor TimeEmbedding::forward(const Tensor& timesteps, DType type) const {
  return silu(second_.forward(silu(first_.forward(time_embedding(timesteps, channels_, type)))));
}

}  // namespace ddpmts
