// Sums over lanes, warps, blocks and the whole grid, in f32 or f64, always in the same order: no atomics on floats.
#pragma once

#include "kernels/cuda/launch.cuh"

namespace ddpmts::kernels::cuda {

/// Sum over groups of `lanes` neighbouring lanes (1, 2, 4 … 32); every lane of a group gets the same bits. All lanes of
/// the warp must call it.
template <class T>
__device__ __forceinline__ T group_sum(T value, int lanes) {
  for (int offset = lanes / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(kFullWarp, value, offset);
  return value;
}

template <class T>
__device__ __forceinline__ T warp_sum(T value) {
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(kFullWarp, value, offset);
  return value;
}

/// The largest of groups as in group_sum; NaN loses against a number.
__device__ __forceinline__ float group_max(float value, int lanes) {
  for (int offset = lanes / 2; offset > 0; offset /= 2) {
    value = fmaxf(value, __shfl_xor_sync(kFullWarp, value, offset));
  }
  return value;
}

/// The largest of the warp; NaN loses against a number.
__device__ __forceinline__ float warp_max(float value) {
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    value = fmaxf(value, __shfl_xor_sync(kFullWarp, value, offset));
  }
  return value;
}

/// Sum over the block; every thread gets it. blockDim.x is a multiple of 32 and the block's only dimension. All threads
/// must call it. Holds two barriers.
template <class T>
__device__ __forceinline__ T block_sum(T value) {
  __shared__ SharedArray<T, kWarp> of_warp;
  const unsigned lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, warps = blockDim.x / kWarp;
  value = warp_sum(value);
  if (lane == 0) of_warp[warp] = value;
  __syncthreads();
  T other{};
  if (lane < warps) other = of_warp[lane];
  value = warp_sum(other);
  __syncthreads();  // of_warp may be written again
  return value;
}

/// Sum over the threads before this one and this one itself; `total` is the block's. Same conditions as block_sum.
template <class T>
__device__ __forceinline__ T block_inclusive_scan(T value, T& total) {
  __shared__ SharedArray<T, kWarp> of_warp;
  const unsigned lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, warps = blockDim.x / kWarp;
#pragma unroll
  for (unsigned offset = 1; offset < kWarp; offset *= 2) {
    const T before = __shfl_up_sync(kFullWarp, value, offset);
    if (lane >= offset) value += before;
  }
  if (lane == kWarp - 1) of_warp[warp] = value;
  __syncthreads();
  T sum{}, before{};
  for (unsigned w = 0; w < warps; ++w) {
    const T here = of_warp[w];
    if (w < warp) before += here;
    sum += here;
  }
  __syncthreads();  // of_warp may be written again
  total = sum;
  return before + value;
}

/// True, in all its threads, in the block of a grid that comes here last. What thread 0 of every block wrote before is seen
/// there, through __ldcg. All threads of every block must call it, once.
__device__ inline bool is_last_block(const ReductionScratch& scratch) {
  __shared__ SharedArray<unsigned, 1> ticket;
  if (threadIdx.x == 0) {
    __threadfence();  // what was written is seen before the ticket is
    ticket[0] = atomicAdd(scratch.tickets, 1u);
  }
  __syncthreads();
  const unsigned mine = ticket[0];
  if (mine != gridDim.x - 1) return false;
  __threadfence();
  if (threadIdx.x == 0) *scratch.tickets = 0;  // for the next kernel
  return true;
}

/// Sums kSums numbers over all blocks of a grid, within one launch. `values` are the block's sums (thread 0's count).
/// Returns true in the block that finishes last, there `totals` holds the sums over the blocks in their order, in every
/// thread; false in all others. All threads of every block must call it, once. One-dimensional grid of at most
/// ReductionScratch::kMostBlocks.
template <int kSums>
__device__ inline bool grid_sum(const double (&values)[kSums], const ReductionScratch& scratch,
                                double (&totals)[kSums]) {
  static_assert(kSums <= ReductionScratch::kMostSums);
  if (threadIdx.x == 0) {
#pragma unroll
    for (int i = 0; i < kSums; ++i) scratch.partials[blockIdx.x * kSums + i] = values[i];
  }
  if (!is_last_block(scratch)) return false;
#pragma unroll
  for (int i = 0; i < kSums; ++i) {
    double sum = 0.0;
    for (unsigned b = threadIdx.x; b < gridDim.x; b += blockDim.x)
      sum += __ldcg(scratch.partials + b * kSums + i);
    totals[i] = block_sum(sum);
  }
  return true;
}

}  // namespace ddpmts::kernels::cuda
