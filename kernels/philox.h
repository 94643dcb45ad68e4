// Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC'11).
//
// Every draw is a pure function of (seed, stream, step, element): nothing is stored, so a resumed run, another
// thread count or another device sees the same numbers. Key = seed; counter = (element, stream, step lo, step hi).
#pragma once

#include "kernels/types.h"

namespace ddpmts::kernels {

/// What a stream of numbers is for. Two users of one (seed, step) never share a stream.
enum class RandomStream : std::uint32_t {
  weights = 1,    // parameter initialisation; step = parameter index
  triplet = 2,    // what is drawn for a training triplet; step = sample index
  perlin = 3,     // lattice gradients of a Perlin mask; step = sample index
  pixel = 4,      // per-pixel noise of a defect source; step = sample index
  split = 5,      // which good pictures are held out
  diffusion = 6,  // forward and reverse diffusion noise
  drawing = 7,    // pictures that the program draws itself
  texture = 8,    // procedural textures
  dropout = 9,    // what a training step switches off
  view = 10,      // which part of a picture a diffusion model looks at
  scene = 11,     // made-up scenes that a teacher learns from, and views of them; step = index
};

struct Uint4 {
  std::uint32_t x, y, z, w;
};
struct Float4 {
  float x, y, z, w;
};

/// The ten-round bijection. Test vector (Random123 kat_vectors): counter 0, key 0 gives
/// 6627e8d5 e169c58d bc57ac4c 9b00dbd8.
DDPMTS_HD Uint4 philox4x32_10(Uint4 counter, std::uint32_t key0, std::uint32_t key1) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = static_cast<std::uint64_t>(0xD2511F53u) * counter.x;
    const std::uint64_t p1 = static_cast<std::uint64_t>(0xCD9E8D57u) * counter.z;
    counter = Uint4{static_cast<std::uint32_t>(p1 >> 32) ^ counter.y ^ key0, static_cast<std::uint32_t>(p1),
                    static_cast<std::uint32_t>(p0 >> 32) ^ counter.w ^ key1, static_cast<std::uint32_t>(p0)};
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return counter;
}

/// One point in the (seed, stream, step) space; `bits(i)` is its i-th block of four words.
struct Philox {
  std::uint64_t seed;
  RandomStream stream;
  std::uint64_t step;

  DDPMTS_HD Uint4 bits(std::uint32_t element) const {
    return philox4x32_10(Uint4{element, static_cast<std::uint32_t>(stream), static_cast<std::uint32_t>(step),
                               static_cast<std::uint32_t>(step >> 32)},
                         static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32));
  }
};

/// [0,1) with 24 bits.
DDPMTS_HD float uniform01(std::uint32_t bits) { return static_cast<float>(bits >> 8) * 0x1p-24f; }
/// [low, high).
DDPMTS_HD float uniform(std::uint32_t bits, float low, float high) {
  return low + (high - low) * uniform01(bits);
}
/// An integer in [0, count), by multiplication; the bias is below count / 2^32.
DDPMTS_HD std::uint32_t uniform_index(std::uint32_t bits, std::uint32_t count) {
  return static_cast<std::uint32_t>((static_cast<std::uint64_t>(bits) * count) >> 32);
}

}  // namespace ddpmts::kernels
