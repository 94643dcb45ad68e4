// Noise tables and lattices in shared memory, filled by a whole block, and the search for a mask's first pixel.
#pragma once

#include "kernels/cuda/reduce.cuh"
#include "kernels/perlin_math.h"
#include "kernels/texture_math.h"

namespace ddpmts::kernels::cuda {

/// A PerlinLattice whose points lie in the block's dynamic shared memory.
struct SharedLattice {
  PerlinShape shape;
  DynamicShared<float> gradient_x, gradient_y;
  static constexpr int kBytes = 2 * kPerlinLatticePoints * static_cast<int>(sizeof(float));
};

__device__ __forceinline__ SharedLattice shared_lattice() {
  return SharedLattice{
      PerlinShape{1, 1, 1.0f, 0.0f}, dynamic_shared<float>(kPerlinLatticePoints),
      dynamic_shared<float>(kPerlinLatticePoints, kPerlinLatticePoints * std::int64_t{sizeof(float)})};
}

/// All threads must call it, after a barrier behind the last use of that memory. Ends with a barrier.
__device__ __forceinline__ void fill(SharedLattice& lattice, const Philox& random, std::uint32_t attempt,
                                     const PerlinConfig& config) {
  lattice.shape = perlin_shape(random, attempt, config);
  const int points = (lattice.shape.cells_x + 1) * (lattice.shape.cells_y + 1);
  for (int block = static_cast<int>(threadIdx.x); block * 4 < points; block += static_cast<int>(blockDim.x)) {
    perlin_fill_block(lattice, random, attempt, block);
  }
  __syncthreads();
}

/// A NoiseTable in the block's dynamic shared memory.
struct SharedNoiseTable {
  DynamicShared<float> gradient_x, gradient_y, offset_x, offset_y;
  static constexpr int kBytes = static_cast<int>(sizeof(NoiseTable));
};

__device__ __forceinline__ SharedNoiseTable shared_noise_table() {
  constexpr std::int64_t kStep = kNoisePoints * std::int64_t{sizeof(float)};
  return SharedNoiseTable{dynamic_shared<float>(kNoisePoints), dynamic_shared<float>(kNoisePoints, kStep),
                          dynamic_shared<float>(kNoisePoints, 2 * kStep),
                          dynamic_shared<float>(kNoisePoints, 3 * kStep)};
}

/// As for a lattice.
__device__ __forceinline__ void fill(SharedNoiseTable& table, const Philox& random, std::uint32_t first) {
  for (int p = static_cast<int>(threadIdx.x); p < kNoisePoints; p += static_cast<int>(blockDim.x)) {
    noise_table_point(table, random, first, p);
  }
  __syncthreads();
}

/// Whether inside(x, y) holds for any pixel of an h×w picture (at most 2^31 − 1 pixels). Every block that asks answers by
/// itself, so no block waits for another: first it looks at 16×16 pixels about (near_x, near_y), then at ever more pixels
/// scattered evenly over the picture, and stops at the first that is inside. Blocks of 256 threads; all must call it. Every
/// thread gets the answer; ends with a barrier.
template <class Inside>
__device__ __forceinline__ bool any_pixel(int h, int w, int near_x, int near_y, Inside inside) {
  constexpr int kThreads = 256, kNear = 16;
  const int thread = static_cast<int>(threadIdx.x);
  const unsigned pixels = static_cast<unsigned>(h) * static_cast<unsigned>(w);
  // Each thread has `own` neighbouring pixels and takes them in an order of its own; odd, so that 64 steps through all.
  const unsigned own = static_cast<unsigned>(ceil_div(pixels, kThreads)) | 1u;
  unsigned looks = 1;
  for (unsigned first = 0; first <= own;) {
    const unsigned end = smaller(first + looks, own + 1);
    bool found = false;
    for (unsigned round = first; round < end && !found; ++round) {
      int x, y;
      bool exists;
      if (round == 0) {
        x = near_x - kNear / 2 + thread % kNear;
        y = near_y - kNear / 2 + thread / kNear;
        exists = x >= 0 && x < w && y >= 0 && y < h;
      } else {
        const unsigned t = static_cast<unsigned>(thread);
        const unsigned p = t * own + (round * 64u + t * 89u) % own;
        exists = p < pixels;
        y = static_cast<int>(p / static_cast<unsigned>(w));
        x = static_cast<int>(p - static_cast<unsigned>(y) * static_cast<unsigned>(w));
      }
      found = exists && inside(static_cast<float>(x), static_cast<float>(y));
    }
    if (block_sum(found ? 1 : 0) > 0) return true;
    first = end;
    looks = smaller(2 * looks, 32u);
  }
  return false;
}

}  // namespace ddpmts::kernels::cuda
