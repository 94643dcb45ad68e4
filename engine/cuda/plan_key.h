// What names a convolution plan: a plain struct, compared and hashed member by member, and its text, which is both
// the line in messages and the key in the autotuner's file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "engine/primitives.h"

namespace ddpmts::cuda {

struct ConvPlanKey {
  int device = 0;
  ConvShape shape;  ///< channels as the library sees them, padding included
  ConvPass pass = ConvPass::forward;
  DType result = DType::f32;                          ///< element type of what is written
  bool bias = false, residual = false, relu = false;  ///< forward only
  bool tf32 = false;                                  ///< f32 may round its inputs to tf32
  bool deterministic = false;                         ///< no engine that sums in a changing order
  bool autotune = false;                              ///< measured instead of guessed
  std::int64_t workspace_limit = 0;                   ///< bytes
  bool operator==(const ConvPlanKey&) const = default;

  bool has_epilogue() const { return bias || residual || relu; }
};

struct ConvPlanKeyHash {
  std::size_t operator()(const ConvPlanKey& key) const;
};

/// "forward 8x64x64x256 bf16 -> 256, 3x3, stride 1, padding 1, dilation 1, to bf16, bias+residual+relu": all that
/// decides which plan is fastest on a given GPU.
std::string text(const ConvPlanKey& key);

}  // namespace ddpmts::cuda
