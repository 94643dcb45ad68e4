// The shapes of the library primitives (engine/primitives.h), as plain structs that CUDA sources can include too.
#pragma once

#include "kernels/types.h"

namespace ddpmts {

/// A 2-D convolution, NHWC × KRSC → NHWC, symmetric padding, f32 or bf16 with f32 accumulation.
struct ConvShape {
  std::int64_t n = 1, h = 1, w = 1, c = 1;  ///< input
  std::int64_t k = 1, r = 1, s = 1;         ///< output channels, filter height and width
  std::int64_t stride = 1, padding = 0, dilation = 1;
  DType type = DType::f32;

  std::int64_t out_h() const { return (h + 2 * padding - dilation * (r - 1) - 1) / stride + 1; }
  std::int64_t out_w() const { return (w + 2 * padding - dilation * (s - 1) - 1) / stride + 1; }
  double flops() const {
    return 2.0 * static_cast<double>(n * out_h() * out_w() * k) * static_cast<double>(c * r * s);
  }
  bool operator==(const ConvShape&) const = default;
};

enum class ConvPass : std::uint8_t { forward, backward_data, backward_weights };

/// c[m, n] = op(a)·op(b) (+ bias[n]); row-major; op transposes: a is then [k, m], b [n, k]. f32 accumulation.
struct MatmulShape {
  std::int64_t m = 1, n = 1, k = 1;
  bool transpose_a = false, transpose_b = false;
  DType type = DType::f32;         ///< of a and b
  DType result_type = DType::f32;  ///< of c

  double flops() const { return 2.0 * static_cast<double>(m * n) * static_cast<double>(k); }
  bool operator==(const MatmulShape&) const = default;
};

/// Softmax attention (arXiv 1706.03762 eq. 1) within each picture, per head: out = softmax(q·kᵀ/sqrt(head_channels))·v.
/// qkv [n, tokens, 3·heads·head_channels] holds all queries, then all keys, then all values, each head after head;
/// out [n, tokens, heads·head_channels]. Logits and softmax in f32.
struct AttentionShape {
  std::int64_t n = 1, tokens = 1, heads = 1, head_channels = 1;
  DType type = DType::f32;

  std::int64_t channels() const { return heads * head_channels; }
  /// Of the two products, q·kᵀ and softmax(…)·v.
  double forward_flops() const {
    return 4.0 * static_cast<double>(n * tokens * tokens) * static_cast<double>(channels());
  }
  bool operator==(const AttentionShape&) const = default;
};

/// average divides by the positions inside the picture, average_padded by the window: zeros outside count.
enum class PoolKind : std::uint8_t { max, average, average_padded };

struct PoolShape {
  PoolKind kind = PoolKind::max;
  std::int64_t n = 1, h = 1, w = 1, c = 1;
  std::int64_t window_h = 3, window_w = 3, stride = 2, padding = 1;
  DType type = DType::f32;

  std::int64_t out_h() const { return (h + 2 * padding - window_h) / stride + 1; }
  std::int64_t out_w() const { return (w + 2 * padding - window_w) / stride + 1; }
  bool operator==(const PoolShape&) const = default;
};

}  // namespace ddpmts
