// What a machine has of what the CUDA device needs, and how that is said. The messages are pure functions of a
// CudaStatus, so that they can be tested without any of it.
#pragma once

#include <string>
#include <vector>

#include "engine/cuda/libraries.h"

namespace ddpmts::cuda {

/// The oldest versions that the engine is written for.
constexpr std::size_t kOldestCudnn = 90100;
constexpr std::size_t kOldestCublaslt = 120000;

struct Gpu {
  std::string name;
  int major = 0, minor = 0;  ///< compute capability
  int multiprocessors = 0;
  std::size_t memory = 0;           ///< bytes
  int clock = 0, memory_clock = 0;  ///< highest, kHz; 0: not known
};

struct CudaStatus {
  int runtime = 0;              ///< the CUDA version that this program holds, e.g. 13000
  int driver = 0;               ///< the newest CUDA version that the driver runs; 0: no driver
  std::string no_gpus_because;  ///< CUDA's words when a driver is there and no GPU can be used
  std::vector<Gpu> gpus;
  LibraryStatus cudnn, cublaslt;
};

/// Asks the driver, opens the libraries. Never throws; the first answer is kept.
const CudaStatus& cuda_status();

/// "13.0" of 13000; "9.19.0" of 91900 (cuDNN 9 counts 10000·major + 100·minor + patch).
std::string cuda_version_text(int version);
std::string cudnn_version_text(std::size_t version);

/// One entry for each part that is missing or too old, with what is needed; empty when cuda:0 can be used.
std::vector<std::string> missing_parts(const CudaStatus& status);

/// Why cuda:`index` cannot be used, in one line with the way out; empty when it can.
std::string refusal(const CudaStatus& status, int index);
/// The line for a GPU that this build holds neither machine code nor PTX for.
std::string no_kernels_text(const Gpu& gpu, int index);

/// "NVIDIA H200, sm_90, 132 multiprocessors up to 1980 MHz, 139.8 GiB up to 3201 MHz, CUDA 13.0 (driver 13.0), cuDNN 9.19.0,
/// cuBLASLt 13.0.2"
std::string describe(const CudaStatus& status, int index);

}  // namespace ddpmts::cuda
