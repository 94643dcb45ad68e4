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

struct Handle {
  std::unique_ptr<cudnnContext, DestroyHandle> handle;
  cudaStream_t stream = nullptr;  // that it works on
};

// Where the calling thread works.
struct Place {
  int device = -1;
  cudaStream_t own = nullptr;     // the device's stream
  cudaStream_t stream = nullptr;  // the same, or the one that the thread captures a graph on
};
thread_local Place here;

}  // namespace

cudaStream_t stream(int device) {
  // A thread that stays on one device pays for one comparison.
  if (device == here.device) return here.stream;
  if (capturing()) {
    throw_error<DeviceError>("a graph of cuda:{} cannot hold work of cuda:{}", here.device, device);
  }
  if (const std::string reason = refusal(cuda_status(), device); !reason.empty()) throw DeviceError(reason);
  DDPMTS_CUDA_CHECK(cudaSetDevice(device));
  here.device = -1;  // until all below has worked
  if (!kernels_fit_current_device()) {
    throw DeviceError(no_kernels_text(cuda_status().gpus[static_cast<std::size_t>(device)], device));
  }
  static std::mutex mutex;
  static auto* streams =
      new std::map<int, cudaStream_t>;  // never destroyed: other statics may still hold buffers
  const std::lock_guard lock(mutex);
  cudaStream_t& entry = (*streams)[device];
  if (entry == nullptr) DDPMTS_CUDA_CHECK(cudaStreamCreateWithFlags(&entry, cudaStreamNonBlocking));
  here = {device, entry, entry};
  return entry;
}

void redirect_stream(cudaStream_t to) { here.stream = to != nullptr ? to : here.own; }

bool capturing() { return here.stream != here.own; }

void require_not_capturing(const char* what) {
  if (!capturing()) return;
  throw_error<DeviceError>("cuda:{}: {} is no part of a captured step", here.device, what);
}

cudnnContext* cudnn_handle(int device) {
  const cudaStream_t on = stream(device);
  thread_local std::map<int, Handle> handles;
  Handle& entry = handles[device];
  if (!entry.handle) {
    cudnnHandle_t made = nullptr;
    check_cudnn(cudnnCreate(&made), "cudnnCreate", device);
    entry.handle.reset(made);
  }
  if (entry.stream != on) {
    check_cudnn(cudnnSetStream(entry.handle.get(), on), "cudnnSetStream", device);
    entry.stream = on;
  }
  return entry.handle.get();
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
