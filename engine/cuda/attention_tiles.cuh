// What the attention kernels are made of: tiles of 64×64 numbers that a block of 16×16 threads computes, 4×4 a thread, from
// strips of 32 columns or rows in shared memory. Everything in f32.
#pragma once

#include "kernels/cuda/vector.cuh"

namespace ddpmts::cuda::attention {

using namespace ddpmts::kernels::cuda;

constexpr int kTile = 64;   // tokens of a tile, and channels of a result's slice
constexpr int kDepth = 32;  // columns or rows in shared memory at a time
constexpr int kSide = 16;   // threads along each side of a tile
constexpr int kPart = 4;    // rows and columns of one thread
constexpr int kThreads = kSide * kSide;
constexpr int kStride =
    kSide + 1;  // Fours in a line of a strip; one more than needed keeps lines on other banks

/// Four numbers in one access.
struct alignas(16) Four {
  float v[kPart];
};
using Strip = SharedArray<Four, kDepth * kStride>;  ///< [kDepth][kTile]
using Weights =
    SharedArray<Four, kTile * kStride>;  ///< [kTile of what is summed over][kTile rows of the result]
struct Part {
  Floats<kPart> row[kPart];
};

__device__ __forceinline__ Part zero_part() {
  Part part;
#pragma unroll
  for (int r = 0; r < kPart; ++r) part.row[r] = splat<kPart>(0.0f);
  return part;
}

/// [tokens, columns] of one head, among rows of `stride` elements.
template <class T>
struct HeadRows {
  T* first;
  std::int64_t stride;
  int tokens, columns;
  bool vectors;  ///< four neighbouring columns from a multiple of four on are one access
};

/// The thread's place in a tile.
__device__ __forceinline__ int row_of_thread() { return static_cast<int>(threadIdx.x) / kSide; }
__device__ __forceinline__ int column_of_thread() { return static_cast<int>(threadIdx.x) % kSide; }

/// strip[k][i] = rows[token + i][column + k], zeros beyond the ends.
template <class T>
__device__ __forceinline__ void load_transposed(Strip& strip, const HeadRows<T>& rows, int token,
                                                int column) {
#pragma unroll 1
  for (int at = static_cast<int>(threadIdx.x); at < kDepth * kSide; at += kThreads) {
    const int k = at % kDepth, i = at / kDepth, t = token + kPart * i;
    Four four;
#pragma unroll
    for (int j = 0; j < kPart; ++j) {
      const bool inside = t + j < rows.tokens && column + k < rows.columns;
      four.v[j] = inside ? to_float(rows.first[(t + j) * rows.stride + column + k]) : 0.0f;
    }
    strip[k * kStride + i] = four;
  }
}

/// strip[k][i] = rows[token + k][column + i], zeros beyond the ends.
template <class T>
__device__ __forceinline__ void load_rows(Strip& strip, const HeadRows<T>& rows, int token, int column) {
#pragma unroll 1
  for (int at = static_cast<int>(threadIdx.x); at < kDepth * kSide; at += kThreads) {
    const int k = at / kSide, i = at % kSide, c = column + kPart * i;
    Four four{};
    if (token + k < rows.tokens && c < rows.columns) {
      const T* from = rows.first + (token + k) * rows.stride + c;
      const Floats<kPart> values =
          rows.vectors ? load<kPart>(from) : load_upto<kPart>(from, rows.columns - c);
#pragma unroll
      for (int j = 0; j < kPart; ++j) four.v[j] = values[j];
    }
    strip[k * kStride + i] = four;
  }
}

/// part += Σ_k a[first + k]ᵀ·b[k], k < depth.
template <class Lines>
__device__ __forceinline__ void multiply(Lines& a, int first, Strip& b, int depth, Part& part) {
  const int row = row_of_thread(), column = column_of_thread();
#pragma unroll 2
  for (int k = 0; k < depth; ++k) {
    const Four x = a[(first + k) * kStride + row];
    const Four y = b[k * kStride + column];
#pragma unroll
    for (int r = 0; r < kPart; ++r) {
#pragma unroll
      for (int c = 0; c < kPart; ++c) part.row[r][c] += x.v[r] * y.v[c];
    }
  }
}

/// The tile a[a_token …]·b[b_token …]ᵀ. Begins and ends with all threads done with the strips.
template <class T>
__device__ __forceinline__ Part products_of_rows(Strip& strip_a, Strip& strip_b, const HeadRows<T>& a,
                                                 int a_token, const HeadRows<T>& b, int b_token) {
  Part part = zero_part();
  for (int column = 0; column < a.columns; column += kDepth) {
    load_transposed(strip_a, a, a_token, column);
    load_transposed(strip_b, b, b_token, column);
    __syncthreads();
    multiply(strip_a, 0, strip_b, smaller(kDepth, a.columns - column), part);
    __syncthreads();
  }
  return part;
}

/// weights[column][row] of the tile = part: laid out as what is summed over next. A barrier must follow.
__device__ __forceinline__ void put_weights(Weights& weights, const Part& part) {
#pragma unroll
  for (int c = 0; c < kPart; ++c) {
    Four four;
#pragma unroll
    for (int r = 0; r < kPart; ++r) four.v[r] = part.row[r][c];
    weights[(kPart * column_of_thread() + c) * kStride + row_of_thread()] = four;
  }
}

/// part += weightsᵀ·rows[token …, column …]. The weights may have been put right before; ends with all threads done with
/// them and with the strip.
template <class T>
__device__ __forceinline__ void add_weighted_rows(Weights& weights, Strip& strip, const HeadRows<T>& rows,
                                                  int token, int column, Part& part) {
  for (int k = 0; k < kTile; k += kDepth) {
    load_rows(strip, rows, token + k, column);
    __syncthreads();
    multiply(weights, k, strip, smaller(kDepth, rows.tokens - token - k), part);
    __syncthreads();
  }
}

/// rows[token + row, column + …] = the thread's part, each row times its factor.
template <class T>
__device__ __forceinline__ void write_part(const HeadRows<T>& rows, int token, int column, const Part& part,
                                           const Floats<kPart>& factors) {
  const int t = token + kPart * row_of_thread(), c = column + kPart * column_of_thread();
  if (c >= rows.columns) return;
#pragma unroll
  for (int r = 0; r < kPart; ++r) {
    if (t + r >= rows.tokens) continue;
    Floats<kPart> values = part.row[r];
#pragma unroll
    for (int j = 0; j < kPart; ++j) values[j] *= factors[r];
    T* to = rows.first + (t + r) * rows.stride + c;
    if (rows.vectors) {
      store<kPart>(to, values);
    } else {
      store_upto<kPart>(to, values, rows.columns - c);
    }
  }
}

}  // namespace ddpmts::cuda::attention
