// What the kernel tests share: reproducible random data, bf16 conversion, comparison, and the variants to run.
//
// The same sources make three programs:
//   test_kernels       runs kernels::cpu, every instruction set that this machine has
//   test_kernels_shim  runs kernels::cuda, compiled for the host (DDPMTS_CUDA_SHIM; tests/shim), under sanitizers
//   test_kernels_cuda  runs kernels::cuda on a GPU (DDPMTS_TEST_ON_GPU)
// What a test hands to a kernel, argument structs' arrays included, lies in a Buffer or an Array, which on a GPU is memory
// that host and device reach. Tests of what only a CPU has (thread counts) stand in `#if DDPMTS_CPU_TESTS`.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "kernels/launch.h"
#include "kernels/philox.h"

#if defined(DDPMTS_CUDA_SHIM) || defined(DDPMTS_TEST_ON_GPU)
#define DDPMTS_CPU_TESTS 0
#else
#define DDPMTS_CPU_TESTS 1
#endif
#if defined(DDPMTS_TEST_ON_GPU)
#include "tests/kernels/gpu_memory.h"
#endif

namespace ddpmts::kernels::test {

/// Memory that a kernel under test may be given.
#if defined(DDPMTS_TEST_ON_GPU)
template <class T>
using Array = std::vector<T, GpuAllocator<T>>;
#else
template <class T>
using Array = std::vector<T>;
#endif

/// `count` numbers in [low, high), the same for the same `step`.
inline Array<float> random_floats(std::int64_t count, std::uint64_t step, float low = -1.0f,
                                  float high = 1.0f) {
  const Philox philox{0x5eed, RandomStream::drawing, step};
  Array<float> values(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < values.size(); ++i) {
    const Uint4 block = philox.bits(static_cast<std::uint32_t>(i / 4));
    const std::uint32_t words[] = {block.x, block.y, block.z, block.w};
    values[i] = uniform(words[i % 4], low, high);
  }
  return values;
}

/// A flat array in f32 or bf16, as the kernels take it; element access is in float. Guard bytes behind the last
/// element show a kernel that writes too far.
class Buffer {
 public:
  Buffer() = default;
  /// Zeros.
  Buffer(DType type, std::int64_t count) : type_(type), count_(static_cast<std::size_t>(count)) {
    bytes_.assign(count_ * size_of(type), 0);
    bytes_.resize(bytes_.size() + kGuard, kGuardByte);
  }
  /// Rounds to the element type.
  template <class Allocator>
  Buffer(DType type, const std::vector<float, Allocator>& values)
      : Buffer(type, static_cast<std::int64_t>(values.size())) {
    for (std::size_t i = 0; i < values.size(); ++i) set(i, values[i]);
  }
  DType type() const { return type_; }
  std::size_t count() const { return count_; }
  void* data() { return bytes_.data(); }
  const void* data() const { return bytes_.data(); }
  /// Everything, guard included: for comparing bit by bit.
  const Array<std::uint8_t>& bytes() const { return bytes_; }
  bool guard_is_intact() const {
    for (std::size_t i = bytes_.size() - kGuard; i < bytes_.size(); ++i) {
      if (bytes_[i] != kGuardByte) return false;
    }
    return true;
  }

  float operator[](std::size_t i) const {
    if (type_ == DType::f32) return at<float>(i);
    return to_float(at<bf16>(i));
  }
  void set(std::size_t i, float value) {
    if (type_ == DType::f32) {
      put(i, value);
    } else {
      put(i, from_float<bf16>(value));
    }
  }
  std::vector<float> floats() const {
    std::vector<float> values(count());
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = (*this)[i];
    return values;
  }

 private:
  template <class T>
  T at(std::size_t i) const {
    T value;
    std::memcpy(&value, bytes_.data() + i * sizeof(T), sizeof(T));
    return value;
  }
  template <class T>
  void put(std::size_t i, T value) {
    std::memcpy(bytes_.data() + i * sizeof(T), &value, sizeof(T));
  }
  static constexpr std::size_t kGuard = 64;
  static constexpr std::uint8_t kGuardByte = 0xa5;
  DType type_ = DType::f32;
  std::size_t count_ = 0;
  Array<std::uint8_t> bytes_;
};

/// What a result may be off by, see expect_near: one rounding to the type, plus room for sums in f32.
inline double tolerance(DType type) { return type == DType::bf16 ? 0x1p-8 : 2e-5; }

/// |actual − expected| ≤ tolerance·(1 + |expected|) for every element; reports the first that is not.
template <class Actual, class Expected>
void expect_near(const Actual& actual, const Expected& expected, std::size_t count, double tolerance,
                 const std::string& what) {
  for (std::size_t i = 0; i < count; ++i) {
    const double a = static_cast<double>(actual[i]);
    const double e = static_cast<double>(expected[i]);
    if (!(std::abs(a - e) <= tolerance * (1.0 + std::abs(e)))) {
      ADD_FAILURE() << what << "[" << i << "] is " << a << ", expected " << e << " within " << tolerance;
      return;
    }
  }
}

#if DDPMTS_CPU_TESTS

/// Runs `body(isa)` for each instruction set that this build holds and this machine runs, named in failures.
template <class Body>
void for_each_isa(Body body) {
  std::vector<CpuIsa> runnable{CpuIsa::baseline};
#ifdef DDPMTS_X86_VARIANTS
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) runnable.push_back(CpuIsa::avx2);
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")) {
    runnable.push_back(CpuIsa::avx512);
  }
#endif
  for (const CpuIsa isa : runnable) {
    SCOPED_TRACE(name_of(isa));
    body(isa);
  }
}

/// Calls one kernel's variant of an instruction set: DDPMTS_RUN_KERNEL(isa, add, args).
#ifdef DDPMTS_X86_VARIANTS
#define DDPMTS_RUN_KERNEL(isa, kernel, args)                                                 \
  ((isa) == ::ddpmts::kernels::CpuIsa::avx512 ? ::ddpmts::kernels::cpu::avx512::kernel(args) \
   : (isa) == ::ddpmts::kernels::CpuIsa::avx2 ? ::ddpmts::kernels::cpu::avx2::kernel(args)   \
                                              : ::ddpmts::kernels::cpu::baseline::kernel(args))
#else
#define DDPMTS_RUN_KERNEL(isa, kernel, args) \
  (static_cast<void>(isa), ::ddpmts::kernels::cpu::baseline::kernel(args))
#endif

#else  // the CUDA kernels: one variant

template <class Body>
void for_each_isa(Body body) {
  SCOPED_TRACE("CUDA kernel");
  body(CpuIsa::baseline);
}

/// Waits for what has been started, on a GPU; throws where that failed.
#if defined(DDPMTS_TEST_ON_GPU)
inline void finish(const char* kernel) { synchronize(kernel); }
#else
inline void finish(const char*) {}
#endif

#define DDPMTS_RUN_KERNEL(isa, kernel, args)                                                   \
  (static_cast<void>(isa), ::ddpmts::kernels::cuda::kernel(args, ::ddpmts::kernels::Stream{}), \
   ::ddpmts::kernels::test::finish(#kernel))

#endif

}  // namespace ddpmts::kernels::test
