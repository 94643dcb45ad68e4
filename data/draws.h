// One random choice after the other, from consecutive blocks of a Philox stream. Compile what includes this with
// -ffp-contract=off (data/CMakeLists.txt): every machine is to draw the same.
#pragma once

#include <array>
#include <cstddef>
#include <initializer_list>

#include "kernels/philox.h"
#include "kernels/triplet_math.h"

namespace ddpmts {

class Draws {
 public:
  Draws(const kernels::Philox& random, std::uint32_t first_block) : random_(random), block_(first_block) {}

  std::uint32_t bits() {
    if (used_ == 4) {
      const kernels::Uint4 block = random_.bits(block_++);
      words_ = {block.x, block.y, block.z, block.w};
      used_ = 0;
    }
    return words_[used_++];
  }
  float between(float low, float high) { return kernels::uniform(bits(), low, high); }
  float around(float reach) { return between(-reach, reach); }
  /// 2^U(low, high): sizes are drawn evenly in octaves.
  float power_of_two(float low, float high) { return kernels::exp2_of(between(low, high)); }
  bool chance(float probability) { return kernels::uniform01(bits()) < probability; }
  float sign() { return (bits() & 1u) != 0 ? 1.0f : -1.0f; }
  std::int64_t index(std::int64_t count) {
    return kernels::uniform_index(bits(), static_cast<std::uint32_t>(count));
  }
  /// The position of a weight, with a probability in proportion to it.
  int pick(std::initializer_list<float> weights) {
    float total = 0.0f;
    for (const float weight : weights) total += weight;
    float left = kernels::uniform01(bits()) * total;
    int last_possible = 0;
    int i = 0;
    for (const float weight : weights) {
      if (weight > 0.0f) {
        if (left < weight) return i;
        last_possible = i;
      }
      left -= weight;
      ++i;
    }
    return last_possible;
  }

 private:
  kernels::Philox random_;
  std::uint32_t block_;
  std::array<std::uint32_t, 4> words_{};
  std::size_t used_ = 4;
};

}  // namespace ddpmts
