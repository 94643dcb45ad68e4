// Two native vectors of channels at a time, for loops over a channel vector that are bound by widening and rounding bf16:
// a 32-bit word of two bf16 gives one lane by a shift and one by a mask, so nothing is shuffled on the way in or out.
// The lanes of a bf16 pair are channels 0, 2, 4 … and 1, 3, 5 …; of an f32 pair, the first and the second half. An f32
// scratch array written from bf16 pairs therefore holds each group of kPair channels in that order.
// Kernel sources only: everything is inlined, in an unnamed namespace of the instruction set's own.
#pragma once

#include "kernels/cpu/simd.h"

namespace ddpmts::kernels::cpu::DDPMTS_ISA {
namespace {

struct Pair {
  Floats a, b;
};

/// Channels in a pair.
constexpr int kPair = 2 * kLanes;

DDPMTS_INLINE Pair operator+(Pair x, Pair y) { return Pair{x.a + y.a, x.b + y.b}; }
DDPMTS_INLINE Pair operator-(Pair x, Pair y) { return Pair{x.a - y.a, x.b - y.b}; }
DDPMTS_INLINE Pair operator*(Pair x, Pair y) { return Pair{x.a * y.a, x.b * y.b}; }
DDPMTS_INLINE Pair operator*(Pair x, float y) { return Pair{x.a * y, x.b * y}; }
DDPMTS_INLINE Pair zero_pair() { return Pair{splat(0.0f), splat(0.0f)}; }
DDPMTS_INLINE float sum_of(Pair x) { return sum_lanes(x.a + x.b); }

DDPMTS_INLINE Pair load_pair(const float* p) { return Pair{load(p), load(p + kLanes)}; }
DDPMTS_INLINE Pair load_pair(const bf16* p) {
  Words words;
  __builtin_memcpy(&words, p, sizeof words);
  return Pair{(Floats)(words << 16), (Floats)(words & 0xffff0000u)};
}

/// The bits of x with its upper half rounded to bf16; the lower half is left over.
DDPMTS_INLINE Words rounded_bits(Floats x) {
  const Words bits = (Words)x;
  return x == x ? bits + 0x7fffu + ((bits >> 16) & 1u) : bits | 0x400000u;
}

DDPMTS_INLINE void store_pair(float* p, Pair x) {
  store(p, x.a);
  store(p + kLanes, x.b);
}
DDPMTS_INLINE void store_pair(bf16* p, Pair x) {
  const Words words = (rounded_bits(x.a) >> 16) | (rounded_bits(x.b) & 0xffff0000u);
  __builtin_memcpy(p, &words, sizeof words);
}

}  // namespace
}  // namespace ddpmts::kernels::cpu::DDPMTS_ISA
