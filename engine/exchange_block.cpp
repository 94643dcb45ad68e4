#include "engine/exchange_block.h"

#include <cstring>
#include <utility>

namespace ddpmts {

ExchangeBlock::ExchangeBlock(Device device, std::size_t bytes) : there_(device, bytes) {
  fill_zero(there_.data(), device, bytes);
  if (!device.is_cuda() || bytes == 0) return;
  here_ = cuda::allocate_pinned(device.index, bytes);
  std::memset(here_, 0, bytes);
}

ExchangeBlock::~ExchangeBlock() {
  if (here_ != nullptr) cuda::release_pinned(there_.device().index, here_);
}

ExchangeBlock::ExchangeBlock(ExchangeBlock&& other) noexcept
    : there_(std::move(other.there_)), here_(std::exchange(other.here_, nullptr)) {}

ExchangeBlock& ExchangeBlock::operator=(ExchangeBlock&& other) noexcept {
  std::swap(there_, other.there_);
  std::swap(here_, other.here_);
  return *this;
}

void ExchangeBlock::send() const {
  if (here_ != nullptr) cuda::copy_pinned(there_.device().index, there_.data(), here_, bytes(), true);
}

void ExchangeBlock::fetch() const {
  if (here_ != nullptr) cuda::copy_pinned(there_.device().index, here_, there_.data(), bytes(), false);
}

}  // namespace ddpmts
