// The three transformations of F(4×4, 3×3), one axis at a time, for the interpolation points 0, ±a, ±1/a and ∞ with a = 2/3.
//
// The points decide how much rounding grows. Over 256 channels of uniform numbers the result's error, as a share of its root
// mean square, was 3.2e-6 (root mean square) with the usual 0, ±1, ±2, ∞; 2.0e-6 with 0, ±1/2, ±2, ∞; and 1.4e-6 with
// these, the least of a dozen choices (cf. Barabasz et al., arXiv 1803.10986). Their product being 1 saves multiplications.
// Kernel sources only: everything is inlined, in an unnamed namespace of the instruction set's own.
#pragma once

#include "kernels/cpu/simd.h"

namespace ddpmts::kernels::cpu::DDPMTS_ISA {
namespace {

constexpr double kPoint = 2.0 / 3.0, kSquare = kPoint * kPoint, kInverseSquare = 1.0 / kSquare;
constexpr float kA = static_cast<float>(kPoint), kB = static_cast<float>(1.0 / kPoint);
constexpr float kA2 = static_cast<float>(kSquare), kB2 = static_cast<float>(kInverseSquare);
constexpr float kA3 = static_cast<float>(kPoint * kSquare),
                kB3 = static_cast<float>(1.0 / (kPoint * kSquare));
constexpr float kSum2 = static_cast<float>(kSquare + kInverseSquare);  // a² + 1/a²

/// out = Bᵀ in: what each point gives for the inputs, out in the order 0, a, −a, 1/a, −1/a, ∞.
DDPMTS_INLINE void transform_input(const Floats (&in)[6], Floats (&out)[6]) {
  const Floats even_a = in[4] - kB2 * in[2], odd_a = in[3] - kB2 * in[1];
  const Floats even_b = in[4] - kA2 * in[2], odd_b = in[3] - kA2 * in[1];
  out[0] = in[0] + in[4] - kSum2 * in[2];
  out[1] = even_a + kA * odd_a;
  out[2] = even_a - kA * odd_a;
  out[3] = even_b + kB * odd_b;
  out[4] = even_b - kB * odd_b;
  out[5] = in[1] + in[5] - kSum2 * in[3];
}

/// out = Aᵀ in: four outputs from the products at the six points.
DDPMTS_INLINE void transform_output(const Floats (&in)[6], Floats (&out)[4]) {
  const Floats sum_a = in[1] + in[2], difference_a = in[1] - in[2];
  const Floats sum_b = in[3] + in[4], difference_b = in[3] - in[4];
  out[0] = in[0] + sum_a + sum_b;
  out[1] = kA * difference_a + kB * difference_b;
  out[2] = kA2 * sum_a + kB2 * sum_b;
  out[3] = kA3 * difference_a + kB3 * difference_b + in[5];
}

/// out = G in: the three taps of a filter at the six points, each over the product of its distances to the others.
DDPMTS_INLINE void transform_filter(const Floats (&in)[3], Floats (&out)[6]) {
  constexpr float scale_a = static_cast<float>(0.5 / (kSquare * (kSquare - kInverseSquare)));
  constexpr float scale_b = static_cast<float>(0.5 / (kInverseSquare * (kInverseSquare - kSquare)));
  const Floats even_a = scale_a * in[0] + (scale_a * kA2) * in[2], odd_a = (scale_a * kA) * in[1];
  const Floats even_b = scale_b * in[0] + (scale_b * kB2) * in[2], odd_b = (scale_b * kB) * in[1];
  out[0] = in[0];
  out[1] = even_a + odd_a;
  out[2] = even_a - odd_a;
  out[3] = even_b + odd_b;
  out[4] = even_b - odd_b;
  out[5] = in[2];
}

/// Tiles that one call of the innermost product takes, and the output channels: as many sums as the registers hold.
#if defined(__AVX512F__)
constexpr std::int64_t kRows = 14;
#else
constexpr std::int64_t kRows = 6;
#endif
constexpr std::int64_t kPanel = 2 * kLanes;

}  // namespace
}  // namespace ddpmts::kernels::cpu::DDPMTS_ISA
