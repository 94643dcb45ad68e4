// kernels/cuda/shared.cuh for the host: the same two types, whose element access is checked against bounds, unwritten
// memory and races.
#pragma once

#include <concepts>
#include <type_traits>

#include "tests/shim/block.h"

namespace ddpmts::kernels::cuda {

/// An index and the source line that it stands on.
struct SharedIndex {
  template <std::integral I>
  SharedIndex(I i, const char* file = __builtin_FILE(), int line = __builtin_LINE())
      : value(static_cast<std::int64_t>(i)), site{file, line} {}
  std::int64_t value;
  shim::Site site;
};

template <class T>
struct SharedAddress {
  T* value;
  shim::SharedCell* cells;
  std::size_t cell_count;
  shim::Site site;
  std::int64_t index;
  void touch(shim::AccessKind kind) const { shim::touch_shared(cells, cell_count, kind, site, index); }
};

/// What `shared[i]` gives: read it into a variable of the element's type, or assign to it. It does not outlive the
/// expression: `auto x = shared[i];` compiles, but x cannot be used.
template <class T>
class SharedReference {
 public:
  explicit SharedReference(const SharedAddress<T>& address) : address_(address) {}
  SharedReference(const SharedReference&) = delete;

  operator T() && {
    address_.touch(shim::AccessKind::read);
    return *address_.value;
  }
  void operator=(const T& value) && {
    address_.touch(shim::AccessKind::write);
    *address_.value = value;
  }
  void operator=(SharedReference&& other) && {
    const T value = std::move(other);
    std::move(*this) = value;
  }
  void operator+=(const T& value) && {
    address_.touch(shim::AccessKind::read);
    address_.touch(shim::AccessKind::write);
    *address_.value += value;
  }
  SharedAddress<T> operator&() && { return address_; }

 private:
  SharedAddress<T> address_;
};

template <class T, int kCount>
class SharedArray {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  SharedReference<T> operator[](SharedIndex i) {
    if (i.value < 0 || i.value >= kCount) {
      shim::fail("shared element [" + std::to_string(i.value) + "] of " + std::to_string(kCount) + " at " +
                 i.site.file + ":" + std::to_string(i.site.line));
    }
    return SharedReference<T>({&values_[i.value], &cells_[i.value], 1, i.site, i.value});
  }

 private:
  T values_[kCount];
  shim::SharedCell cells_[kCount];
};

template <class T>
class DynamicShared {
 public:
  DynamicShared(T* values, shim::SharedCell* cells, std::int64_t count)
      : values_(values), cells_(cells), count_(count) {}
  SharedReference<T> operator[](SharedIndex i) const {
    if (i.value < 0 || i.value >= count_) {
      shim::fail("dynamic shared element [" + std::to_string(i.value) + "] of " + std::to_string(count_) +
                 " at " + i.site.file + ":" + std::to_string(i.site.line));
    }
    return SharedReference<T>({values_ + i.value, cells_ + i.value * sizeof(T), sizeof(T), i.site, i.value});
  }

 private:
  T* values_;
  shim::SharedCell* cells_;
  std::int64_t count_;
};

template <class T>
DynamicShared<T> dynamic_shared(std::int64_t count, std::int64_t byte_offset = 0) {
  const shim::DynamicSharedMemory memory = shim::dynamic_shared_memory();
  const std::uintptr_t start = (reinterpret_cast<std::uintptr_t>(memory.bytes) + 127) / 128 * 128;
  const std::int64_t bytes = byte_offset + count * static_cast<std::int64_t>(sizeof(T));
  if (byte_offset < 0 || byte_offset % static_cast<std::int64_t>(alignof(T)) != 0 ||
      bytes > static_cast<std::int64_t>(memory.size)) {
    shim::fail("dynamic shared memory: bytes " + std::to_string(byte_offset) + " to " +
               std::to_string(bytes) + " of the " + std::to_string(memory.size) +
               " that the launch asked for, or misaligned");
  }
  return DynamicShared<T>(reinterpret_cast<T*>(start) + byte_offset / static_cast<std::int64_t>(sizeof(T)),
                          memory.cells + byte_offset, count);
}

}  // namespace ddpmts::kernels::cuda

template <class T>
T atomicAdd(const ddpmts::kernels::cuda::SharedAddress<T>& address, std::type_identity_t<T> value) {
  static_assert(std::is_integral_v<T>, "sums of floats by atomics depend on the order: use block_sum");
  address.touch(ddpmts::shim::AccessKind::atomic);
  const T before = *address.value;
  *address.value = before + value;
  return before;
}
template <class T>
T atomicMax(const ddpmts::kernels::cuda::SharedAddress<T>& address, std::type_identity_t<T> value) {
  static_assert(std::is_integral_v<T>);
  address.touch(ddpmts::shim::AccessKind::atomic);
  const T before = *address.value;
  *address.value = before < value ? value : before;
  return before;
}
