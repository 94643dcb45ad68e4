// kernels/cuda/runtime.cpp for the host.
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

}  // namespace ddpmts::kernels::cuda
