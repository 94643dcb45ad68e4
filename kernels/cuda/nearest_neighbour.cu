// Squared norms, running minimum of squared distances, and greedy k-centre selection (kernels/nearest_neighbour.h).
// Layout: vectors [rows, channels] f32 or bf16, products [rows, columns] f32; a warp, or a group of its lanes, has a row.
// Bytes moved: every input once; column norms and the centre's vector come from the cache.
// Variants: f32 or bf16 vectors; whole, aligned 16-byte loads or single elements. farthest_point is one launch: each
//   block finds its farthest point, the block that finishes last the farthest of those.
#include <math.h>

#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/vector.cuh"
#include "kernels/nearest_neighbour.h"

namespace ddpmts::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
constexpr int kBlocksPerMultiprocessor = 8;

/// Lanes of a warp that share one row of `vectors` vectors: 1, 2, 4 … 32.
int lanes_for(std::int64_t vectors) {
  int lanes = 1;
  while (lanes < kWarp && lanes < vectors) lanes *= 2;
  return lanes;
}

/// The row of this thread's group when a warp starts at `first_row`, and the lane within the group.
struct GroupRow {
  std::int64_t row;
  int lane;
};
__device__ __forceinline__ GroupRow group_row(std::int64_t first_row, int lanes) {
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  return GroupRow{first_row + lane / lanes, lane % lanes};
}

// ---- Squared norms ----

template <int kWidth, class T>
__global__ void __launch_bounds__(kThreads)
    squared_norms_kernel(std::int64_t rows, int channels, int lanes, const T* x, float* norms) {
  const std::int64_t warp = std::int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp;
  const GroupRow at = group_row(warp * (kWarp / lanes), lanes);
  const bool inside = at.row < rows;
  const T* row = x + (inside ? at.row : 0) * channels;
  float sum = 0.0f;
#pragma unroll 4
  for (int c = at.lane * kWidth; c < channels; c += lanes * kWidth) {
    const Floats<kWidth> v = load<kWidth>(row + c);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) sum += v[i] * v[i];
  }
  sum = group_sum(sum, lanes);
  if (inside && at.lane == 0) norms[at.row] = sum;
}

template <int kWidth, class T>
void start_squared_norms(const SquaredNormsArgs& args, Stream stream) {
  const int lanes = lanes_for(args.channels / kWidth);
  launch("squared_norms", squared_norms_kernel<kWidth, T>,
         blocks_for(args.rows, std::int64_t{kWarps} * (kWarp / lanes)), kThreads, 0, stream, args.rows,
         static_cast<int>(args.channels), lanes, static_cast<const T*>(args.x), args.norms);
}

// ---- The nearest vector of one chunk ----

/// One warp a row.
template <int kWidth>
__global__ void __launch_bounds__(kThreads)
    nearest_update_kernel(const __grid_constant__ NearestUpdateArgs args) {
  const std::int64_t row = std::int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp;
  if (row >= args.rows) return;  // the whole warp
  const std::int64_t lane = threadIdx.x % kWarp;
  const float* products = args.products + row * args.columns;
  float least = INFINITY;
  bool nan = false;
#pragma unroll 4
  for (std::int64_t c = lane * kWidth; c < args.columns; c += kWarp * kWidth) {
    const Floats<kWidth> product = load<kWidth>(products + c), norm = load<kWidth>(args.column_norms + c);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      const float value = norm[i] - 2.0f * product[i];
      nan = nan || value != value;
      least = value < least ? value : least;
    }
  }
  least = -warp_max(-least);
  if (__any_sync(kFullWarp, nan ? 1 : 0) != 0) least = NAN;
  if (lane != 0) return;
  if (!args.first && !(least < args.distance[row]) && least == least) least = args.distance[row];
  if (args.last) {
    const float squared = least + args.row_norms[row];
    least = sqrtf(squared < 0.0f ? 0.0f : squared);
  }
  args.distance[row] = least;
}

// ---- The farthest point ----

/// Orders points by distance, equals by index, the smaller one first; NaN behind all others.
using Rank = unsigned long long;

__device__ __forceinline__ Rank rank_of(float squared_distance, std::int64_t index) {
  if (!(squared_distance >= 0.0f)) return 0;
  // Non-negative floats order as their bits do.
  return (Rank{__float_as_uint(squared_distance)} + 1) << 32 | (0xffffffffu - static_cast<unsigned>(index));
}

/// Index of the point; 0 where all distances are NaN.
__device__ __forceinline__ std::int32_t index_of(Rank rank) {
  return rank == 0 ? 0 : static_cast<std::int32_t>(0xffffffffu - static_cast<unsigned>(rank));
}

/// The largest of the block, in every thread. All threads must call it. Holds two barriers.
__device__ __forceinline__ Rank block_max(Rank value) {
  __shared__ SharedArray<Rank, kWarps> of_warp;
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    value = larger(value, __shfl_xor_sync(kFullWarp, value, offset));
  }
  if (threadIdx.x % kWarp == 0) of_warp[threadIdx.x / kWarp] = value;
  __syncthreads();
#pragma unroll
  for (int i = 0; i < kWarps; ++i) {
    const Rank other = of_warp[i];
    value = larger(value, other);
  }
  __syncthreads();  // of_warp may be written again
  return value;
}

template <int kWidth>
__global__ void __launch_bounds__(kThreads)
    farthest_point_kernel(const __grid_constant__ FarthestPointArgs args, int lanes, Rank* of_block,
                          unsigned* tickets) {
  const int channels = static_cast<int>(args.channels);
  const float* centre = args.points + std::int64_t{*args.centre} * channels;
  const std::int64_t rows_per_warp = kWarp / lanes;
  const std::int64_t warp = std::int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp;
  Rank farthest = 0;
  for (std::int64_t first = warp * rows_per_warp; first < args.count;
       first += std::int64_t{gridDim.x} * kWarps * rows_per_warp) {
    const GroupRow at = group_row(first, lanes);
    const bool inside = at.row < args.count;
    const float* row = args.points + (inside ? at.row : 0) * channels;
    float distance = 0.0f;
#pragma unroll 4
    for (int c = at.lane * kWidth; c < channels; c += lanes * kWidth) {
      const Floats<kWidth> x = load<kWidth>(row + c), y = load<kWidth>(centre + c);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) distance += (x[i] - y[i]) * (x[i] - y[i]);
    }
    distance = group_sum(distance, lanes);
    if (inside && at.lane == 0) {
      if (!args.first && args.squared_distance[at.row] < distance) distance = args.squared_distance[at.row];
      args.squared_distance[at.row] = distance;
      farthest = larger(farthest, rank_of(distance, at.row));
    }
  }
  farthest = block_max(farthest);

  __shared__ SharedArray<unsigned, 1> ticket;
  if (threadIdx.x == 0) {
    of_block[blockIdx.x] = farthest;
    __threadfence();  // the rank is seen before the ticket is
    ticket[0] = atomicAdd(tickets, 1u);
  }
  __syncthreads();
  const unsigned mine = ticket[0];
  if (mine != gridDim.x - 1) return;
  __threadfence();
  farthest = 0;
  for (unsigned b = threadIdx.x; b < gridDim.x; b += kThreads) {
    farthest = larger(farthest, __ldcg(of_block + b));
  }
  farthest = block_max(farthest);
  if (threadIdx.x == 0) {
    *args.farthest = index_of(farthest);
    *tickets = 0;  // for the next kernel
  }
}

template <int kWidth>
void start_farthest_point(const FarthestPointArgs& args, Stream stream) {
  static_assert(sizeof(Rank) == sizeof(double));
  const int lanes = lanes_for(args.channels / kWidth);
  const ReductionScratch scratch = reduction_scratch(stream);
  const unsigned blocks =
      smaller(persistent_blocks(args.count, std::int64_t{kWarps} * (kWarp / lanes), kBlocksPerMultiprocessor),
              ReductionScratch::kMostBlocks);
  launch("farthest_point", farthest_point_kernel<kWidth>, blocks, kThreads, 0, stream, args, lanes,
         reinterpret_cast<Rank*>(scratch.partials), scratch.tickets);
}

}  // namespace

void squared_norms(const SquaredNormsArgs& args, Stream stream) {
  with_float_type(args.type, [&](auto zero) {
    using T = decltype(zero);
    if (args.channels % kVector<T> == 0 && aligned_to_16(static_cast<const char*>(args.x))) {
      start_squared_norms<kVector<T>, T>(args, stream);
    } else {
      start_squared_norms<1, T>(args, stream);
    }
  });
}

void nearest_update(const NearestUpdateArgs& args, Stream stream) {
  constexpr int kWidth = kVector<float>;
  const bool in_vectors = args.columns % kWidth == 0 && aligned_to_16(args.products, args.column_norms);
  launch("nearest_update", in_vectors ? nearest_update_kernel<kWidth> : nearest_update_kernel<1>,
         blocks_for(args.rows, kWarps), kThreads, 0, stream, args);
}

void farthest_point(const FarthestPointArgs& args, Stream stream) {
  if (args.count < 1 || args.count > 0x7fffffff) {
    throw std::invalid_argument("farthest_point: the number of points must lie in 1..2^31-1");
  }
  if (args.channels % kVector<float> == 0 && aligned_to_16(args.points)) {
    start_farthest_point<kVector<float>>(args, stream);
  } else {
    start_farthest_point<1>(args, stream);
  }
}

}  // namespace ddpmts::kernels::cuda
