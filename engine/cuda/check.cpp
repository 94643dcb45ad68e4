#include "engine/cuda/check.h"

#include <cstdio>
#include <string>

#include "engine/error.h"

namespace ddpmts::cuda {
namespace {

std::string text(cudaError_t error, const char* call, const char* file, int line) {
  cudaGetLastError();  // a failed call is not the next call's error
  int device = -1;
  const bool known = cudaGetDevice(&device) == cudaSuccess;
  return fmt::format("{} failed on {}: {}, {} [{}:{}]", call,
                     known ? fmt::format("cuda:{}", device) : "no device", cudaGetErrorName(error),
                     cudaGetErrorString(error), file, line);
}

}  // namespace

void check(cudaError_t error, const char* call, const char* file, int line) {
  if (error != cudaSuccess) throw DeviceError(text(error, call, file, line));
}

void report(cudaError_t error, const char* call, const char* file, int line) noexcept {
  // While the program ends the driver may be gone before the last block is given back: nothing is lost then.
  if (error == cudaSuccess || error == cudaErrorCudartUnloading) return;
  try {
    std::fprintf(stderr, "%s\n", text(error, call, file, line).c_str());
  } catch (...) {
    std::fputs("a CUDA call failed, and so did the message about it\n", stderr);
  }
}

}  // namespace ddpmts::cuda
