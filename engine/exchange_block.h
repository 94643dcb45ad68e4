// A little memory that host and device both have, for what a step takes from the host (recipes, rates) and gives back
// (losses, norms).
#pragma once

#include "engine/error.h"
#include "engine/memory.h"

namespace ddpmts {

/// On a GPU: pinned host memory and as much of the device's, with copies between them that are enqueued, not waited for.
/// Where a step is captured as a graph, the copies are part of it: every replay sends what the host's side holds then. The
/// host must not write while a copy may still be under way: after synchronize(device) it is over.
/// On the CPU both sides are the same memory, and the copies do nothing.
class ExchangeBlock {
 public:
  ExchangeBlock() = default;
  /// Both sides start as zeros. Throws DeviceError when there is no memory.
  ExchangeBlock(Device device, std::size_t bytes);
  ~ExchangeBlock();
  ExchangeBlock(ExchangeBlock&& other) noexcept;
  ExchangeBlock& operator=(ExchangeBlock&& other) noexcept;
  ExchangeBlock(const ExchangeBlock&) = delete;
  ExchangeBlock& operator=(const ExchangeBlock&) = delete;

  std::size_t bytes() const { return there_.bytes(); }
  /// The host's side, as many T as fit.
  template <class T>
  std::span<T> host() const {
    static_assert(std::is_trivially_copyable_v<T>);
    return {static_cast<T*>(here_ != nullptr ? here_ : there_.data()), bytes() / sizeof(T)};
  }
  /// The device's side.
  template <class T>
  T* on_device() const {
    return static_cast<T*>(there_.data());
  }

  void send() const;   ///< enqueues host → device
  void fetch() const;  ///< enqueues device → host

 private:
  Buffer there_;
  void* here_ = nullptr;  // pinned; null on the CPU
};

}  // namespace ddpmts
