// Stands in for CUDA's headers where a .cu file is compiled for the host (DDPMTS_CUDA_SHIM): the words of CUDA that our
// kernels keep to, and nothing else. kernels/cuda/launch.cuh includes it; docs/cuda_kernels.md lists the words.
#pragma once

#include <math.h>

#include <bit>
#include <cstring>
#include <type_traits>
#include <utility>

#include "kernels/types.h"
#include "tests/shim/block.h"
#include "tests/shim/shared_memory.h"

#define __global__
#define __device__
#define __host__
#define __shared__ static  // blocks run one after another
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __grid_constant__

using dim3 = ddpmts::shim::Dim3;

struct alignas(4) ushort2 {
  unsigned short x, y;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};

inline void __syncthreads(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  ddpmts::shim::block_barrier({file, line});
}
inline void __syncwarp(unsigned mask = 0xffffffffu, const char* file = __builtin_FILE(),
                       int line = __builtin_LINE()) {
  ddpmts::shim::warp_operation(ddpmts::shim::WarpOperation::sync, mask, 0, 0, 32, {file, line});
}

namespace ddpmts::shim {

template <class T>
T shuffle(WarpOperation operation, unsigned mask, T value, int operand, int width, Site site) {
  static_assert(std::is_arithmetic_v<T> && sizeof(T) <= 8);
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  bits = warp_operation(operation, mask, bits, operand, width, site);
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

}  // namespace ddpmts::shim

#define DDPMTS_SHIM_SHUFFLE(name, operation)                                                          \
  template <class T>                                                                                  \
  T name(unsigned mask, T value, int operand, int width = 32, const char* file = __builtin_FILE(),    \
         int line = __builtin_LINE()) {                                                               \
    return ddpmts::shim::shuffle(ddpmts::shim::WarpOperation::operation, mask, value, operand, width, \
                                 {file, line});                                                       \
  }
DDPMTS_SHIM_SHUFFLE(__shfl_sync, shuffle)
DDPMTS_SHIM_SHUFFLE(__shfl_up_sync, shuffle_up)
DDPMTS_SHIM_SHUFFLE(__shfl_down_sync, shuffle_down)
DDPMTS_SHIM_SHUFFLE(__shfl_xor_sync, shuffle_xor)
#undef DDPMTS_SHIM_SHUFFLE

#define DDPMTS_SHIM_VOTE(name, Answer, operation)                                                         \
  inline Answer name(unsigned mask, int predicate, const char* file = __builtin_FILE(),                   \
                     int line = __builtin_LINE()) {                                                       \
    return static_cast<Answer>(ddpmts::shim::warp_operation(ddpmts::shim::WarpOperation::operation, mask, \
                                                            predicate != 0, 0, 32, {file, line}));        \
  }
DDPMTS_SHIM_VOTE(__ballot_sync, unsigned, ballot)
DDPMTS_SHIM_VOTE(__any_sync, int, any)
DDPMTS_SHIM_VOTE(__all_sync, int, all)
#undef DDPMTS_SHIM_VOTE

inline void __threadfence() {}

/// On global memory. Blocks and threads take turns, so plain arithmetic is atomic.
template <class T>
T atomicAdd(T* address, std::type_identity_t<T> value) {
  static_assert(std::is_integral_v<T>, "sums of floats by atomics depend on the order: use grid_sum");
  const T before = *address;
  *address = before + value;
  return before;
}
template <class T>
T atomicMax(T* address, std::type_identity_t<T> value) {
  static_assert(std::is_integral_v<T>);
  const T before = *address;
  *address = before < value ? value : before;
  return before;
}

template <class T>
T __ldg(const T* p) {
  return *p;
}
template <class T>
T __ldcg(const T* p) {
  return *p;
}

inline int __popc(unsigned x) { return std::popcount(x); }
inline int __clz(int x) { return std::countl_zero(static_cast<unsigned>(x)); }
inline int __ffs(int x) { return x == 0 ? 0 : std::countr_zero(static_cast<unsigned>(x)) + 1; }
inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
inline float __uint_as_float(unsigned x) { return std::bit_cast<float>(x); }
