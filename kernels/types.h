// Element types and the few words every kernel contract is written in. Knows nothing of tensors.
#pragma once

#include <cstddef>
#include <cstdint>

#ifdef __CUDACC__
#define DDPMTS_HD __host__ __device__ __forceinline__
#else
// Kernel sources are compiled once per instruction set. What they share through headers must never leave an
// out-of-line copy behind that the linker could pick for an older machine: hence always_inline.
#define DDPMTS_HD inline __attribute__((always_inline))
#endif

namespace ddpmts {

enum class DType : std::uint8_t { f32, bf16, u8, i32 };

/// Bytes of one element.
constexpr std::size_t size_of(DType type) {
  return type == DType::bf16 ? 2 : type == DType::u8 ? 1 : 4;
}

constexpr const char* name_of(DType type) {
  constexpr const char* names[] = {"f32", "bf16", "u8", "i32"};
  return names[static_cast<int>(type)];
}

/// bfloat16: the upper half of an IEEE float; conversion rounds to nearest, ties to even; NaN stays NaN.
struct bf16 {
  std::uint16_t bits;
};

DDPMTS_HD float to_float(float x) { return x; }
DDPMTS_HD float to_float(bf16 x) {
  const std::uint32_t u = static_cast<std::uint32_t>(x.bits) << 16;
  float f;
  __builtin_memcpy(&f, &u, 4);
  return f;
}

template <class T>
struct FromFloat;
template <>
struct FromFloat<float> {
  static DDPMTS_HD float convert(float x) { return x; }
};
template <>
struct FromFloat<bf16> {
  static DDPMTS_HD bf16 convert(float x) {
    std::uint32_t u;
    __builtin_memcpy(&u, &x, 4);
    const std::uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
    const bool is_nan = (u & 0x7fffffffu) > 0x7f800000u;
    return bf16{static_cast<std::uint16_t>(is_nan ? ((u >> 16) | 0x40u) : rounded)};
  }
};
template <class T>
DDPMTS_HD T from_float(float x) {
  return FromFloat<T>::convert(x);
}

namespace kernels {

/// A CUDA stream without CUDA's headers; null on the CPU.
struct Stream {
  void* handle = nullptr;
};

/// Calls f with a value of the element type, so that `decltype` names it: float or bf16. On the host.
template <class F>
inline __attribute__((always_inline)) void with_float_type(DType type, F&& f) {
  if (type == DType::bf16) {
    f(bf16{});
  } else {
    f(float{});
  }
}

}  // namespace kernels
}  // namespace ddpmts
