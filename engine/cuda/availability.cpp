#include "engine/cuda/availability.h"

#include <cuda_runtime_api.h>
#include <fmt/format.h>

namespace ddpmts::cuda {
namespace {

std::string cublas_version_text(std::size_t version) {
  return fmt::format("{}.{}.{}", version / 10000, version / 100 % 100, version % 100);
}

// 0 where the driver does not say.
int attribute(cudaDeviceAttr which, int index) {
  int value = 0;
  if (cudaDeviceGetAttribute(&value, which, index) == cudaSuccess) return value;
  cudaGetLastError();
  return 0;
}

// " up to 1980 MHz"; empty where it is not known.
std::string clock_text(int kilohertz) {
  return kilohertz > 0 ? fmt::format(" up to {} MHz", kilohertz / 1000) : "";
}

Gpu gpu(int index) {
  Gpu result;
  cudaDeviceProp properties{};
  if (cudaGetDeviceProperties(&properties, index) != cudaSuccess) {
    cudaGetLastError();
    result.name = "a GPU that does not answer";
    return result;
  }
  result.name = properties.name;
  result.major = properties.major;
  result.minor = properties.minor;
  result.multiprocessors = properties.multiProcessorCount;
  result.memory = properties.totalGlobalMem;
  result.clock = attribute(cudaDevAttrClockRate, index);
  result.memory_clock = attribute(cudaDevAttrMemoryClockRate, index);
  return result;
}

CudaStatus ask_the_machine() {
  CudaStatus status;
  status.runtime = CUDART_VERSION;
  if (cudaDriverGetVersion(&status.driver) != cudaSuccess) status.driver = 0;
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess) {
    cudaGetLastError();
    status.no_gpus_because = cudaGetErrorString(error);
    count = 0;
  }
  for (int i = 0; i < count; ++i) status.gpus.push_back(gpu(i));
  status.cudnn = library_status(Library::cudnn);
  status.cublaslt = library_status(Library::cublaslt);
  return status;
}

void add_library(std::vector<std::string>& missing, const char* name, const LibraryStatus& library,
                 std::size_t oldest, std::string (*text)(std::size_t)) {
  if (!library.open) {
    missing.push_back(fmt::format("{} {} or later is needed and could not be opened ({})", name, text(oldest),
                                  library.error));
  } else if (library.version < oldest) {
    missing.push_back(
        fmt::format("{} {} was found and {} or later is needed", name, text(library.version), text(oldest)));
  }
}

}  // namespace

const CudaStatus& cuda_status() {
  static const auto* status = new CudaStatus(ask_the_machine());
  return *status;
}

std::string cuda_version_text(int version) {
  return fmt::format("{}.{}", version / 1000, version % 1000 / 10);
}

std::string cudnn_version_text(std::size_t version) {
  return fmt::format("{}.{}.{}", version / 10000, version / 100 % 100, version % 100);
}

std::vector<std::string> missing_parts(const CudaStatus& status) {
  std::vector<std::string> missing;
  if (status.driver == 0) {
    missing.push_back(fmt::format("no NVIDIA driver was found (one for CUDA {} or later is needed)",
                                  cuda_version_text(status.runtime / 1000 * 1000)));
  } else if (status.driver / 1000 < status.runtime / 1000) {
    missing.push_back(
        fmt::format("the NVIDIA driver runs CUDA up to {}, and one for CUDA {} or later is needed",
                    cuda_version_text(status.driver), cuda_version_text(status.runtime / 1000 * 1000)));
  } else if (status.gpus.empty()) {
    missing.push_back(fmt::format("no GPU was found{}",
                                  status.no_gpus_because.empty() ? "" : " (" + status.no_gpus_because + ")"));
  }
  add_library(missing, "cuDNN", status.cudnn, kOldestCudnn, cudnn_version_text);
  add_library(missing, "cuBLASLt", status.cublaslt, kOldestCublaslt, cublas_version_text);
  return missing;
}

std::string refusal(const CudaStatus& status, int index) {
  const std::vector<std::string> missing = missing_parts(status);
  if (!missing.empty()) {
    return fmt::format("cuda:{} cannot be used: {}; use --device cpu, or install what is missing", index,
                       fmt::join(missing, "; "));
  }
  if (index < 0 || index >= static_cast<int>(status.gpus.size())) {
    return fmt::format("there is no cuda:{}: this machine has {} GPU{}, counted from 0", index,
                       status.gpus.size(), status.gpus.size() == 1 ? "" : "s");
  }
  return "";
}

std::string no_kernels_text(const Gpu& gpu, int index) {
  return fmt::format(
      "cuda:{} ({}, sm_{}{}) cannot be used: this program holds no kernels for it; build it on this machine "
      "with "
      "`cmake --preset cuda`, or with `release` for every GPU from sm_80 on",
      index, gpu.name, gpu.major, gpu.minor);
}

std::string describe(const CudaStatus& status, int index) {
  const Gpu& gpu = status.gpus.at(static_cast<std::size_t>(index));
  return fmt::format(
      "{}, sm_{}{}, {} multiprocessors{}, {:.1f} GiB{}, CUDA {} (driver {}), cuDNN {}, cuBLASLt {}", gpu.name,
      gpu.major, gpu.minor, gpu.multiprocessors, clock_text(gpu.clock),
      static_cast<double>(gpu.memory) / 1073741824.0, clock_text(gpu.memory_clock),
      cuda_version_text(status.runtime), cuda_version_text(status.driver),
      cudnn_version_text(status.cudnn.version), cublas_version_text(status.cublaslt.version));
}

}  // namespace ddpmts::cuda
