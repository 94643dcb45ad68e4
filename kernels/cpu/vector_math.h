// Exponential, logarithm and logistic function of one native vector, for the CPU kernels that need millions of them;
// there is no vector maths library on every system.
// Accuracy: relative error measured below 4e-7 on the stated ranges; the tests of the kernels that use them hold 1.5e-6
// (exponential, logistic) and 4e-7 (logarithm). NaN stays NaN. Numbers too small to be normal floats are flushed to 0
// here and there: arithmetic on them is very slow.
// Kernel sources only: everything is inlined, in an unnamed namespace of the instruction set's own.
#pragma once

#include "kernels/cpu/simd.h"

namespace ddpmts::kernels::cpu::DDPMTS_ISA {
namespace {

DDPMTS_INLINE Floats convert(Ints x) { return __builtin_convertvector(x, Floats); }
DDPMTS_INLINE Floats negative(Floats x) { return splat(0.0f) - x; }
DDPMTS_INLINE Floats magnitude(Floats x) { return (Floats)((Words)x & 0x7fffffffu); }

/// e^x for x ≤ 0; 0 below −87, where the result would no longer be a normal float.
/// Cody–Waite reduction x = n·ln 2 + r with |r| ≤ ln 2/2, then the Taylor series of e^r.
DDPMTS_INLINE Floats exp_of_nonpositive(Floats x) {
  const Floats clamped = x < -87.0f ? splat(-87.0f) : x;
  const Ints n =
      __builtin_convertvector(clamped * 1.44269504f - 0.5f, Ints);  // towards 0: rounds an argument ≤ 0
  const Floats whole = convert(n);
  // ln 2 in two parts, which must not be added to each other first: the sum would be no better than one float.
  const Floats r = as_written(clamped - whole * 0.693359375f) + whole * 2.12194440e-4f;
  Floats series = splat(1.0f / 5040.0f);
  series = series * r + 1.0f / 720.0f;
  series = series * r + 1.0f / 120.0f;
  series = series * r + 1.0f / 24.0f;
  series = series * r + 1.0f / 6.0f;
  series = series * r + 0.5f;
  series = series * r + 1.0f;
  series = series * r + 1.0f;
  const Floats power = (Floats)((n + 127) << 23);
  return x < -87.0f ? splat(0.0f) : series * power;
}

/// log((1+s)/(1−s)) = 2·atanh(s) for 0 ≤ s ≤ 1/3 or |s| ≤ 1/3, as a series in s².
DDPMTS_INLINE Floats twice_atanh(Floats s) {
  const Floats size = magnitude(s);
  const Floats root =
      size < 1e-15f ? splat(1e-15f) : size;  // the square of anything smaller is no normal float
  const Floats s2 = root * root;
  Floats series = splat(2.0f / 15.0f);
  series = series * s2 + 2.0f / 13.0f;
  series = series * s2 + 2.0f / 11.0f;
  series = series * s2 + 2.0f / 9.0f;
  series = series * s2 + 2.0f / 7.0f;
  series = series * s2 + 2.0f / 5.0f;
  series = series * s2 + 2.0f / 3.0f;
  series = series * s2 + 2.0f;
  return s * series;
}

/// log x for normal x > 0; +∞ and NaN are returned as they are.
DDPMTS_INLINE Floats log_of_positive(Floats x) {
  const Ints bits = (Ints)x;
  const Ints exponent = (bits - 0x3f3504f3) >> 23;  // so that the mantissa lies in [√½, √2); 0x3f3504f3 is √½
  const Floats mantissa = (Floats)(bits - (exponent << 23));
  const Floats whole = convert(exponent);
  const Floats fraction = twice_atanh(as_written(mantissa - 1.0f) / (mantissa + 1.0f));
  const Floats result = as_written(fraction - whole * 2.12194440e-4f) + whole * 0.693359375f;
  return x < __builtin_inff() ? result : x;
}

/// What the losses need of one logit a, from one exponential and one division.
struct Logistic {
  Floats probability;  ///< σ(a)
  Floats complement;   ///< σ(−a) = 1 − σ(a), without cancellation
  Floats log1p_exp;    ///< log(1 + e^−|a|); softplus(a) = max(a, 0) + log1p_exp
};

DDPMTS_INLINE Logistic logistic(Floats a) {
  const Floats e = exp_of_nonpositive(negative(magnitude(a)));
  const Floats inverse = 1.0f / ((1.0f + e) * (2.0f + e));
  const Floats high = inverse * (2.0f + e);  // 1/(1+e)
  const Floats low = e * high;
  const Floats log1p_exp = twice_atanh(e * (inverse * (1.0f + e)));  // 1+e = (1+s)/(1−s) with s = e/(2+e)
  return Logistic{a < 0.0f ? low : high, a < 0.0f ? high : low, log1p_exp};
}

/// σ(z).
DDPMTS_INLINE Floats sigmoid(Floats z) {
  const Floats e = exp_of_nonpositive(negative(magnitude(z)));
  const Floats high = 1.0f / (1.0f + e);
  return z < 0.0f ? e * high : high;
}

}  // namespace
}  // namespace ddpmts::kernels::cpu::DDPMTS_ISA
