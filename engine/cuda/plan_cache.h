// The plans of convolutions: found once a shape, kept for the thread, least recently used out first.
#pragma once

#include <optional>

#include "engine/cuda/conv_graph.h"

namespace ddpmts::cuda {

/// How a convolution is computed, best way first.
enum class ConvWay : std::uint8_t {
  fused,    ///< one cuDNN graph does all of it
  unfused,  ///< cuDNN's plain convolution to f32, then our epilogue kernel
  product,  ///< unfold and matrix product (conv_product.h), then our epilogue kernel
};

struct ConvPlan {
  ConvWay way = ConvWay::fused;
  std::optional<ConvGraph> graph;  ///< none for `product`
};

/// The plan for `key` on its device. Where cuDNN has no engine for a graph, the next way is taken, and a line on stderr
/// says so, once for each convolution. With key.autotune, the candidates are timed on `pointers` (what they compute is
/// overwritten by the run that follows) unless the autotuner's file knows the answer.
const ConvPlan& conv_plan(const ConvPlanKey& key, const ConvPointers& pointers);

/// The way that is taken on a described device, decided as conv_plan does but compiling nothing: what `key`'s graph finds
/// engines for. For tests and for looking at a GPU that is not there.
ConvWay way_on(const ConvPlanKey& key, const std::string& described_device);

/// The same convolution without its epilogue, to f32.
ConvPlanKey plain_key(ConvPlanKey key);

}  // namespace ddpmts::cuda
