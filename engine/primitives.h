// The library's part of the work: convolution, matrix product, attention and pooling. One contract, implemented by
// engine/cpu (oneDNN), engine/cuda (cuDNN, cuBLASLt) and engine/no_cuda (says that CUDA is not in this
// build). Raw pointers in, raw pointers out; shapes are checked by the operations above (engine/ops.h).
#pragma once

#include <memory>

#include "engine/parameter.h"

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

/// What a convolution does to its sum before it is stored.
struct ConvEpilogue {
  const float* bias = nullptr;  ///< [k], null: none
  bool accumulate = false;      ///< y holds a residual: it is added
  bool relu = false;            ///< last
};

/// y = epilogue(conv(x, weight)). x, y in shape.type; the weight in the same type through Parameter::compute.
void conv_forward(Device device, const ConvShape& shape, const void* x, Parameter& weight,
                  const ConvEpilogue& epilogue, void* y);
/// dx = conv_transposed(dy, weight), overwritten.
void conv_backward_data(Device device, const ConvShape& shape, const void* dy, Parameter& weight, void* dx);
/// dw [k, r, s, c] f32 and, when not null, dbias [k] f32, overwritten.
void conv_backward_weights(Device device, const ConvShape& shape, const void* x, const void* dy, float* dw,
                           float* dbias);

/// c[m, n] = op(a)·op(b) (+ bias[n]); row-major; op transposes: a is then [k, m], b [n, k]. f32 accumulation.
struct MatmulShape {
  std::int64_t m = 1, n = 1, k = 1;
  bool transpose_a = false, transpose_b = false;
  DType type = DType::f32;         ///< of a and b
  DType result_type = DType::f32;  ///< of c

  double flops() const { return 2.0 * static_cast<double>(m * n) * static_cast<double>(k); }
  bool operator==(const MatmulShape&) const = default;
};
void matmul(Device device, const MatmulShape& shape, const void* a, const void* b, const float* bias,
            void* c);

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

/// Bytes that the forward pass keeps for the backward pass besides qkv and out; may be 0.
std::size_t attention_saved_bytes(Device device, const AttentionShape& shape);
/// saved: attention_saved_bytes, or null when no backward pass will follow.
void attention_forward(Device device, const AttentionShape& shape, const void* qkv, void* out, void* saved);
/// dqkv in qkv's layout, overwritten.
void attention_backward(Device device, const AttentionShape& shape, const void* qkv, const void* out,
                        const void* saved, const void* dout, void* dqkv);

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

/// Bytes of the record of maxima that the backward pass needs; 0 for both average poolings.
std::size_t pool_workspace_bytes(Device device, const PoolShape& shape);
/// workspace: pool_workspace_bytes, or null when no backward pass will follow.
void pool_forward(Device device, const PoolShape& shape, const void* x, void* y, void* workspace);
void pool_backward(Device device, const PoolShape& shape, const void* dy, const void* workspace, void* dx);

}  // namespace ddpmts
