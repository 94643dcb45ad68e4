// Dropout (Srivastava et al., JMLR 2014): y = x/(1 − p) where a random number is at least p, else 0. The same numbers give
// the mask again, so that the backward pass is the same pass on dy and nothing is kept for it.
// Layout: flat arrays, f32 or bf16.
// Bytes moved: one read, one write.
// Variants: none.
#pragma once

#include "kernels/launch.h"

namespace ddpmts::kernels {

struct DropoutArgs {
  DType type = DType::f32;
  std::int64_t count = 0;
  float probability = 0.0f;  ///< of a zero, in [0, 1)
  /// Element e draws word e mod 4 of block e/4 of Philox(seed, RandomStream::dropout, step); it is kept when
  /// uniform01(word) ≥ probability.
  std::uint64_t seed = 0, step = 0;
  const void* x = nullptr;
  void* y = nullptr;  ///< may be x
  /// [1], in memory of the launcher's device: is added to step, so that a captured launch draws anew at every replay. null:
  /// nothing is added.
  const std::uint64_t* step_offset = nullptr;
};

/// The same arguments give the same bits on every instruction set.
DDPMTS_KERNEL(dropout, DropoutArgs)

}  // namespace ddpmts::kernels
