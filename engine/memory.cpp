#include "engine/memory.h"

#include <cstring>
#include <map>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/error.h"

namespace ddpmts {
namespace {

// Sizes are rounded so that blocks are reused: to 512 bytes, and above 1 MiB to an eighth of the power of two
// below.
std::size_t round_up(std::size_t bytes) {
  std::size_t step = 512;
  if (bytes > (std::size_t{1} << 20)) {
    while (step * 16 <= bytes) step *= 2;
  }
  return (bytes + step - 1) / step * step;
}

double mebibytes(std::size_t bytes) { return static_cast<double>(bytes) / 1048576.0; }

class CachingAllocator {
 public:
  explicit CachingAllocator(Device device) : device_(device) {}

  std::pair<void*, std::size_t> allocate(std::size_t bytes) {
    const std::size_t capacity = round_up(bytes);
    const std::lock_guard lock(mutex_);
    void* data = take_cached(capacity);
    if (data == nullptr) data = ask_system(bytes, capacity);
    stats_.in_use += capacity;
    stats_.peak = std::max(stats_.peak, stats_.in_use);
    return {data, capacity};
  }

  void release(void* data, std::size_t capacity) noexcept {
    const std::lock_guard lock(mutex_);
    stats_.in_use -= capacity;
    cached_[capacity].push_back(data);
  }

  void release_cached() {
    const std::lock_guard lock(mutex_);
    release_blocks();
  }

  MemoryStats stats() {
    const std::lock_guard lock(mutex_);
    return stats_;
  }

  void reset_peak() {
    const std::lock_guard lock(mutex_);
    stats_.peak = stats_.in_use;
  }

 private:
  void* allocate_block(std::size_t capacity) {
    return device_.is_cuda() ? cuda::allocate(device_.index, capacity) : cpu::allocate(capacity);
  }

  void release_blocks() {
    for (auto& [capacity, blocks] : cached_) {
      for (void* block : blocks) {
        device_.is_cuda() ? cuda::release(device_.index, block) : cpu::release(block);
        stats_.reserved -= capacity;
      }
      blocks.clear();
    }
  }

  void* take_cached(std::size_t capacity) {
    const auto found = cached_.find(capacity);
    if (found == cached_.end() || found->second.empty()) return nullptr;
    void* data = found->second.back();
    found->second.pop_back();
    return data;
  }

  void* ask_system(std::size_t bytes, std::size_t capacity) {
    void* data = allocate_block(capacity);
    if (data == nullptr) {  // what is cached in other sizes may be enough
      release_blocks();
      data = allocate_block(capacity);
    }
    if (data == nullptr) {
      throw_error<DeviceError>(
          "out of memory on {}: asked for {:.1f} MiB while holding {:.1f} MiB{}; a smaller --batch, --size "
          "or --head needs "
          "less",
          device_.name(), mebibytes(bytes), mebibytes(stats_.reserved), room());
    }
    stats_.reserved += capacity;
    ++stats_.system_allocations;
    return data;
  }

  // What the device has left, on a GPU.
  std::string room() const {
    if (!device_.is_cuda()) return "";
    const cuda::MemoryInfo info = cuda::memory_info(device_.index);
    return fmt::format(" ({:.1f} of {:.1f} MiB are free)", mebibytes(info.free), mebibytes(info.total));
  }

  Device device_;
  std::mutex mutex_;
  std::unordered_map<std::size_t, std::vector<void*>> cached_;
  MemoryStats stats_;
};

// Allocators outlive every Buffer, also those in other statics: never destroyed.
CachingAllocator& allocator(Device device) {
  static std::mutex mutex;
  static auto* allocators = new std::map<std::pair<DeviceType, int>, std::unique_ptr<CachingAllocator>>;
  const std::lock_guard lock(mutex);
  auto& entry = (*allocators)[{device.type, device.index}];
  if (!entry) entry = std::make_unique<CachingAllocator>(device);
  return *entry;
}

}  // namespace

Buffer::Buffer(Device device, std::size_t bytes) : device_(device), bytes_(bytes) {
  if (bytes > 0) std::tie(data_, capacity_) = allocator(device).allocate(bytes);
}

Buffer::~Buffer() {
  if (data_ != nullptr) allocator(device_).release(data_, capacity_);
}

Buffer::Buffer(Buffer&& other) noexcept
    : device_(other.device_),
      data_(std::exchange(other.data_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)),
      capacity_(std::exchange(other.capacity_, 0)) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  std::swap(device_, other.device_);
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  std::swap(capacity_, other.capacity_);
  return *this;
}

MemoryStats memory_stats(Device device) { return allocator(device).stats(); }
void reset_peak_memory(Device device) { allocator(device).reset_peak(); }
void release_cached_memory(Device device) { allocator(device).release_cached(); }

void copy_bytes(void* dst, Device dst_device, const void* src, Device src_device, std::size_t bytes) {
  if (bytes == 0) return;
  if (!dst_device.is_cuda() && !src_device.is_cuda()) {
    std::memcpy(dst, src, bytes);
    return;
  }
  const Device gpu = dst_device.is_cuda() ? dst_device : src_device;
  if (dst_device.is_cuda() && src_device.is_cuda() && dst_device != src_device) synchronize(src_device);
  cuda::copy(gpu.index, dst, dst_device.is_cuda(), src, src_device.is_cuda(), bytes);
}

void fill_zero(void* dst, Device device, std::size_t bytes) {
  if (bytes == 0) return;
  device.is_cuda() ? cuda::zero(device.index, dst, bytes) : static_cast<void>(std::memset(dst, 0, bytes));
}

}  // namespace ddpmts
