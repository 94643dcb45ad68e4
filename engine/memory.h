// Memory: a caching allocator per device. After the first training step nothing is asked of the system any
// more.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/device.h"

namespace ddpmts {

/// Counters of one device's allocator; bytes after rounding.
struct MemoryStats {
  std::size_t in_use = 0;              ///< by buffers, and kept for graphs
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

/// While one lives, what its thread allocates comes from the system, not from the cache: for what a first step makes and later
/// steps keep. In a recycled block it would make the second step ask for another.
class LastingMemory {
 public:
  LastingMemory();
  ~LastingMemory();
  LastingMemory(const LastingMemory&) = delete;
  LastingMemory& operator=(const LastingMemory&) = delete;
};

/// The memory of a captured graph, whose addresses may serve nothing else while the graph can be replayed. Thread-safe as
/// the device's allocator is; must not be destroyed before its scope.
class GraphMemory {
 public:
  explicit GraphMemory(Device device);
  /// What nobody holds goes back to the device's cache; the rest follows when it is released.
  ~GraphMemory();
  GraphMemory(const GraphMemory&) = delete;
  GraphMemory& operator=(const GraphMemory&) = delete;

  /// While it lives, what this thread allocates on the device is the graph's, and what it releases stays with the graph:
  /// the graph's own blocks are handed out again, to what comes later in the same stream; others are kept as they are,
  /// for something captured may read them. LastingMemory is an error there: what a graph makes exists only once it is
  /// replayed.
  class Scope {
   public:
    explicit Scope(GraphMemory& memory);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    GraphMemory* previous_;
  };

  /// Bytes that it keeps from other uses, whether or not a tensor holds them. They count as in use.
  std::size_t bytes() const;

 private:
  friend class CachingAllocator;
  Device device_;
  std::unordered_map<std::size_t, std::vector<void*>> free_;  // by size
  std::vector<std::pair<void*, std::size_t>> kept_;           // allocated elsewhere, released inside
  std::size_t bytes_ = 0;
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
/// Host memory that the device's copies reach without the host's help; released once the device has nothing left to do.
void* allocate_pinned(int device, std::size_t bytes);
void release_pinned(int device, void* data) noexcept;
/// Enqueues a copy between pinned and device memory, as part of a graph where one is captured.
void copy_pinned(int device, void* dst, const void* src, std::size_t bytes, bool to_device);
struct MemoryInfo {
  std::size_t free = 0, total = 0;  ///< bytes of the device, other processes' included
};
MemoryInfo memory_info(int device);
void copy(int device, void* dst, bool dst_is_device, const void* src, bool src_is_device, std::size_t bytes);
void zero(int device, void* dst, std::size_t bytes);
}  // namespace cuda

}  // namespace ddpmts
