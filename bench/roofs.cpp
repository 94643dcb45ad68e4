#include "bench/roofs.h"

#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "bench/machine.h"
#include "bench/table.h"
#include "engine/primitives.h"
#include "engine/tensor.h"

namespace ddpmts::bench {
namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;
constexpr std::size_t kCopies[] = {kMiB / 2, 8 * kMiB, 128 * kMiB};

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Shortest time of one call: the roof is what the machine can do, not what it does on average. Short calls are timed in
// groups of at least 200 µs.
template <class F>
double shortest(Device device, F&& call) {
  const auto timed = [&](int calls) {
    const double start = seconds_now();
    for (int i = 0; i < calls; ++i) call();
    synchronize(device);
    return (seconds_now() - start) / calls;
  };
  timed(1);
  const int calls = std::clamp(static_cast<int>(200e-6 / timed(1)) + 1, 1, 1000);
  double least = timed(calls);
  for (int i = 0; i < 8; ++i) least = std::min(least, timed(calls));
  return least;
}

double measured_product(Device device, DType type) {
  const std::int64_t side = device.is_cuda() ? 8192 : 2048;
  const Tensor a = Tensor::zeros({side, side}, type, device), b = Tensor::zeros({side, side}, type, device);
  const Tensor c = Tensor::empty({side, side}, type, device);
  const MatmulShape shape{side, side, side, false, false, type, type};
  return shape.flops() / shortest(device, [&] { matmul(device, shape, a.raw(), b.raw(), nullptr, c.raw()); });
}

// Each thread's part of a block.
template <class F>
void for_each_part(std::size_t bytes, F&& f) {
#pragma omp parallel
  {
    const auto threads = static_cast<std::size_t>(omp_get_num_threads());
    const auto thread = static_cast<std::size_t>(omp_get_thread_num());
    const std::size_t begin = bytes / threads * thread;
    const std::size_t end = thread + 1 == threads ? bytes : bytes / threads * (thread + 1);
    f(begin, end - begin);
  }
}

}  // namespace

void copy_with_all(Device device, void* dst, const void* src, std::size_t bytes) {
  if (device.is_cuda()) {
    copy_bytes(dst, device, src, device, bytes);
    return;
  }
  for_each_part(bytes, [&](std::size_t begin, std::size_t count) {
    std::memcpy(static_cast<std::byte*>(dst) + begin, static_cast<const std::byte*>(src) + begin, count);
  });
}

CacheFlush::CacheFlush(Device device) {
  const double cache = device.is_cuda() ? 0.0 : last_level_cache_bytes();
  to_ = Buffer(device, cache > 0.0 ? std::min(static_cast<std::size_t>(cache), 512 * kMiB) : 256 * kMiB);
}

void CacheFlush::operator()() const {
  if (to_.device().is_cuda()) {
    fill_zero(to_.data(), to_.device(), to_.bytes());
    return;
  }
  for_each_part(to_.bytes(), [&](std::size_t begin, std::size_t count) {
    std::memset(static_cast<std::byte*>(to_.data()) + begin, 0, count);
  });
}

Roofs Roofs::measure(Device device) {
  Roofs roofs;
  for (const std::size_t bytes : kCopies) {
    const Buffer from(device, bytes), to(device, bytes);
    fill_zero(from.data(), device, bytes);
    const double seconds = shortest(device, [&] { copy_with_all(device, to.data(), from.data(), bytes); });
    roofs.copies_.push_back({bytes, 2.0 * static_cast<double>(bytes) / seconds});
  }
  roofs.products_[DType::f32] = measured_product(device, DType::f32);
  if (has_fast_bf16(device)) roofs.products_[DType::bf16] = measured_product(device, DType::bf16);
  return roofs;
}

double Roofs::copy_rate(double bytes) const {
  for (const Copy& copy : copies_) {
    if (2.0 * static_cast<double>(copy.bytes) >= bytes) return copy.bytes_per_second;
  }
  return copies_.empty() ? 0.0 : copies_.back().bytes_per_second;
}

double Roofs::product_rate(DType type) const {
  const auto found = products_.find(type);
  if (found != products_.end()) return found->second;
  const auto f32 = products_.find(DType::f32);
  return f32 == products_.end() ? 0.0 : f32->second;
}

RoofShare Roofs::share(double bytes, double flops, DType type, double seconds) const {
  const double copying = bytes > 0.0 && copy_rate(bytes) > 0.0 ? bytes / copy_rate(bytes) : 0.0;
  const double multiplying = flops > 0.0 && product_rate(type) > 0.0 ? flops / product_rate(type) : 0.0;
  if (seconds <= 0.0 || std::max(copying, multiplying) <= 0.0) return {};
  return {copying > multiplying ? "copy" : "product", std::max(copying, multiplying) / seconds};
}

std::map<std::string, double> Roofs::named(Device device) const {
  std::map<std::string, double> rates;
  for (const Copy& copy : copies_) {
    rates[fmt::format("{} copy {}", device.name(), bytes_text(static_cast<double>(copy.bytes)))] =
        copy.bytes_per_second;
  }
  for (const auto& [type, rate] : products_)
    rates[fmt::format("{} product {}", device.name(), name_of(type))] = rate;
  return rates;
}

}  // namespace ddpmts::bench
