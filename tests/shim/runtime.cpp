// kernels/cuda/runtime.cpp for the host.
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "kernels/cuda/launch.cuh"

namespace ddpmts::kernels::cuda {

/// Few, so that small test sizes already make persistent blocks take several items.
int multiprocessor_count() { return 3; }

ReductionScratch reduction_scratch(Stream) {
  static std::vector<double> partials(ReductionScratch::kMostBlocks * ReductionScratch::kMostSums);
  static unsigned ticket = 0;
  return ReductionScratch{partials.data(), &ticket};
}

/// New memory each time, to the byte, so that the sanitizer sees what goes beyond it; what nobody wrote reads as NaN.
void* scratch_memory(Stream, std::size_t bytes) {
  struct Free {
    void operator()(void* data) const { std::free(data); }
  };
  static std::unique_ptr<void, Free> memory;
  memory.reset(std::malloc(bytes));
  std::memset(memory.get(), 0xff, bytes);
  return memory.get();
}

}  // namespace ddpmts::kernels::cuda
