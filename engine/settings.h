// How the engine computes, for the whole program. Set before the first operation, then left alone.
#pragma once

#include <cstdint>

namespace ddpmts {

struct EngineSettings {
  /// f32 convolutions and matrix products on a GPU may round their inputs to tf32 (10 bits of mantissa).
  bool tf32 = false;
  /// The same inputs give the same bits in every run on the same GPU.
  bool deterministic = false;
  /// The fastest few convolution plans are measured at first use and the best is remembered on disk.
  bool autotune = false;
  /// Steps that are done again and again on a GPU are captured as CUDA graphs and replayed (engine/step_graph.h). The
  /// numbers are the same without.
  bool graphs = true;
  /// Plans that want more scratch memory than this are not taken. [bytes]
  std::int64_t workspace_limit = std::int64_t{512} << 20;
};

EngineSettings& engine_settings();

}  // namespace ddpmts
