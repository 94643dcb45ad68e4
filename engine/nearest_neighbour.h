// Nearest neighbours of feature vectors in a bank, and the greedy choice of a bank. Nothing here is recorded for
// differentiation.
#pragma once

#include <vector>

#include "engine/cpu/packed_bank.h"
#include "engine/tensor.h"

namespace ddpmts {

/// A bank of vectors with what searching it needs.
class VectorBank {
 public:
  VectorBank() = default;
  /// vectors [count, channels] f32 or bf16, count ≥ 1.
  explicit VectorBank(Tensor vectors);

  explicit operator bool() const { return static_cast<bool>(vectors_); }
  const Tensor& vectors() const { return vectors_; }
  /// queries [..., channels] of the bank's type → Euclidean distance of each to the nearest vector, [rows] f32. Products
  /// and norms are f32, so that for bf16 the distance is that of the rounded vectors.
  Tensor distances(const Tensor& queries) const;

 private:
  struct Chunk {
    Tensor vectors, norms;  // [count, channels], [count] f32
  };
  Tensor vectors_;
  cpu::PackedBank packed_;     // where the machine can search it in one pass
  std::vector<Chunk> chunks_;  // else
};

/// Indices of `wanted` points chosen greedily, each the farthest from all chosen before (k-centre; arXiv 2106.08265
/// eq. 5), the first being point 0. points [count, channels] f32; wanted in 1..count.
std::vector<std::int32_t> farthest_points(const Tensor& points, std::int64_t wanted);

}  // namespace ddpmts
