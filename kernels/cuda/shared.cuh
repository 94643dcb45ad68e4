// Shared memory as the kernels use it. On a GPU these types are nothing but an array and a pointer; on the host shim
// (tests/shim/shared_memory.h) every element access is checked for bounds, races and unwritten memory. So:
//   __shared__ SharedArray<float, 32> sums;                   a fixed number of elements
//   const DynamicShared<float> tile = dynamic_shared<float>(count, byte_offset);   out of what the launch asked for
//   const float x = sums[i];   sums[i] = x;   sums[i] += x;   atomicAdd(&counts[i], 1);
// Name the type of what is read (no `auto`), read whole elements, take no address but for an atomic.
#pragma once

#if !defined(DDPMTS_CUDA_SHIM)

namespace ddpmts::kernels::cuda {

template <class T, int kCount>
struct SharedArray {
  T values[kCount];
  template <class I>
  __device__ __forceinline__ T& operator[](I i) {
    return values[i];
  }
};

template <class T>
struct DynamicShared {
  T* values;
  template <class I>
  __device__ __forceinline__ T& operator[](I i) const {
    return values[i];
  }
};

/// `count` elements from `byte_offset` on (a multiple of the element's alignment, at most 16) of the dynamic shared memory
/// that the launch asked for. On the shim, more than that is a fault.
template <class T>
__device__ __forceinline__ DynamicShared<T> dynamic_shared([[maybe_unused]] std::int64_t count,
                                                           std::int64_t byte_offset = 0) {
  extern __shared__ __align__(16) unsigned char ddpmts_dynamic_shared_bytes[];
  return DynamicShared<T>{reinterpret_cast<T*>(ddpmts_dynamic_shared_bytes + byte_offset)};
}

}  // namespace ddpmts::kernels::cuda

#endif
