#include "engine/cuda/context.h"

#include <cudnn.h>
#include <nvtx3/nvToolsExt.h>

#include <map>
#include <memory>
#include <mutex>

#include "engine/cuda/availability.h"
#include "engine/cuda/check.h"
#include "engine/cuda/device_kernels.h"
#include "engine/error.h"

namespace ddpmts::cuda {
namespace {

void check_cudnn(cudnnStatus_t status, const char* call, int device) {
  if (status == CUDNN_STATUS_SUCCESS) return;
  throw_error<DeviceError>("{} failed on cuda:{}: {}", call, device, cudnnGetErrorString(status));
}

struct DestroyHandle {
  void operator()(cudnnContext* handle) const { cudnnDestroy(handle); }
};

}  // namespace

cudaStream_t stream(int device) {
  // A thread that stays on one device pays for two comparisons.
  thread_local int current = -1;
  thread_local cudaStream_t stream_of_current = nullptr;
  if (device == current) return stream_of_current;

  if (const std::string reason = refusal(cuda_status(), device); !reason.empty()) throw DeviceError(reason);
  DDPMTS_CUDA_CHECK(cudaSetDevice(device));
  current = -1;  // until all below has worked
  if (!kernels_fit_current_device()) {
    throw DeviceError(no_kernels_text(cuda_status().gpus[static_cast<std::size_t>(device)], device));
  }
  static std::mutex mutex;
  static auto* streams =
      new std::map<int, cudaStream_t>;  // never destroyed: other statics may still hold buffers
  const std::lock_guard lock(mutex);
  cudaStream_t& entry = (*streams)[device];
  if (entry == nullptr) DDPMTS_CUDA_CHECK(cudaStreamCreateWithFlags(&entry, cudaStreamNonBlocking));
  current = device;
  stream_of_current = entry;
  return entry;
}

cudnnContext* cudnn_handle(int device) {
  const cudaStream_t on = stream(device);
  thread_local std::map<int, std::unique_ptr<cudnnContext, DestroyHandle>> handles;
  auto& entry = handles[device];
  if (!entry) {
    cudnnHandle_t handle = nullptr;
    check_cudnn(cudnnCreate(&handle), "cudnnCreate", device);
    entry.reset(handle);
    check_cudnn(cudnnSetStream(handle, on), "cudnnSetStream", device);
  }
  return entry.get();
}

int compute_capability(int device) {
  stream(device);
  const Gpu& gpu = cuda_status().gpus[static_cast<std::size_t>(device)];
  return 10 * gpu.major + gpu.minor;
}

void require_arithmetic(int device, DType type) {
  if (type != DType::bf16 || has_fast_bf16({DeviceType::cuda, device})) return;
  throw_error<DeviceError>(
      "cuda:{} (sm_{}) has no bf16 arithmetic, which starts with sm_80: use --precision f32", device,
      compute_capability(device));
}

ProfilerRange::ProfilerRange(const char* name) { nvtxRangePushA(name); }
ProfilerRange::~ProfilerRange() { nvtxRangePop(); }

}  // namespace ddpmts::cuda
