// Softmax attention and its gradient without anything of size tokens² in memory (contract: device_kernels.h). The softmax
//   is taken tile by tile (arXiv 2205.14135, Alg. 1); the backward pass makes the weights again from the rows' log-sums.
// Layout: a block has 64 queries (for the gradients of keys and values: 64 keys) of one head, and 64 of its channels.
// Bytes moved: q, k, v and out once per tile that needs them, mostly from the L2; 4 bytes a row and head for the log-sums.
// Variants: f32, bf16, arithmetic in f32 in both; four-element accesses where head_channels and pointers allow.
#include "engine/cuda/attention_tiles.cuh"
#include "engine/cuda/device_kernels.h"
#include "kernels/cuda/reduce.cuh"

namespace ddpmts::cuda {
namespace attention {
namespace {

constexpr int kDotThreads = 256;

/// How heads lie in memory, and which part of the work a block has.
struct Geometry {
  std::int64_t heads, channels;  ///< of all heads
  int tokens, columns;           ///< of one head
  int tiles, slices;             ///< of 64 tokens; of 64 channels
  float scale;
  bool vectors;

  struct Block {
    std::int64_t picture, head;
    int token, column;  ///< where its tile and its slice begin
  };
  __device__ __forceinline__ Block block() const {
    const unsigned parts = static_cast<unsigned>(tiles) * static_cast<unsigned>(slices);
    const unsigned of_head = blockIdx.x % parts;
    const std::int64_t both = blockIdx.x / parts;
    const std::int64_t picture = quotient(both, heads);
    return Block{picture, both - picture * heads,
                 static_cast<int>(of_head % static_cast<unsigned>(tiles)) * kTile,
                 static_cast<int>(of_head / static_cast<unsigned>(tiles)) * kTile};
  }
  /// Part `part` of `parts`, [picture, token, part, head, column].
  template <class T>
  __device__ __forceinline__ HeadRows<T> rows(T* data, const Block& at, int parts, int part) const {
    const std::int64_t stride = parts * channels;
    return HeadRows<T>{data + at.picture * tokens * stride + part * channels + at.head * columns, stride,
                       tokens, columns, vectors};
  }
  /// The rows' numbers of one head in [picture, head, token].
  __device__ __forceinline__ std::int64_t numbers(const Block& at) const {
    return (at.picture * heads + at.head) * tokens;
  }
};

Geometry geometry_of(const AttentionShape& s, bool aligned) {
  return Geometry{s.heads,
                  s.channels(),
                  static_cast<int>(s.tokens),
                  static_cast<int>(s.head_channels),
                  static_cast<int>(ceil_div(s.tokens, kTile)),
                  static_cast<int>(ceil_div(s.head_channels, kTile)),
                  static_cast<float>(1.0 / sqrt(static_cast<double>(s.head_channels))),
                  aligned && s.head_channels % kPart == 0};
}

unsigned blocks_of(const AttentionShape& s, const Geometry& g) {
  return blocks_for(s.n * s.heads * g.tiles * g.slices, 1);
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    forward_kernel(const T* qkv, T* out, float* log_sums, const __grid_constant__ Geometry g) {
  __shared__ Strip strip_a, strip_b;
  __shared__ Weights weights;
  const Geometry::Block at = g.block();
  const HeadRows<const T> q = g.rows(qkv, at, 3, 0), k = g.rows(qkv, at, 3, 1), v = g.rows(qkv, at, 3, 2);
  Part sum = zero_part();
  Floats<kPart> highest = splat<kPart>(-INFINITY), total = splat<kPart>(0.0f);
  for (int key = 0; key < g.tokens; key += kTile) {
    Part part = products_of_rows(strip_a, strip_b, q, at.token, k, key);
#pragma unroll
    for (int r = 0; r < kPart; ++r) {
      float top = -INFINITY;
#pragma unroll
      for (int c = 0; c < kPart; ++c) {
        const bool inside = key + kPart * column_of_thread() + c < g.tokens;
        part.row[r][c] = inside ? part.row[r][c] * g.scale : -INFINITY;
        top = fmaxf(top, part.row[r][c]);
      }
      top = fmaxf(highest[r], group_max(top, kSide));
      const float base = top == -INFINITY ? 0.0f : top;  // nothing but −∞ so far: every weight is 0
      const float keep = expf(highest[r] - base);
      highest[r] = top;
      float of_tile = 0.0f;
#pragma unroll
      for (int c = 0; c < kPart; ++c) {
        part.row[r][c] = expf(part.row[r][c] - base);
        of_tile += part.row[r][c];
        sum.row[r][c] *= keep;
      }
      total[r] = total[r] * keep + group_sum(of_tile, kSide);
    }
    put_weights(weights, part);
    add_weighted_rows(weights, strip_b, v, key, at.column, sum);
  }
  Floats<kPart> shares;
#pragma unroll
  for (int r = 0; r < kPart; ++r) shares[r] = 1.0f / total[r];
  write_part(g.rows(out, at, 1, 0), at.token, at.column, sum, shares);
  if (log_sums == nullptr || at.column != 0 || column_of_thread() != 0) return;
#pragma unroll
  for (int r = 0; r < kPart; ++r) {
    const int token = at.token + kPart * row_of_thread() + r;
    if (token < g.tokens) log_sums[g.numbers(at) + token] = highest[r] + logf(total[r]);
  }
}

/// dots[picture, head, token] = Σ out·dout over the head's channels. A warp has one row.
template <class T>
__global__ void __launch_bounds__(kDotThreads)
    dots_kernel(const T* out, const T* dout, float* dots, std::int64_t rows,
                const __grid_constant__ Geometry g) {
  const std::int64_t row = std::int64_t{blockIdx.x} * (kDotThreads / kWarp) + threadIdx.x / kWarp;
  if (row >= rows) return;  // the whole warp
  float sum = 0.0f;
  for (int c = static_cast<int>(threadIdx.x) % kWarp; c < g.columns; c += kWarp) {
    sum += to_float(out[row * g.columns + c]) * to_float(dout[row * g.columns + c]);
  }
  sum = warp_sum(sum);
  if (threadIdx.x % kWarp != 0) return;
  const std::int64_t token = quotient(row, g.heads), picture = quotient(token, g.tokens);
  dots[(picture * g.heads + row - token * g.heads) * g.tokens + token - picture * g.tokens] = sum;
}

/// One query's softmax weight of one key, and the gradient of their logit before scaling.
struct Weight {
  float weight, gradient;
};
__device__ __forceinline__ Weight weight_of(float product, float dproduct, float log_sum, float dot,
                                            float scale, bool inside) {
  const float weight = inside ? expf(product * scale - log_sum) : 0.0f;
  return Weight{weight, inside ? weight * (dproduct - dot) * scale : 0.0f};
}

/// dq = Σ_keys w·(dw − dot)·scale·k.
template <class T>
__global__ void __launch_bounds__(kThreads)
    query_gradient_kernel(const T* qkv, const T* dout, const float* log_sums, const float* dots, T* dqkv,
                          const __grid_constant__ Geometry g) {
  __shared__ Strip strip_a, strip_b;
  __shared__ Weights weights;
  const Geometry::Block at = g.block();
  const HeadRows<const T> q = g.rows(qkv, at, 3, 0), k = g.rows(qkv, at, 3, 1), v = g.rows(qkv, at, 3, 2);
  const HeadRows<const T> gradient = g.rows(dout, at, 1, 0);
  Floats<kPart> log_sum = splat<kPart>(0.0f), dot = log_sum;
  const int query = at.token + kPart * row_of_thread();
#pragma unroll
  for (int r = 0; r < kPart; ++r) {
    if (query + r >= g.tokens) continue;
    log_sum[r] = log_sums[g.numbers(at) + query + r];
    dot[r] = dots[g.numbers(at) + query + r];
  }
  Part sum = zero_part();
  for (int key = 0; key < g.tokens; key += kTile) {
    Part part = products_of_rows(strip_a, strip_b, q, at.token, k, key);
    const Part dpart = products_of_rows(strip_a, strip_b, gradient, at.token, v, key);
#pragma unroll
    for (int r = 0; r < kPart; ++r) {
#pragma unroll
      for (int c = 0; c < kPart; ++c) {
        const bool inside = query + r < g.tokens && key + kPart * column_of_thread() + c < g.tokens;
        part.row[r][c] =
            weight_of(part.row[r][c], dpart.row[r][c], log_sum[r], dot[r], g.scale, inside).gradient;
      }
    }
    put_weights(weights, part);
    add_weighted_rows(weights, strip_b, k, key, at.column, sum);
  }
  write_part(g.rows(dqkv, at, 3, 0), at.token, at.column, sum, splat<kPart>(1.0f));
}

/// dv = Σ_queries w·dout, dk = Σ_queries w·(dw − dot)·scale·q. Rows of the tiles are keys here, columns queries.
template <class T>
__global__ void __launch_bounds__(kThreads)
    key_value_gradient_kernel(const T* qkv, const T* dout, const float* log_sums, const float* dots, T* dqkv,
                              const __grid_constant__ Geometry g) {
  __shared__ Strip strip_a, strip_b;
  __shared__ Weights weights;
  const Geometry::Block at = g.block();
  const HeadRows<const T> q = g.rows(qkv, at, 3, 0), k = g.rows(qkv, at, 3, 1), v = g.rows(qkv, at, 3, 2);
  const HeadRows<const T> gradient = g.rows(dout, at, 1, 0);
  Part key_sum = zero_part(), value_sum = zero_part();
  const int key = at.token + kPart * row_of_thread();
  for (int query = 0; query < g.tokens; query += kTile) {
    Part part = products_of_rows(strip_a, strip_b, k, at.token, q, query);
    Part dpart = products_of_rows(strip_a, strip_b, v, at.token, gradient, query);
#pragma unroll
    for (int c = 0; c < kPart; ++c) {
      const int token = query + kPart * column_of_thread() + c;
      const bool is_query = token < g.tokens;
      const float log_sum = is_query ? log_sums[g.numbers(at) + token] : 0.0f;
      const float dot = is_query ? dots[g.numbers(at) + token] : 0.0f;
#pragma unroll
      for (int r = 0; r < kPart; ++r) {
        const Weight both =
            weight_of(part.row[r][c], dpart.row[r][c], log_sum, dot, g.scale, is_query && key + r < g.tokens);
        part.row[r][c] = both.weight;
        dpart.row[r][c] = both.gradient;
      }
    }
    put_weights(weights, part);
    add_weighted_rows(weights, strip_b, gradient, query, at.column, value_sum);
    put_weights(weights, dpart);
    add_weighted_rows(weights, strip_b, q, query, at.column, key_sum);
  }
  write_part(g.rows(dqkv, at, 3, 1), at.token, at.column, key_sum, splat<kPart>(1.0f));
  write_part(g.rows(dqkv, at, 3, 2), at.token, at.column, value_sum, splat<kPart>(1.0f));
}

}  // namespace
}  // namespace attention

void attention_softmax(const AttentionShape& shape, const void* qkv, void* out, float* log_sums,
                       kernels::Stream stream) {
  using namespace attention;
  kernels::with_float_type(shape.type, [&](auto zero) {
    using T = decltype(zero);
    const T* in = static_cast<const T*>(qkv);
    T* result = static_cast<T*>(out);
    const Geometry g = geometry_of(shape, aligned_to_16(in, result));
    launch("attention_forward", forward_kernel<T>, blocks_of(shape, g), kThreads, 0, stream, in, result,
           log_sums, g);
  });
}

void attention_gradients(const AttentionGradientArgs& args, kernels::Stream stream) {
  using namespace attention;
  const AttentionShape& s = args.shape;
  kernels::with_float_type(s.type, [&](auto zero) {
    using T = decltype(zero);
    const T *qkv = static_cast<const T*>(args.qkv), *out = static_cast<const T*>(args.out),
            *dout = static_cast<const T*>(args.dout);
    T* dqkv = static_cast<T*>(args.dqkv);
    const Geometry g = geometry_of(s, aligned_to_16(qkv, dout, dqkv));
    const std::int64_t rows = s.n * s.tokens * s.heads;
    launch("attention_dots", dots_kernel<T>, blocks_for(rows, kDotThreads / kWarp), kDotThreads, 0, stream,
           out, dout, args.dots, rows, g);
    launch("attention_query_gradient", query_gradient_kernel<T>, blocks_of(s, g), kThreads, 0, stream, qkv,
           dout, args.log_sums, args.dots, dqkv, g);
    launch("attention_key_value_gradient", key_value_gradient_kernel<T>, blocks_of(s, g), kThreads, 0, stream,
           qkv, dout, args.log_sums, args.dots, dqkv, g);
  });
}

}  // namespace ddpmts::cuda
