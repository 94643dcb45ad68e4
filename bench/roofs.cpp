#include "bench/roofs.h"

#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "bench/machine.h"
#include "bench/table.h"
#include "engine/primitives.h"
#include "engine/tensor.h"

namespace ddpmts::bench {
namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;
constexpr std::size_t kSmallest = kMiB, kLargest = 256 * kMiB;  // footprints

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

double product_rate_of(Device device, DType type, std::int64_t side) {
  const Tensor a = Tensor::zeros({side, side}, type, device), b = Tensor::zeros({side, side}, type, device);
  const Tensor c = Tensor::empty({side, side}, type, device);
  const MatmulShape shape{side, side, side, false, false, type, type};
  return shape.flops() / shortest(device, [&] { matmul(device, shape, a.raw(), b.raw(), nullptr, c.raw()); });
}

// Without padding, so that Winograd's algorithm, which makes fewer products than are counted, does not take it.
double convolution_rate_of(Device device, DType type, std::int64_t side, std::int64_t channels) {
  const ConvShape shape = [&] {
    ConvShape s;
    s.n = 8, s.h = s.w = side + 2, s.c = s.k = channels;
    s.r = s.s = 3;
    s.type = type;
    return s;
  }();
  Parameter weight("roof", {channels, 3, 3, channels}, false, device);
  const Tensor x = Tensor::zeros({shape.n, shape.h, shape.w, channels}, type, device),
               y = Tensor::empty({shape.n, side, side, channels}, type, device);
  return shape.flops() / shortest(device, [&] { conv_forward(device, shape, x.raw(), weight, {}, y.raw()); });
}

double measured_product(Device device, DType type) {
  if (device.is_cuda()) return product_rate_of(device, type, 8192);
  double most = 0.0;
  for (const std::int64_t side : {512, 1024, 2048})
    most = std::max(most, product_rate_of(device, type, side));
  for (const std::int64_t side : {16, 32, 64}) {
    for (const std::int64_t channels : {128, 256})
      most = std::max(most, convolution_rate_of(device, type, side, channels));
  }
  return most;
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

// Integers, so that the compiler may use whole vectors; cloned for what the machine has.
__attribute__((target_clones("avx512f", "avx2", "default"))) void increment(std::uint64_t* x,
                                                                            std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) x[i] += 1;
}
__attribute__((target_clones("avx512f", "avx2", "default"))) std::uint64_t sum_of(const std::uint64_t* x,
                                                                                  std::size_t count) {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < count; ++i) sum += x[i];
  return sum;
}

// Past the caches: what a copy of more than they hold should do, and glibc's does only where it knows their size.
void copy_past_caches(void* dst, const void* src, std::size_t bytes) {
#if defined(__SSE2__)
  auto* const to = static_cast<__m128i*>(dst);
  const auto* const from = static_cast<const __m128i*>(src);
  for (std::size_t i = 0; i < bytes / sizeof(__m128i); ++i)
    _mm_stream_si128(to + i, _mm_load_si128(from + i));
  _mm_sfence();
#else
  std::memcpy(dst, src, bytes);
#endif
}

double copy_rate_of(Device device, std::size_t footprint) {
  const std::size_t bytes = footprint / 2;
  const Buffer from(device, bytes), to(device, bytes);
  fill_zero(from.data(), device, bytes);
  double seconds = shortest(device, [&] { copy_with_all(device, to.data(), from.data(), bytes); });
  if (!device.is_cuda()) {
    seconds = std::min(seconds, shortest(device, [&] {
                         for_each_part(bytes, [&](std::size_t begin, std::size_t count) {
                           copy_past_caches(static_cast<std::byte*>(to.data()) + begin,
                                            static_cast<const std::byte*>(from.data()) + begin, count);
                         });
                       }));
  }
  return static_cast<double>(footprint) / seconds;
}

double update_rate_of(std::size_t footprint) {
  const Buffer block({}, footprint);
  fill_zero(block.data(), {}, footprint);
  const double seconds = shortest({}, [&] {
    for_each_part(footprint, [&](std::size_t begin, std::size_t count) {
      increment(reinterpret_cast<std::uint64_t*>(static_cast<std::byte*>(block.data()) + begin), count / 8);
    });
  });
  return 2.0 * static_cast<double>(footprint) / seconds;
}

double read_rate_of(std::size_t footprint) {
  const Buffer block({}, footprint);
  fill_zero(block.data(), {}, footprint);
  std::uint64_t total = 0;
  const double seconds = shortest({}, [&] {
    for_each_part(footprint, [&](std::size_t begin, std::size_t count) {
      const std::uint64_t sum =
          sum_of(reinterpret_cast<const std::uint64_t*>(static_cast<const std::byte*>(block.data()) + begin),
                 count / 8);
#pragma omp atomic
      total += sum;
    });
  });
  if (total != 0) throw_error("zeros do not sum up to zero");
  return static_cast<double>(footprint) / seconds;
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

const char* name_of(Traffic traffic) {
  return traffic == Traffic::copy ? "copy" : traffic == Traffic::update ? "update" : "read";
}

Roofs Roofs::measure(Device device) {
  Roofs roofs;
  for (std::size_t footprint = kSmallest; footprint <= kLargest; footprint *= 2) {
    const auto note = [&](Traffic traffic, double rate) {
      roofs.memory_.push_back({traffic, static_cast<double>(footprint), rate});
    };
    note(Traffic::copy, copy_rate_of(device, footprint));
    if (device.is_cuda()) continue;
    note(Traffic::update, update_rate_of(footprint));
    note(Traffic::read, read_rate_of(footprint));
  }
  roofs.products_[DType::f32] = measured_product(device, DType::f32);
  if (has_fast_bf16(device)) roofs.products_[DType::bf16] = measured_product(device, DType::bf16);
  return roofs;
}

double Roofs::memory_rate(Traffic traffic, double footprint) const {
  double rate = 0.0;
  for (const Memory& memory : memory_) {
    if (memory.traffic != traffic) continue;
    rate = memory.bytes_per_second;
    if (memory.footprint >= footprint) break;
  }
  // A GPU's memory is held against the copy, whatever the traffic.
  return rate == 0.0 && traffic != Traffic::copy ? memory_rate(Traffic::copy, footprint) : rate;
}

double Roofs::product_rate(DType type) const {
  const auto found = products_.find(type);
  if (found != products_.end()) return found->second;
  const auto f32 = products_.find(DType::f32);
  return f32 == products_.end() ? 0.0 : f32->second;
}

RoofShare Roofs::share(const Work& work, double seconds) const {
  const double memory = memory_rate(work.traffic, work.footprint), product = product_rate(work.type);
  const double moving = work.bytes > 0.0 && memory > 0.0 ? work.bytes / memory : 0.0;
  const double multiplying = work.flops > 0.0 && product > 0.0 ? work.flops / product : 0.0;
  if (seconds <= 0.0 || std::max(moving, multiplying) <= 0.0) return {};
  return {moving > multiplying ? name_of(work.traffic) : "product", std::max(moving, multiplying) / seconds};
}

std::map<std::string, double> Roofs::named(Device device) const {
  std::map<std::string, double> rates;
  for (const Memory& memory : memory_) {
    for (const std::size_t shown : {kSmallest, 16 * kMiB, kLargest}) {
      if (memory.footprint != static_cast<double>(shown)) continue;
      rates[fmt::format("{} {} {}", device.name(), name_of(memory.traffic), bytes_text(memory.footprint))] =
          memory.bytes_per_second;
    }
  }
  for (const auto& [type, rate] : products_)
    rates[fmt::format("{} product {}", device.name(), name_of(type))] = rate;
  return rates;
}

}  // namespace ddpmts::bench
