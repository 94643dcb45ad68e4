// The first pass of both norms: means and squared deviations per channel over a block's share of rows.
#pragma once

#include "kernels/cuda/row_tiles.cuh"
#include "kernels/cuda/vector.cuh"

namespace ddpmts::kernels::cuda {

/// Mean and sum of squared deviations of the block's rows, per channel, to [picture][split][channel]. Picture blockIdx.z has
/// rows·channels elements. A thread takes deviations from its own first row, and means are merged in f64, so that a large
/// common offset costs no precision.
template <int kWidth, class T>
__global__ void __launch_bounds__(kSumThreads, kWidth == 1 ? 2 : 1)
    row_statistics_kernel(const T* x, const __grid_constant__ RowTiles tiles, double* means, float* squares) {
  const Place at = place_of<kWidth>(tiles);
  const bool has_rows = at.inside && at.first_row < tiles.rows;
  const T* column = x + std::int64_t{blockIdx.z} * tiles.rows * tiles.channels + at.channel;
  Floats<kWidth> sum = splat<kWidth>(0.0f), square = splat<kWidth>(0.0f), pivot = splat<kWidth>(0.0f);
  double mean[kWidth];
  double count = 0.0;
  if (has_rows) {
    pivot = load<kWidth>(column + at.first_row * tiles.channels);
    for (std::int64_t row = at.first_row; row < tiles.rows; row += kBatch * at.row_step) {
      Floats<kWidth> values[kBatch];
#pragma unroll
      for (int j = 0; j < kBatch; ++j) {
        const std::int64_t r = row + j * at.row_step;
        values[j] = r < tiles.rows ? load<kWidth>(column + r * tiles.channels) : pivot;
      }
#pragma unroll
      for (int j = 0; j < kBatch; ++j) {
#pragma unroll
        for (int i = 0; i < kWidth; ++i) {
          const float d = values[j][i] - pivot[i];
          sum[i] += d;
          square[i] += d * d;
        }
      }
    }
    count = static_cast<double>(ceil_div(tiles.rows - at.first_row, at.row_step));
  }
  const float share = has_rows ? 1.0f / static_cast<float>(count) : 0.0f;
#pragma unroll
  for (int i = 0; i < kWidth; ++i) {
    mean[i] = static_cast<double>(pivot[i]) + static_cast<double>(sum[i] * share);
    square[i] = larger(0.0f, square[i] - sum[i] * sum[i] * share);
  }
  __shared__ SharedArray<double, kWidth * kSumThreads / 2> other_means;
  __shared__ SharedArray<float, kWidth * kSumThreads / 2> other_squares;
  __shared__ SharedArray<double, kSumThreads / 2> other_counts;
  merge_lanes(
      tiles, at,
      [&](int slot) {
        other_counts[slot] = count;
#pragma unroll
        for (int i = 0; i < kWidth; ++i) {
          other_means[i * (kSumThreads / 2) + slot] = mean[i];
          other_squares[i * (kSumThreads / 2) + slot] = square[i];
        }
      },
      [&](int slot) {  // Chan, Golub and LeVeque 1979, "Updating formulae …", eq. 2.1
        const double other_count = other_counts[slot];
        if (other_count == 0.0) return;  // a lane has at least as many rows as those after it
        const double other_share = other_count / (count + other_count);
#pragma unroll
        for (int i = 0; i < kWidth; ++i) {
          const double other_mean = other_means[i * (kSumThreads / 2) + slot];
          const float other_square = other_squares[i * (kSumThreads / 2) + slot];
          const double d = other_mean - mean[i];
          mean[i] += d * other_share;
          square[i] += other_square + static_cast<float>(d * d * (count * other_share));
        }
        count += other_count;
      });
  if (at.inside && at.lane == 0) {
    const std::int64_t split = std::int64_t{blockIdx.z} * tiles.splits + blockIdx.x;
    const std::int64_t to = split * tiles.channels + at.channel;
#pragma unroll
    for (int i = 0; i < kWidth; ++i) means[to + i] = mean[i];
    store<kWidth>(squares + to, square);
  }
}

}  // namespace ddpmts::kernels::cuda
