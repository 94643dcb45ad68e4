// Device memory below the caching allocator, and copies through pinned memory.
//
// A copy to the device is written into a pinned slot and enqueued from there: the source may be reused at once and the
// host does not wait, unless every slot is still in flight. A copy to the host waits for the device.
#include "engine/memory.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <map>
#include <mutex>

#include "engine/cuda/check.h"
#include "engine/cuda/context.h"
#include "engine/cuda/primitives.h"

namespace ddpmts::cuda {
namespace {

class Staging {
 public:
  void to_device(std::byte* dst, const std::byte* src, std::size_t bytes, cudaStream_t on) {
    const std::lock_guard lock(mutex_);
    while (bytes > 0) {
      const std::size_t part = std::min(bytes, kSlotBytes);
      Slot& slot = take();
      std::memcpy(slot.data, src, part);
      DDPMTS_CUDA_CHECK(cudaMemcpyAsync(dst, slot.data, part, cudaMemcpyHostToDevice, on));
      DDPMTS_CUDA_CHECK(cudaEventRecord(slot.done, on));
      dst += part;
      src += part;
      bytes -= part;
    }
  }

  // The next part is on its way while one is copied out of its slot.
  void to_host(std::byte* dst, const std::byte* src, std::size_t bytes, cudaStream_t on) {
    const std::lock_guard lock(mutex_);
    Slot* arriving = nullptr;
    std::size_t arriving_bytes = 0;
    const auto unload = [&] {
      if (arriving == nullptr) return;
      DDPMTS_CUDA_CHECK(cudaEventSynchronize(arriving->done));
      std::memcpy(dst, arriving->data, arriving_bytes);
      dst += arriving_bytes;
    };
    while (bytes > 0) {
      const std::size_t part = std::min(bytes, kSlotBytes);
      Slot& slot = take();
      DDPMTS_CUDA_CHECK(cudaMemcpyAsync(slot.data, src, part, cudaMemcpyDeviceToHost, on));
      DDPMTS_CUDA_CHECK(cudaEventRecord(slot.done, on));
      unload();
      arriving = &slot;
      arriving_bytes = part;
      src += part;
      bytes -= part;
    }
    unload();
  }

 private:
  static constexpr std::size_t kSlotBytes = std::size_t{2} << 20;
  struct Slot {
    void* data = nullptr;
    cudaEvent_t done = nullptr;
  };

  // The slot that was used longest ago, once what used it is over.
  Slot& take() {
    Slot& slot = slots_[next_];
    next_ = (next_ + 1) % slots_.size();
    if (slot.data == nullptr) DDPMTS_CUDA_CHECK(cudaMallocHost(&slot.data, kSlotBytes));
    if (slot.done == nullptr) {
      DDPMTS_CUDA_CHECK(cudaEventCreateWithFlags(&slot.done, cudaEventDisableTiming));
    } else {
      DDPMTS_CUDA_CHECK(cudaEventSynchronize(slot.done));
    }
    return slot;
  }

  std::mutex mutex_;
  std::array<Slot, 16> slots_;
  std::size_t next_ = 0;
};

// Never destroyed: the driver may be gone by then.
Staging& staging(int device) {
  static std::mutex mutex;
  static auto* all = new std::map<int, Staging>;
  const std::lock_guard lock(mutex);
  return (*all)[device];
}

// Memory is there at once, also while this thread captures a graph: CUDA is told that this is meant.
class AllocatingInCapture {
 public:
  AllocatingInCapture() { DDPMTS_CUDA_CHECK(cudaThreadExchangeStreamCaptureMode(&mode_)); }
  ~AllocatingInCapture() { DDPMTS_CUDA_REPORT(cudaThreadExchangeStreamCaptureMode(&mode_)); }
  AllocatingInCapture(const AllocatingInCapture&) = delete;
  AllocatingInCapture& operator=(const AllocatingInCapture&) = delete;

 private:
  cudaStreamCaptureMode mode_ = cudaStreamCaptureModeRelaxed;
};

}  // namespace

void* allocate(int device, std::size_t bytes) {
  stream(device);
  const AllocatingInCapture allowed;
  void* data = nullptr;
  const cudaError_t error = cudaMalloc(&data, bytes);
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    return nullptr;
  }
  check(error, "cudaMalloc", __FILE__, __LINE__);
  return data;
}

void release(int, void* data) { DDPMTS_CUDA_REPORT(cudaFree(data)); }

void* allocate_pinned(int device, std::size_t bytes) {
  stream(device);
  require_not_capturing("allocating pinned memory");
  void* data = nullptr;
  DDPMTS_CUDA_CHECK(cudaMallocHost(&data, bytes));
  return data;
}

void release_pinned(int device, void* data) noexcept {
  try {
    synchronize(device);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
  }
  DDPMTS_CUDA_REPORT(cudaFreeHost(data));
}

void copy_pinned(int device, void* dst, const void* src, std::size_t bytes, bool to_device) {
  DDPMTS_CUDA_CHECK(cudaMemcpyAsync(
      dst, src, bytes, to_device ? cudaMemcpyHostToDevice : cudaMemcpyDeviceToHost, stream(device)));
}

MemoryInfo memory_info(int device) {
  stream(device);
  MemoryInfo info;
  DDPMTS_CUDA_CHECK(cudaMemGetInfo(&info.free, &info.total));
  return info;
}

void copy(int device, void* dst, bool dst_is_device, const void* src, bool src_is_device, std::size_t bytes) {
  const cudaStream_t on = stream(device);
  if (dst_is_device && src_is_device) {
    DDPMTS_CUDA_CHECK(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDefault, on));
    return;
  }
  require_not_capturing(dst_is_device ? "a copy of host values to the device"
                                      : "a copy of results to the host");
  if (dst_is_device) {
    staging(device).to_device(static_cast<std::byte*>(dst), static_cast<const std::byte*>(src), bytes, on);
  } else {
    staging(device).to_host(static_cast<std::byte*>(dst), static_cast<const std::byte*>(src), bytes, on);
  }
}

void zero(int device, void* dst, std::size_t bytes) {
  DDPMTS_CUDA_CHECK(cudaMemsetAsync(dst, 0, bytes, stream(device)));
}

}  // namespace ddpmts::cuda
