// Every CUDA call is checked: what failed, with which error, where and on which device.
#pragma once

#include <cuda_runtime_api.h>

namespace ddpmts::cuda {

/// Throws DeviceError unless `error` is cudaSuccess.
void check(cudaError_t error, const char* call, const char* file, int line);
/// The same on stderr, for places that may not throw.
void report(cudaError_t error, const char* call, const char* file, int line) noexcept;

}  // namespace ddpmts::cuda

#define DDPMTS_CUDA_CHECK(call) ::ddpmts::cuda::check((call), #call, __FILE__, __LINE__)
#define DDPMTS_CUDA_REPORT(call) ::ddpmts::cuda::report((call), #call, __FILE__, __LINE__)
