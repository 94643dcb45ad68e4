// Standard normal numbers from Philox bits, and the per-element formulas of forward and reverse diffusion, shared by both
// devices. Only additions, multiplications, square roots and integer operations in a fixed order, so that host, device and
// every instruction set agree to the last bit (compile with -ffp-contract=off, on CUDA --fmad=false). No branches: a
// compiler can run it in vector lanes.
#pragma once

#include <math.h>

#include "kernels/philox.h"

namespace ddpmts::kernels {

/// Values that one Philox step can draw: four a block, 2³² blocks.
constexpr std::int64_t kMostNoiseValues = std::int64_t{1} << 34;

/// Sine and cosine of quarter·π/2 + angle, |angle| ≤ π/4, within 1.5e-7. Of `quarter` only the value modulo 4 counts.
/// Minimax polynomials of degrees 7 and 6 in the angle.
DDPMTS_HD void sincos_in_quarter(std::uint32_t quarter, float angle, float& sine, float& cosine) {
  const float q = angle * angle;
  const float s = angle * (1.0f + q * (-1.666665070e-1f + q * (8.332036875e-3f + q * -1.950402201e-4f)));
  const float c = 1.0f + q * (-4.999985670e-1f + q * (4.165502688e-2f + q * -1.358590852e-3f));
  const bool odd = (quarter & 1u) != 0;
  const float along_y = odd ? c : s;
  const float along_x = odd ? s : c;
  std::uint32_t y, x;
  __builtin_memcpy(&y, &along_y, 4);
  __builtin_memcpy(&x, &along_x, 4);
  y ^= (quarter & 2u) << 30;
  x ^= ((quarter + 1u) & 2u) << 30;
  __builtin_memcpy(&sine, &y, 4);
  __builtin_memcpy(&cosine, &x, 4);
}

/// −2·ln(number·2⁻³²) for normal floats 0 < number ≤ 2³², relative error below 3e-7: the exponent by its bits, a minimax
/// polynomial of degree 9 for the mantissa in [√½, √2).
DDPMTS_HD float minus_two_log_of_fraction(float number) {
  std::uint32_t bits;
  __builtin_memcpy(&bits, &number, 4);
  const std::int32_t exponent = static_cast<std::int32_t>(bits - 0x3f3504f3u) >> 23;  // 0x3f3504f3 is √½
  const std::uint32_t mantissa_bits = bits - (static_cast<std::uint32_t>(exponent) << 23);
  float mantissa;
  __builtin_memcpy(&mantissa, &mantissa_bits, 4);
  const float f = mantissa - 1.0f;
  float series = 2.873368587e-1f + f * -1.744471345e-1f;
  series = -2.990453232e-1f + f * series;
  series = 3.312478614e-1f + f * series;
  series = -3.991366722e-1f + f * series;
  series = 5.000414814e-1f + f * series;
  series = -6.666837125e-1f + f * series;
  series = 9.999997593e-1f + f * series;
  series = -2.0f + f * series;
  return static_cast<float>(32 - exponent) * 1.386294361f + f * series;
}

struct GaussianPair {
  float first, second;
};

/// Box and Muller (1958): √(−2 ln u)·(cos, sin)(2π·v), u = (radius_bits + 1)/2³² and v = angle_bits/2³². The float nearest
/// to radius_bits is meant, so that u comes in steps of 2⁻²⁴ near 1 and down to 2⁻³² near 0.
DDPMTS_HD GaussianPair gaussian_pair(std::uint32_t radius_bits, std::uint32_t angle_bits) {
  const float radius = sqrtf(minus_two_log_of_fraction(static_cast<float>(radius_bits) + 1.0f));
  const std::uint32_t quarter = (angle_bits + 0x20000000u) >> 30;
  const std::int32_t rest = static_cast<std::int32_t>(angle_bits - (quarter << 30));
  float sine, cosine;
  sincos_in_quarter(quarter, static_cast<float>(rest) * 1.462918080e-9f, sine, cosine);  // 2π/2³²
  return GaussianPair{radius * cosine, radius * sine};
}

/// Four independent N(0, 1) numbers from one Philox block: Box and Muller on (x, y) and on (z, w).
/// |value| ≤ 6.67; within 1.5e-6 of the exact formula. The same bits on every machine when compiled without contraction.
DDPMTS_HD Float4 gaussians(const Uint4& bits) {
  const GaussianPair xy = gaussian_pair(bits.x, bits.y);
  const GaussianPair zw = gaussian_pair(bits.z, bits.w);
  return Float4{xy.first, xy.second, zw.first, zw.second};
}

}  // namespace ddpmts::kernels
