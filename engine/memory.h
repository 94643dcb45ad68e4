// Memory: a caching allocator per device. After the first training step nothing is asked of the system any
// more.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <type_traits>

#include "engine/device.h"

namespace ddpmts {

/// Counters of one device's allocator; bytes after rounding.
struct MemoryStats {
  std::size_t in_use = 0;
  std::size_t peak = 0;                ///< highest `in_use` since the start or reset_peak_memory
  std::size_t reserved = 0;            ///< held from the system, in use or cached
  std::size_t system_allocations = 0;  ///< calls to the system so far
};

/// A block of device memory, returned to its allocator's cache on destruction. 64-byte aligned on the CPU,
/// 512 on a GPU.
class Buffer {
 public:
  Buffer() = default;
  /// Throws DeviceError when the system has no more; the message says what was asked and what is held.
  Buffer(Device device, std::size_t bytes);
  ~Buffer();
  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  void* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }
  Device device() const { return device_; }

 private:
  Device device_;
  void* data_ = nullptr;
  std::size_t bytes_ = 0;     // as asked
  std::size_t capacity_ = 0;  // as rounded
};

MemoryStats memory_stats(Device device);
void reset_peak_memory(Device device);
/// Gives cached blocks back to the system.
void release_cached_memory(Device device);

/// Copies between devices or within one. The source may be reused when this returns; a copy to the host waits for what
/// the device has to do before it.
void copy_bytes(void* dst, Device dst_device, const void* src, Device src_device, std::size_t bytes);
void fill_zero(void* dst, Device device, std::size_t bytes);

/// A copy of host values in the device's memory: for the structs that kernels read there.
template <class T>
Buffer upload(std::span<const T> values, Device device) {
  static_assert(std::is_trivially_copyable_v<T>);
  Buffer copy(device, values.size_bytes());
  copy_bytes(copy.data(), device, values.data(), {}, values.size_bytes());
  return copy;
}

namespace cpu {
void* allocate(std::size_t bytes);  ///< null when the system refuses
void release(void* data);
}  // namespace cpu
namespace cuda {
void* allocate(int device, std::size_t bytes);  ///< null when the device has no more
void release(int device, void* data);
struct MemoryInfo {
  std::size_t free = 0, total = 0;  ///< bytes of the device, other processes' included
};
MemoryInfo memory_info(int device);
void copy(int device, void* dst, bool dst_is_device, const void* src, bool src_is_device, std::size_t bytes);
void zero(int device, void* dst, std::size_t bytes);
}  // namespace cuda

}  // namespace ddpmts
