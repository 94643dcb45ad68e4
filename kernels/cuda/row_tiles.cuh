// How a [rows, channels] map is shared among blocks by both norms, and how what its threads have summed comes together:
// lanes of a block in a tree, splits by the threads of a small kernel. Both orders follow from shape and device alone.
#pragma once

#include "kernels/cuda/launch.cuh"

namespace ddpmts::kernels::cuda {

constexpr int kSumThreads = 512;  // of the kernels that sum over rows
constexpr int kMapThreads = 256;  // of those that write every element
constexpr int kTileChannels = 64;
constexpr int kBatch = 4;            // rows that a thread has under way at a time
constexpr int kFinishChannels = 32;  // of one block that sums over the blocks
constexpr int kFinishParts = 8;      // threads that share a channel there
constexpr std::int64_t kScratchBytes =
    std::int64_t{ReductionScratch::kMostBlocks} * ReductionScratch::kMostSums * sizeof(double);

/// How blocks share [rows, channels]: blockIdx.y is a tile of `vectors` vectors of channels, `lanes` rows at a time make a
/// group, and block x takes groups x, x + splits, x + 2·splits …
struct RowTiles {
  std::int64_t rows;
  int channels, vectors, lanes, splits, tiles;

  __host__ __device__ std::int64_t rows_of_split(int split) const {
    const std::int64_t groups = ceil_div(rows, lanes), own = ceil_div(groups - split, splits);
    const bool has_last = (groups - 1) % splits == split;
    return own * lanes - (has_last ? groups * lanes - rows : 0);
  }
};

inline RowTiles row_tiles(std::int64_t rows, std::int64_t channels, int width, int threads,
                          int groups_per_split, std::int64_t most_splits, std::int64_t most_blocks) {
  const std::int64_t all_vectors = channels / width;
  const std::int64_t tiles = larger(std::int64_t{1}, ceil_div(all_vectors, kTileChannels / width));
  const std::int64_t vectors = larger(std::int64_t{1}, ceil_div(all_vectors, tiles));
  const std::int64_t lanes = threads / vectors;
  const std::int64_t wanted = ceil_div(ceil_div(rows, lanes), groups_per_split);
  const std::int64_t most = larger(std::int64_t{1}, smaller(most_splits, most_blocks / tiles));
  return RowTiles{rows,
                  static_cast<int>(channels),
                  static_cast<int>(vectors),
                  static_cast<int>(lanes),
                  static_cast<int>(smaller(wanted, most)),
                  static_cast<int>(tiles)};
}

/// For sums: no more splits than their results have room for. 12 bytes hold one split's results for a channel, and what
/// follows from all of them.
inline RowTiles sum_tiles(const char* kernel, std::int64_t rows, std::int64_t channels, int width) {
  const std::int64_t most = kScratchBytes / (12 * larger(std::int64_t{1}, channels)) - 1;
  if (most < 1) {
    throw std::invalid_argument(std::string(kernel) + ": " + std::to_string(channels) +
                                " channels; on a GPU it takes at most " + std::to_string(kScratchBytes / 24));
  }
  return row_tiles(rows, channels, width, kSumThreads, 1, most, 2 * multiprocessor_count());
}

inline RowTiles map_tiles(std::int64_t rows, std::int64_t channels, int width) {
  return row_tiles(rows, channels, width, kMapThreads, kBatch, rows, 8 * multiprocessor_count());
}

inline dim3 grid_of(const RowTiles& tiles) {
  return dim3(static_cast<unsigned>(tiles.splits), static_cast<unsigned>(tiles.tiles));
}

/// What one thread does.
struct Place {
  int vector, lane, channel;
  bool inside;
  std::int64_t first_row, row_step;
};

template <int kWidth>
__device__ __forceinline__ Place place_of(const RowTiles& tiles) {
  const int thread = static_cast<int>(threadIdx.x);
  const int lane = thread / tiles.vectors, vector = thread % tiles.vectors;
  const int channel = (static_cast<int>(blockIdx.y) * tiles.vectors + vector) * kWidth;
  return Place{vector,
               lane,
               channel,
               lane < tiles.lanes && channel < tiles.channels,
               std::int64_t{blockIdx.x} * tiles.lanes + lane,
               std::int64_t{tiles.splits} * tiles.lanes};
}

/// Calls body(row) for every kBatch-th of the thread's rows, from the last to the first: body does rows row − j·row_step,
/// 0 ≤ j < kBatch, that are not below 0.
template <class Body>
__device__ __forceinline__ void for_each_batch_backwards(const RowTiles& tiles, const Place& at, Body body) {
  for (std::int64_t row = tiles.rows - 1 - at.first_row; row >= 0; row -= kBatch * at.row_step) body(row);
}

/// Merges what the lanes of the block hold into lane 0's, halving the lanes each time. `put(slot)` offers this thread's
/// numbers in shared memory, slots below kSumThreads / 2; `take(slot)` merges another's.
template <class Put, class Take>
__device__ __forceinline__ void merge_lanes(const RowTiles& tiles, const Place& at, Put put, Take take) {
  for (int lanes = tiles.lanes; lanes > 1;) {
    const int half = (lanes + 1) / 2;
    if (at.lane >= half && at.lane < lanes) put((at.lane - half) * tiles.vectors + at.vector);
    __syncthreads();
    if (at.lane + half < lanes) take(at.lane * tiles.vectors + at.vector);
    __syncthreads();
    lanes = half;
  }
}

/// The sum of the kFinishParts threads that share a channel, in each of them. All threads of the block must call it.
__device__ __forceinline__ double sum_of_parts(double value) {
  __shared__ SharedArray<double, kFinishChannels * kFinishParts> of_thread;
  of_thread[threadIdx.x] = value;
  __syncthreads();
  double sum = 0.0;
#pragma unroll
  for (int part = 0; part < kFinishParts; ++part) {
    const double other = of_thread[part * kFinishChannels + static_cast<int>(threadIdx.x) % kFinishChannels];
    sum += other;
  }
  __syncthreads();
  return sum;
}

}  // namespace ddpmts::kernels::cuda
