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

thread_local int lasting_scopes = 0;
thread_local GraphMemory* graph_memory = nullptr;  // of the scope that this thread is in

double mebibytes(std::size_t bytes) { return static_cast<double>(bytes) / 1048576.0; }

}  // namespace

class CachingAllocator {
 public:
  explicit CachingAllocator(Device device) : device_(device) {}

  std::pair<void*, std::size_t> allocate(std::size_t bytes) {
    const std::size_t capacity = round_up(bytes);
    GraphMemory* const graph = graph_of_this_thread();
    if (graph != nullptr && lasting_scopes > 0) {
      throw_error<DeviceError>(
          "{}: a captured step makes {:.1f} MiB that are to last; what lasts must be there before the "
          "capture",
          device_.name(), mebibytes(bytes));
    }
    const std::lock_guard lock(mutex_);
    if (graph != nullptr) {
      if (void* data = take(graph->free_, capacity); data != nullptr) return {data, capacity};
    }
    void* data = lasting_scopes > 0 ? nullptr : take(cached_, capacity);
    if (data == nullptr) data = ask_system(bytes, capacity, graph == nullptr);
    stats_.in_use += capacity;
    stats_.peak = std::max(stats_.peak, stats_.in_use);
    if (graph != nullptr) {
      owners_[data] = graph;
      graph->bytes_ += capacity;
    }
    return {data, capacity};
  }

  void release(void* data, std::size_t capacity) noexcept {
    GraphMemory* const graph = graph_of_this_thread();
    const std::lock_guard lock(mutex_);
    if (const auto owner = owners_.find(data); owner != owners_.end()) {
      owner->second->free_[capacity].push_back(data);
    } else if (graph != nullptr) {
      graph->kept_.emplace_back(data, capacity);
      graph->bytes_ += capacity;
    } else {
      give_back(data, capacity);
    }
  }

  /// The blocks of a graph that is no more.
  void release(GraphMemory& graph) {
    const std::lock_guard lock(mutex_);
    for (const auto& [capacity, blocks] : graph.free_) {
      for (void* data : blocks) give_back(data, capacity);
    }
    for (const auto& [data, capacity] : graph.kept_) give_back(data, capacity);
    std::erase_if(owners_, [&graph](const auto& entry) { return entry.second == &graph; });
  }

  std::size_t bytes_of(const GraphMemory& graph) {
    const std::lock_guard lock(mutex_);
    return graph.bytes_;
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
  using Blocks = std::unordered_map<std::size_t, std::vector<void*>>;

  GraphMemory* graph_of_this_thread() const {
    return graph_memory != nullptr && graph_memory->device_ == device_ ? graph_memory : nullptr;
  }

  void give_back(void* data, std::size_t capacity) {
    stats_.in_use -= capacity;
    cached_[capacity].push_back(data);
  }

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

  static void* take(Blocks& from, std::size_t capacity) {
    const auto found = from.find(capacity);
    if (found == from.end() || found->second.empty()) return nullptr;
    void* data = found->second.back();
    found->second.pop_back();
    return data;
  }

  void* ask_system(std::size_t bytes, std::size_t capacity, bool may_release) {
    void* data = allocate_block(capacity);
    if (data == nullptr && may_release) {  // what is cached in other sizes may be enough
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
  Blocks cached_;
  std::unordered_map<void*, GraphMemory*> owners_;  // of the blocks that belong to graphs
  MemoryStats stats_;
};

namespace {

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

LastingMemory::LastingMemory() { ++lasting_scopes; }
LastingMemory::~LastingMemory() { --lasting_scopes; }

GraphMemory::GraphMemory(Device device) : device_(device) {}
GraphMemory::~GraphMemory() { allocator(device_).release(*this); }
std::size_t GraphMemory::bytes() const { return allocator(device_).bytes_of(*this); }

GraphMemory::Scope::Scope(GraphMemory& memory) : previous_(std::exchange(graph_memory, &memory)) {}
GraphMemory::Scope::~Scope() { graph_memory = previous_; }

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
