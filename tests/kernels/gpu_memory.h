// Memory for kernel tests on a GPU: managed, so that tests read and write it as they do on a CPU. Tests are small; a
// program that wants speed uses plain device memory.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <new>
#include <stdexcept>
#include <string>

namespace ddpmts::kernels::test {

template <class T>
struct GpuAllocator {
  using value_type = T;
  GpuAllocator() = default;
  template <class U>
  GpuAllocator(const GpuAllocator<U>&) {}
  T* allocate(std::size_t count) {
    void* memory = nullptr;
    if (cudaMallocManaged(&memory, count * sizeof(T) + 1, cudaMemAttachGlobal) != cudaSuccess) {
      throw std::bad_alloc();
    }
    return static_cast<T*>(memory);
  }
  void deallocate(T* memory, std::size_t) { cudaFree(memory); }
  template <class U>
  bool operator==(const GpuAllocator<U>&) const {
    return true;
  }
};

/// Waits for the device. What a kernel did wrong shows here.
inline void synchronize(const char* kernel) {
  const cudaError_t error = cudaDeviceSynchronize();
  if (error == cudaSuccess) return;
  throw std::runtime_error(std::string(kernel) + " failed on the GPU: " + cudaGetErrorName(error) + ", " +
                           cudaGetErrorString(error));
}

}  // namespace ddpmts::kernels::test
