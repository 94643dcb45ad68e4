// Device memory below the caching allocator, and copies through pinned memory.
//
// A copy to the device is written into a pinned slot and enqueued from there: the source may be reused at once and the
// host does not wait, unless every slot is still in flight. A copy to the host waits for the device.
#include "engine/memory.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <mutex>

#include "engine/cuda/check.h"
#include "engine/cuda/context.h"

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

}  // namespace

void* allocate(int device, std::size_t bytes) {
  stream(device);
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
  } else if (dst_is_device) {
    staging(device).to_device(static_cast<std::byte*>(dst), static_cast<const std::byte*>(src), bytes, on);
  } else {
    staging(device).to_host(static_cast<std::byte*>(dst), static_cast<const std::byte*>(src), bytes, on);
  }
}

void zero(int device, void* dst, std::size_t bytes) {
  DDPMTS_CUDA_CHECK(cudaMemsetAsync(dst, 0, bytes, stream(device)));
}

}  // namespace ddpmts::cuda
