// Convolution weights in the forms that kernels read, kept with their parameter until its version changes: a frozen network
// packs once, training once a step. Only engine/cpu includes this.
#pragma once

#include <functional>

#include "engine/cpu/onednn.h"
#include "engine/parameter.h"

namespace ddpmts::cpu {

/// What a weight is packed into: one of oneDNN's layouts, or its values at the points of Winograd's algorithm.
struct PackedForm {
  enum class Kind : std::uint8_t { onednn, winograd_forward, winograd_backward_data };
  Kind kind = Kind::onednn;
  dnnl::memory::desc layout{};  ///< of oneDNN's
  bool operator==(const PackedForm&) const = default;
};

/// The weight in that form, `bytes` long; pack(memory) is called where the copy is missing or older than the weight. Threads
/// may share a weight that does not change meanwhile.
const void* packed_weight(Parameter& weight, const PackedForm& form, std::size_t bytes,
                          const std::function<void(void*)>& pack);

}  // namespace ddpmts::cpu
