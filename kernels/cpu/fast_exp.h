// e^−w for one native vector, and silu(w) = w·σ(w) and its derivative made of it, fast enough to hide behind memory.
// Accuracy: for f32, σ has relative error below 4e-7 + 6e-8·|w|; for what is rounded to bf16 at once, 2⁻¹³, a small part of
// what that rounding costs. Both for w ≥ −87; below, σ is at most 2e-38. NaN stays NaN.
// Kernel sources only: everything is inlined, in an unnamed namespace of the instruction set's own.
#pragma once

#include "kernels/cpu/simd.h"

namespace ddpmts::kernels::cpu::DDPMTS_ISA {
namespace {

/// 2^f for |f| ≤ 1/2, for a result of type T: a minimax polynomial that is exact at 0, for float of degree 5 with relative
/// error 9e-8, for bf16 of degree 4 with 3e-6.
template <class T>
DDPMTS_INLINE Floats exp2_of_fraction(Floats f) {
  Floats series;
  if constexpr (sizeof(T) == sizeof(float)) {
    series = splat(1.326606013e-3f);
    series = series * f + 9.671553357e-3f;
    series = series * f + 5.550730966e-2f;
    series = series * f + 2.402224147e-1f;
    series = series * f + 6.931469784e-1f;
  } else {
    series = splat(9.583766165e-3f);
    series = series * f + 5.590677860e-2f;
    series = series * f + 2.402408546e-1f;
    series = series * f + 6.931241488e-1f;
  }
  return series * f + 1.0f;
}

/// e^−w = 2^t with t = −w/ln 2: the nearest whole number goes to the exponent, what is left to the polynomial. w ≥ −87; what
/// would be below 2e-38 may come out as anything from 0 to there.
template <class T>
DDPMTS_INLINE Floats exp_of_negative(Floats w) {
  constexpr float kPerLog2 = -1.44269504f;
#if defined(__AVX512F__)
  const Floats t = as_written(w * kPerLog2);
  const Floats fraction = (Floats)_mm512_maskz_reduce_ps(0xffff, (__m512)t, _MM_FROUND_TO_NEAREST_INT);
  const Floats whole = as_written(t - fraction);
  return (Floats)_mm512_maskz_scalef_ps(0xffff, (__m512)exp2_of_fraction<T>(fraction), (__m512)whole);
#else
  constexpr float kShift = 12582912.0f;  // 1.5·2²³: adding it rounds to a whole number, left in the low bits
  const Floats clamped =
      smaller(splat(87.0f), larger(splat(-87.0f), w));  // NaN is the second argument, and stays
  const Floats t = as_written(clamped * kPerLog2);
  const Floats shifted = as_written(t + kShift);
  const Floats fraction = as_written(t - as_written(shifted - kShift));
  return (Floats)((Words)exp2_of_fraction<T>(fraction) + ((Words)shifted << 23));
#endif
}

/// numerator/x for x ≥ 1.
template <class T>
DDPMTS_INLINE Floats quotient(Floats numerator, Floats x) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) != sizeof(float))
    return numerator * (Floats)_mm512_maskz_rcp14_ps(0xffff, (__m512)x);
#endif
  return numerator / x;
}

/// T: the type that the result is for, float or bf16.
template <class T>
DDPMTS_INLINE Floats silu(Floats w) {
  return quotient<T>(w, 1.0f + exp_of_negative<T>(w));
}

/// σ(w)·(1 + w·(1 − σ(w)))
template <class T>
DDPMTS_INLINE Floats silu_slope(Floats w) {
  const Floats s = quotient<T>(splat(1.0f), 1.0f + exp_of_negative<T>(w));
  return s * (1.0f + w * as_written(1.0f - s));
}

}  // namespace
}  // namespace ddpmts::kernels::cpu::DDPMTS_ISA
