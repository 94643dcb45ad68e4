// Mean of the k largest values of each map (contract: kernels/top_k_mean.h).
// Layout: map [N, pixels] f32, score [N] f32; one block a picture.
// Bytes moved: 4 per pixel from memory, then three more passes that hit the L2 cache.
// Variants: none. Exact: a radix select (11 + 11 + 10 bits) on integer keys finds the k-th largest value; the score is the
//   sum of all that is larger, in f64 and a fixed order, plus as many copies of it as are missing.
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/vector.cuh"
#include "kernels/top_k_mean.h"

namespace ddpmts::kernels::cuda {
namespace {

constexpr int kThreads = 1024;
constexpr int kDigitBits = 11;
constexpr int kBuckets = 1 << kDigitBits;
/// Neighbouring lanes count in histograms of their own: a map's values crowd into few buckets.
constexpr int kHistograms = 4;
/// Neighbouring pixels are much alike, so a thread takes runs of them and counts a bucket once for all in a row.
constexpr int kRun = 16;

/// An unsigned integer that orders as the float does: negative numbers are complemented, the sign bit turned round.
__device__ __forceinline__ unsigned key_of(float x) {
  const unsigned bits = __float_as_uint(x);
  return bits ^ ((bits & 0x80000000u) != 0 ? 0xffffffffu : 0x80000000u);
}
__device__ __forceinline__ float value_of(unsigned key) {
  return __uint_as_float((key & 0x80000000u) != 0 ? key ^ 0x80000000u : ~key);
}
__device__ __forceinline__ bool is_nan(float x) { return (__float_as_uint(x) & 0x7fffffffu) > 0x7f800000u; }

/// One picture's map.
struct Map {
  const float* values;
  std::int64_t pixels;
  bool aligned;

  /// Calls visit(value) for this thread's pixels, in runs of kRun.
  template <class Visit>
  __device__ __forceinline__ void for_each(Visit visit) const {
    for (std::int64_t first = std::int64_t{threadIdx.x} * kRun; first < pixels; first += kThreads * kRun) {
      const std::int64_t here = smaller(std::int64_t{kRun}, pixels - first);
      const Floats<kRun> run =
          aligned && here == kRun ? load<kRun>(values + first) : load_upto<kRun>(values + first, here);
#pragma unroll
      for (int i = 0; i < kRun; ++i) {
        if (i < here) visit(run[i]);
      }
    }
  }
};

using Histogram = SharedArray<unsigned, kHistograms * kBuckets>;

/// Counts the digit (key >> shift) of the keys whose higher bits are `prefix` and finds, from the largest digit down, the one
/// that holds the rank-th largest of them. `rank` becomes its rank within that digit. Every thread gets both.
__device__ __forceinline__ unsigned select_digit(const Map& map, Histogram& counts, int shift, int bits,
                                                 unsigned prefix, std::int64_t& rank) {
  __shared__ SharedArray<std::int64_t, 2> found;
  const unsigned digit_mask = (1u << bits) - 1u;
  const bool all = shift + bits == 32;
  const unsigned lane_histogram = threadIdx.x % kHistograms * kBuckets;
  for (int i = static_cast<int>(threadIdx.x); i < kHistograms * kBuckets; i += kThreads) counts[i] = 0u;
  __syncthreads();

  unsigned waiting = 0, bucket = 0;  // a count that has not been added yet
  map.for_each([&](float value) {
    const unsigned key = key_of(value);
    if (!all && key >> (shift + bits) != prefix) return;
    const unsigned digit = (key >> shift) & digit_mask;
    if (digit != bucket && waiting > 0) {
      atomicAdd(&counts[lane_histogram + bucket], waiting);
      waiting = 0;
    }
    bucket = digit;
    ++waiting;
  });
  if (waiting > 0) atomicAdd(&counts[lane_histogram + bucket], waiting);
  __syncthreads();

  // Each thread has kBuckets/kThreads neighbouring buckets, thread 0 the largest digits.
  constexpr int kMine = kBuckets / kThreads;
  unsigned mine[kMine], sum = 0, total = 0;
#pragma unroll
  for (int i = 0; i < kMine; ++i) {
    const unsigned digit = static_cast<unsigned>(kBuckets - 1 - (static_cast<int>(threadIdx.x) * kMine + i));
    mine[i] = 0;
#pragma unroll
    for (int h = 0; h < kHistograms; ++h) mine[i] += counts[static_cast<unsigned>(h * kBuckets) + digit];
    sum += mine[i];
  }
  std::int64_t before = static_cast<std::int64_t>(block_inclusive_scan(sum, total)) - sum;
#pragma unroll
  for (int i = 0; i < kMine; ++i) {
    if (before < rank && rank <= before + mine[i]) {  // true once in the block
      found[0] = kBuckets - 1 - (static_cast<int>(threadIdx.x) * kMine + i);
      found[1] = rank - before;
    }
    before += mine[i];
  }
  __syncthreads();
  rank = found[1];
  const std::int64_t digit = found[0];
  return static_cast<unsigned>(digit);
}

__global__ void __launch_bounds__(kThreads) top_k_kernel(const __grid_constant__ TopKMeanArgs args) {
  __shared__ Histogram counts;
  const float* values = args.map + std::int64_t{blockIdx.x} * args.pixels;
  const Map map{values, args.pixels, aligned_to_16(values)};
  double all = 0.0;
  int nans = 0;
  map.for_each([&](float value) {
    all += static_cast<double>(value);
    nans += is_nan(value) ? 1 : 0;
  });
  const bool has_nan = block_sum(nans) > 0;
  double sum = block_sum(all);
  std::int64_t count = args.pixels;
  if (!has_nan && args.k < args.pixels) {
    std::int64_t rank = args.k;
    unsigned threshold = select_digit(map, counts, 21, 11, 0, rank);
    threshold = threshold << 11 | select_digit(map, counts, 10, 11, threshold, rank);
    threshold = threshold << 10 | select_digit(map, counts, 0, 10, threshold, rank);
    double larger_ones = 0.0;
    map.for_each(
        [&](float value) { larger_ones += key_of(value) > threshold ? static_cast<double>(value) : 0.0; });
    sum = block_sum(larger_ones) + static_cast<double>(rank) * static_cast<double>(value_of(threshold));
    count = args.k;
  }
  if (threadIdx.x == 0) {
    args.score[blockIdx.x] =
        has_nan ? __uint_as_float(0x7fc00000u) : static_cast<float>(sum / static_cast<double>(count));
  }
}

}  // namespace

void top_k_mean(const TopKMeanArgs& args, Stream stream) {
  launch("top_k_mean", top_k_kernel, blocks_for(args.n, 1), kThreads, 0, stream, args);
}

}  // namespace ddpmts::kernels::cuda
