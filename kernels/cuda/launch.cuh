// The vocabulary's base: CUDA's headers (or the host shim's, see tests/shim), the one launch() that every kernel goes
// through, and how large a grid is. docs/cuda_kernels.md is the page for kernel authors.
#pragma once

#if defined(DDPMTS_CUDA_SHIM)
#include "tests/shim/cuda_shim.h"
#else
#include <cuda_runtime.h>
#endif

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "kernels/cuda/shared.cuh"
#include "kernels/types.h"

namespace ddpmts::kernels::cuda {

constexpr int kWarp = 32;
constexpr unsigned kFullWarp = 0xffffffffu;  ///< the mask of all lanes

__host__ __device__ constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}
/// a / b for a ≥ 0 and b > 0, in 32 bits where both fit, which takes a quarter of the instructions.
__host__ __device__ constexpr std::int64_t quotient(std::int64_t a, std::int64_t b) {
  if (((a | b) >> 32) == 0) return static_cast<std::uint32_t>(a) / static_cast<std::uint32_t>(b);
  return a / b;
}
template <class T>
__host__ __device__ constexpr T smaller(T a, T b) {
  return b < a ? b : a;
}
template <class T>
__host__ __device__ constexpr T larger(T a, T b) {
  return a < b ? b : a;
}

/// A kernel's name, as profilers and error messages show it, and the place that launches it.
struct KernelName {
  KernelName(const char* name_, const char* file_ = __builtin_FILE(), int line_ = __builtin_LINE())
      : name(name_), file(file_), line(line_) {}
  const char* name;
  const char* file;
  int line;
};

/// Number of multiprocessors of the current device (asked once per device).
int multiprocessor_count();

/// Blocks for `items` at `items_per_block` each: 0 where there is nothing to do. Throws std::invalid_argument beyond 2^31 − 1
/// blocks, CUDA's limit.
inline unsigned blocks_for(std::int64_t items, std::int64_t items_per_block) {
  const std::int64_t blocks = ceil_div(items, items_per_block);
  if (items < 0 || blocks > 0x7fffffff) {
    throw std::invalid_argument(std::to_string(items) + " items at " + std::to_string(items_per_block) +
                                " a block do not fit a CUDA grid");
  }
  return static_cast<unsigned>(blocks);
}

/// As blocks_for, but no more than the device holds at `blocks_per_multiprocessor`: for kernels whose blocks take several
/// items in turn (`for (i = blockIdx.x; i < items; i += gridDim.x)`).
inline unsigned persistent_blocks(std::int64_t items, std::int64_t items_per_block,
                                  int blocks_per_multiprocessor) {
  const std::int64_t most = std::int64_t{multiprocessor_count()} * blocks_per_multiprocessor;
  return static_cast<unsigned>(smaller(ceil_div(items, items_per_block), most));
}

namespace detail {
void launch(const KernelName& name, const void* kernel, dim3 grid, dim3 block,
            std::size_t dynamic_shared_bytes, Stream stream, void** parameters);
}

/// Starts kernel<<<grid, block, dynamic_shared_bytes, stream>>>(parameters...) inside an NVTX range of the given name. A
/// grid without blocks is no launch. Throws std::runtime_error that names kernel, place, device and CUDA's reason.
template <class... Parameters>
void launch(const KernelName& name, void (*kernel)(Parameters...), dim3 grid, dim3 block,
            std::size_t dynamic_shared_bytes, Stream stream, std::type_identity_t<Parameters>... parameters) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
#if defined(DDPMTS_CUDA_SHIM)
  static_cast<void>(stream);
  shim::run_kernel(name.name, grid, block, dynamic_shared_bytes, [&] { kernel(parameters...); });
#else
  void* pointers[] = {&parameters..., nullptr};
  detail::launch(name, reinterpret_cast<const void*>(kernel), grid, block, dynamic_shared_bytes, stream,
                 pointers);
#endif
}

/// Small memory on the device for sums over all blocks of a grid (grid_sum in reduce.cuh). Each (host thread, device) has
/// its own, made at first use and kept: what a thread launches on a device must run one kernel after another, as it does in
/// one stream. A CUDA graph keeps using that of the thread which captured it, whatever stream it was captured on: let the
/// same launches run once before the capture, which makes it, and replay the graph in the stream of the thread's other work.
struct ReductionScratch {
  double* partials;   ///< [kMostBlocks · kMostSums]
  unsigned* tickets;  ///< [1], zero between kernels
  static constexpr unsigned kMostBlocks = 4096;
  static constexpr int kMostSums = 4;
};
ReductionScratch reduction_scratch(Stream stream);

/// At least `bytes` of memory on the device, aligned to 256, for what the kernels of one launcher's call hand to each other.
/// Shared by all launchers on the same terms as ReductionScratch: what is in it is gone once another launcher has asked for
/// it. Grows when more is asked for; what it has outgrown is kept, for a captured graph may still use it.
void* scratch_memory(Stream stream, std::size_t bytes);

}  // namespace ddpmts::kernels::cuda
