#include "engine/memory.h"

#include <sys/mman.h>

#include <cstdlib>

namespace ddpmts::cpu {
namespace {

constexpr std::size_t kCacheLine = 64, kHugePage = std::size_t{2} << 20;

}  // namespace

// Large blocks ask for huge pages: fewer misses of the address cache, and less depends on which pages a process happens
// to get. Where the kernel has none to give, madvise fails and the pages are ordinary ones.
void* allocate(std::size_t bytes) {
  const bool large = bytes >= 2 * kHugePage;
  void* data = nullptr;
  if (posix_memalign(&data, large ? kHugePage : kCacheLine, bytes) != 0) return nullptr;
  if (large) madvise(data, bytes, MADV_HUGEPAGE);
  return data;
}

void release(void* data) { std::free(data); }

}  // namespace ddpmts::cpu
