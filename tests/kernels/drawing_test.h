// What the tests of the drawing kernels share: they draw many pictures and compare bits.
#pragma once

#include "tests/kernels/kernel_test.h"

namespace ddpmts::kernels::test {

/// The variant to draw with where every variant draws the same.
inline CpuIsa fastest_isa() {
#if DDPMTS_CPU_TESTS
  return cpu_isa();
#else
  return CpuIsa::baseline;
#endif
}

/// FNV-1a, 64 bits.
inline std::uint64_t hash_of(const void* data, std::size_t bytes) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  for (std::size_t i = 0; i < bytes; ++i) {
    hash = (hash ^ static_cast<const std::uint8_t*>(data)[i]) * 0x100000001b3u;
  }
  return hash;
}

}  // namespace ddpmts::kernels::test
