// What the CPU twins share: one native vector of floats, loads and stores that widen and round bf16, scratch.
//
// Kernel sources are compiled once per instruction set, so nothing here may become a symbol that the linker
// could take from the wrong copy: everything is always_inline and sits in an unnamed namespace of the
// instruction set's own. For the same reason kernels use no containers or algorithms of the standard library.
#pragma once

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include <new>

#include "kernels/types.h"

namespace ddpmts::kernels::cpu::DDPMTS_ISA {
namespace {

#define DDPMTS_INLINE inline __attribute__((always_inline))

/// Lanes of one native register: 16 with AVX-512, 8 with AVX2, 4 else. Loops step by kLanes, then finish
/// with the `_part` forms, which touch only the first `count` elements.
#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

typedef float Floats __attribute__((vector_size(kLanes * 4)));
typedef std::int32_t Ints __attribute__((vector_size(kLanes * 4)));
typedef std::uint32_t Words __attribute__((vector_size(kLanes * 4)));
typedef std::uint16_t HalfWords __attribute__((vector_size(kLanes * 2)));

DDPMTS_INLINE Floats splat(float x) { return Floats{} + x; }

DDPMTS_INLINE Floats load(const float* p) {
  Floats x;
  __builtin_memcpy(&x, p, sizeof x);
  return x;
}
DDPMTS_INLINE Floats load(const bf16* p) {
  HalfWords bits;
  __builtin_memcpy(&bits, p, sizeof bits);
#if defined(__AVX512F__)  // GCC 12 makes two halves of convertvector here; maskz avoids a false warning
  const Words wide = (Words)_mm512_maskz_cvtepu16_epi32(0xffff, (__m256i)bits) << 16;
#elif defined(__AVX2__)
  const Words wide = (Words)_mm256_cvtepu16_epi32((__m128i)bits) << 16;
#else
  const Words wide = __builtin_convertvector(bits, Words) << 16;
#endif
  Floats x;
  __builtin_memcpy(&x, &wide, sizeof x);
  return x;
}

DDPMTS_INLINE void store(float* p, Floats x) { __builtin_memcpy(p, &x, sizeof x); }

/// The sixteen bits of each lane that from_float<bf16> gives: to nearest, ties to even; NaN stays NaN.
DDPMTS_INLINE HalfWords to_bf16_bits(Floats x) {
#if defined(__AVX512F__)  // half the instructions of what GCC 12 makes of the general form
  static constexpr std::uint16_t upper_halves[32] = {1,  3,  5,  7,  9,  11, 13, 15, 17, 19, 21,
                                                     23, 25, 27, 29, 31, 1,  3,  5,  7,  9,  11,
                                                     13, 15, 17, 19, 21, 23, 25, 27, 29, 31};
  const __m512i u = (__m512i)x;
  const __mmask16 odd = _mm512_test_epi32_mask(u, _mm512_set1_epi32(0x10000));
  const __mmask16 nan = _mm512_cmp_ps_mask((__m512)x, (__m512)x, _CMP_UNORD_Q);
  __m512i rounded = _mm512_add_epi32(u, _mm512_set1_epi32(0x7fff));
  rounded = _mm512_mask_add_epi32(rounded, odd, rounded, _mm512_set1_epi32(1));
  rounded = _mm512_mask_or_epi32(rounded, nan, u, _mm512_set1_epi32(0x400000));
  const __m512i order = _mm512_loadu_si512(upper_halves);
  const __m512i ordered = _mm512_maskz_permutexvar_epi16(0xffffffffu, order, rounded);
  HalfWords bits;
  __builtin_memcpy(&bits, &ordered, sizeof bits);
  return bits;
#else
  Words u;
  __builtin_memcpy(&u, &x, sizeof u);
  const Words rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  const Words quiet = (u >> 16) | 0x40u;
  const Ints magnitude = (Ints)(u & 0x7fffffffu);
  return __builtin_convertvector(magnitude > 0x7f800000 ? quiet : rounded, HalfWords);
#endif
}
DDPMTS_INLINE void store(bf16* p, Floats x) {
  const HalfWords bits = to_bf16_bits(x);
  __builtin_memcpy(p, &bits, sizeof bits);
}

#if defined(__AVX512F__)
DDPMTS_INLINE __mmask16 lanes_below(std::int64_t count) { return static_cast<__mmask16>((1u << count) - 1u); }

/// The first `count` (< kLanes) elements; the other lanes are zero.
DDPMTS_INLINE Floats load_part(const float* p, std::int64_t count) {
  return (Floats)_mm512_maskz_loadu_ps(lanes_below(count), p);
}
DDPMTS_INLINE Floats load_part(const bf16* p, std::int64_t count) {
  const __m256i bits = _mm256_maskz_loadu_epi16(lanes_below(count), p);
  return (Floats)((Words)_mm512_maskz_cvtepu16_epi32(0xffff, bits) << 16);
}
DDPMTS_INLINE void store_part(float* p, Floats x, std::int64_t count) {
  _mm512_mask_storeu_ps(p, lanes_below(count), (__m512)x);
}
DDPMTS_INLINE void store_part(bf16* p, Floats x, std::int64_t count) {
  _mm256_mask_storeu_epi16(p, lanes_below(count), (__m256i)to_bf16_bits(x));
}
#else
/// The first `count` (< kLanes) elements; the other lanes are zero.
template <class T>
DDPMTS_INLINE Floats load_part(const T* p, std::int64_t count) {
  float lanes[kLanes] = {};
  for (std::int64_t i = 0; i < count; ++i) lanes[i] = to_float(p[i]);
  return load(lanes);
}
template <class T>
DDPMTS_INLINE void store_part(T* p, Floats x, std::int64_t count) {
  float lanes[kLanes];
  store(lanes, x);
  for (std::int64_t i = 0; i < count; ++i) p[i] = from_float<T>(lanes[i]);
}
#endif

/// The first min(count, kLanes) elements: free of a branch where count is a constant.
template <class T>
DDPMTS_INLINE Floats load_upto(const T* p, std::int64_t count) {
  return count >= kLanes ? load(p) : load_part(p, count);
}
template <class T>
DDPMTS_INLINE void store_upto(T* p, Floats x, std::int64_t count) {
  if (count >= kLanes) {
    store(p, x);
  } else {
    store_part(p, x, count);
  }
}

/// Calls body(first, count) for each vector of [0, total): count is kLanes, then what is left. The body
/// should be an always_inline lambda, so that the full vectors know their count.
template <class Body>
DDPMTS_INLINE void for_each_vector(std::int64_t total, Body body) {
  std::int64_t i = 0;
  for (; i + kLanes <= total; i += kLanes) body(i, std::int64_t{kLanes});
  if (i < total) body(i, total - i);
}
#define DDPMTS_INLINE_LAMBDA __attribute__((always_inline))

/// a > b ? a : b and a < b ? a : b: the second where one is NaN.
DDPMTS_INLINE Floats larger(Floats a, Floats b) {
#if defined(__AVX512F__)
  return (Floats)_mm512_maskz_max_ps(0xffff, (__m512)a, (__m512)b);
#elif defined(__AVX2__)
  return (Floats)_mm256_max_ps((__m256)a, (__m256)b);
#else
  return a > b ? a : b;
#endif
}
DDPMTS_INLINE Floats smaller(Floats a, Floats b) {
#if defined(__AVX512F__)
  return (Floats)_mm512_maskz_min_ps(0xffff, (__m512)a, (__m512)b);
#elif defined(__AVX2__)
  return (Floats)_mm256_min_ps((__m256)a, (__m256)b);
#else
  return a < b ? a : b;
#endif
}

/// NaN stays NaN.
DDPMTS_INLINE Floats relu(Floats x) { return larger(Floats{}, x); }

DDPMTS_INLINE float sum_lanes(Floats x) {
  float total = 0.0f;
  for (int i = 0; i < kLanes; ++i) total += x[i];
  return total;
}

/// x, computed as written: sums around it may be reordered, but never through it (the build allows
/// reassociation). For differences of close numbers.
DDPMTS_INLINE Floats as_written(Floats x) {
#if defined(__x86_64__)
  __asm__("" : "+v"(x));  // GCC 12 takes __builtin_assoc_barrier on vectors apart into lanes
#elif defined(__aarch64__)
  __asm__("" : "+w"(x));
#else
  x = __builtin_assoc_barrier(x);
#endif
  return x;
}
DDPMTS_INLINE float as_written(float x) { return __builtin_assoc_barrier(x); }
DDPMTS_INLINE double as_written(double x) { return __builtin_assoc_barrier(x); }

DDPMTS_INLINE std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
DDPMTS_INLINE std::int64_t smaller(std::int64_t a, std::int64_t b) { return a < b ? a : b; }
DDPMTS_INLINE std::int64_t larger(std::int64_t a, std::int64_t b) { return a > b ? a : b; }

/// Uninitialised memory for partial results, 64-byte aligned, freed on leaving the scope. Allocate outside
/// parallel regions: out of memory is std::bad_alloc.
template <class T>
class Scratch {
 public:
  DDPMTS_INLINE explicit Scratch(std::int64_t count)
      : data_(static_cast<T*>(
            ::operator new (static_cast<std::size_t>(count) * sizeof(T), std::align_val_t{64}))) {}
  DDPMTS_INLINE ~Scratch() { ::operator delete (data_, std::align_val_t{64}); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  DDPMTS_INLINE T* data() const { return data_; }
  DDPMTS_INLINE T& operator[](std::int64_t i) const { return data_[i]; }

 private:
  T* data_;
};

}  // namespace
}  // namespace ddpmts::kernels::cpu::DDPMTS_ISA
