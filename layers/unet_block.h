// The residual block of ADM's UNet (arXiv 2105.05233, after arXiv 2006.11239), with the timestep's embedding added or as
// scale and shift, and with up- or downsampling inside.
#pragma once

#include <optional>

#include "layers/conv.h"

namespace ddpmts {

/// Dropout's share and the random numbers of one forward pass; none in inference.
struct DropoutDraw {
  float probability = 0.0f;
  std::uint64_t seed = 0;
  std::uint64_t step = 0;  ///< below 2^48; differs for every pass
  /// On the network's device: is added to step · 2^16, so that a captured pass draws anew at every replay. null: 0.
  const std::uint64_t* offset = nullptr;
};

/// What every block of one forward pass sees.
struct UNetPass {
  Tensor embedding;  ///< TimeEmbedding::forward, [N, width]
  DropoutDraw dropout;
};

enum class Resample { none, down, up };

struct UNetBlockConfig {
  std::int64_t in = 0, out = 0;
  std::int64_t embedding = 0;  ///< width of the timestep's embedding
  bool scale_shift = false;
  Resample resample = Resample::none;
  std::uint32_t index = 0;  ///< below 2^16, keys the block's dropout
};

class UNetBlock {
 public:
  /// Parameters in_layers.{0, 2}, emb_layers.1, out_layers.{0, 3} and, where channels change, skip_connection.
  UNetBlock(const ParameterScope& scope, const UNetBlockConfig& config);

  /// skip(resample(x)) + conv(dropout(silu(norm(conv(resample(silu(norm(x)))), embedding)))).
  Tensor forward(const Tensor& x, const UNetPass& pass) const;

 private:
  Tensor resampled(const Tensor& x) const;

  UNetBlockConfig config_;
  GroupNorm in_norm_;
  Conv in_conv_;
  Linear embedding_;
  GroupNorm out_norm_;
  Conv out_conv_;
  std::optional<Conv> skip_;
};

}  // namespace ddpmts
