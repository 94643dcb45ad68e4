// Nearest-neighbour search with AMX: the product with the bank and the minimum over it in one pass, so that no product
// ever leaves the core. Only engine/nearest_neighbour.h includes this.
#pragma once

#include <span>

#include "engine/memory.h"

namespace ddpmts::cpu {

/// A bank of bf16 vectors in the order in which the tiles of AMX read them.
class PackedBank {
 public:
  PackedBank() = default;
  /// vectors [count, channels], norms [count]: ‖c‖². Only where `possible`.
  PackedBank(const bf16* vectors, std::span<const float> norms, std::int64_t channels);

  /// Whether this machine has AMX in use (by the kernel's leave, oneDNN's and DDPMTS_ISA's) and the shape suits it:
  /// bf16, channels a multiple of 32.
  static bool possible(DType type, std::int64_t channels);

  explicit operator bool() const { return count_ > 0; }
  /// distance[i] = sqrt(max(0, row_norms[i] + min_j (‖c_j‖² − 2·q_i·c_j))), products and sums in f32; NaN where one is.
  /// queries [rows, channels], row_norms [rows]: ‖q‖².
  void distances(std::int64_t rows, const bf16* queries, const float* row_norms, float* distance) const;

 private:
  std::int64_t count_ = 0, channels_ = 0;
  Buffer packed_;
};

}  // namespace ddpmts::cpu
