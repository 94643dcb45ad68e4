// The device's own questions: can it be used, what is it, which stream.
#include "engine/cuda/availability.h"
#include "engine/cuda/check.h"
#include "engine/cuda/context.h"
#include "engine/cuda/primitives.h"

namespace ddpmts::cuda {

const bool kInThisBuild = true;

void require(int device) { stream(device); }

bool has_fast_bf16(int device) { return compute_capability(device) >= 80; }

std::string describe(int device) {
  require(device);
  return describe(cuda_status(), device);
}

kernels::Stream current_stream(int device) { return kernel_stream(device); }

void synchronize(int device) {
  require_not_capturing("waiting for the device");
  DDPMTS_CUDA_CHECK(cudaStreamSynchronize(stream(device)));
}

std::vector<std::string> report() {
  const CudaStatus& status = cuda_status();
  std::vector<std::string> lines;
  for (int i = 0; i < static_cast<int>(status.gpus.size()); ++i) {
    try {
      lines.push_back("cuda:" + std::to_string(i) + " " + describe(i));
    } catch (const DeviceError& e) {
      lines.push_back(e.what());
    }
  }
  if (lines.empty()) lines.push_back("in this build; " + refusal(status, 0));
  return lines;
}

}  // namespace ddpmts::cuda
