// The kernels that stand around cuDNN and cuBLASLt: channel padding, the epilogue of a convolution whose fused form no
// engine takes, sums over rows, convolution as a matrix product, pooling, attention. Raw device pointers; sizes were
// checked above.
#pragma once

#include <cstdint>

#include "engine/primitive_shapes.h"

namespace ddpmts::cuda {

/// dst[i, j] = src[i, j] where both have it, else 0. Pads and narrows rows of 2- or 4-byte elements.
struct CopyRowsArgs {
  std::size_t element_bytes = 4;
  std::int64_t src_rows = 0, src_columns = 0, dst_rows = 0, dst_columns = 0;
  const void* src = nullptr;
  void* dst = nullptr;
};
void copy_rows(const CopyRowsArgs& args, kernels::Stream stream);

/// y = relu?(sum + bias? + residual?), y and residual of `type`. Bytes: 4 + 1 or 2 elements of y.
struct EpilogueArgs {
  DType type = DType::f32;
  std::int64_t rows = 0, channels = 0;
  const float* sum = nullptr;      ///< [rows, channels]
  const float* bias = nullptr;     ///< [channels], null: none
  const void* residual = nullptr;  ///< [rows, channels], null: none; may be y
  bool relu = false;
  void* y = nullptr;  ///< may be `sum` in f32
};
void epilogue(const EpilogueArgs& args, kernels::Stream stream);

/// dst[g, c] = scale · Σ_rows src[g, row, c], f32 sums in an order that does not change from run to run.
struct RowSumsArgs {
  DType type = DType::f32;  ///< of src
  DType dst_type = DType::f32;
  std::int64_t groups = 1, rows = 0, channels = 0;
  float scale = 1.0f;
  const void* src = nullptr;
  void* dst = nullptr;
  float* partials = nullptr;  ///< row_sum_slices(args)·groups·channels floats
};
std::int64_t row_sum_slices(const RowSumsArgs& args);
void row_sums(const RowSumsArgs& args, kernels::Stream stream);

/// columns[n·p·q, r·s·c] of `images` images: what a convolution multiplies with its weights.
struct UnfoldArgs {
  ConvShape shape;          ///< n is the number of images here
  const void* x = nullptr;  ///< [n, h, w, c] of shape.type
  void* columns = nullptr;  ///< of shape.type
};
void unfold(const UnfoldArgs& args, kernels::Stream stream);

/// The adjoint: dx[n, h, w, c] of shape.type from f32 columns; gathers, so its order of summation is fixed.
struct FoldArgs {
  ConvShape shape;
  const float* columns = nullptr;
  void* dx = nullptr;
};
void fold(const FoldArgs& args, kernels::Stream stream);

/// The window's index of each maximum is a byte where windows have at most 256 elements, else an i32.
inline std::size_t pool_index_bytes(const PoolShape& s) { return s.window_h * s.window_w <= 256 ? 1 : 4; }
/// index may be null.
void max_pool_forward(const PoolShape& shape, const void* x, void* y, void* index, kernels::Stream stream);
void max_pool_backward(const PoolShape& shape, const void* dy, const void* index, void* dx,
                       kernels::Stream stream);
void average_pool_forward(const PoolShape& shape, const void* x, void* y, kernels::Stream stream);
void average_pool_backward(const PoolShape& shape, const void* dy, void* dx, kernels::Stream stream);

/// The forward pass of engine/primitives.h's attention. log_sums: [n, heads, tokens] out, log Σ exp of a row's logits, for
/// the backward pass; null: not wanted.
void attention_softmax(const AttentionShape& shape, const void* qkv, void* out, float* log_sums,
                       kernels::Stream stream);
/// The backward pass: dqkv in qkv's layout, overwritten; in a fixed order of summation.
struct AttentionGradientArgs {
  AttentionShape shape;
  const void* qkv = nullptr;
  const void* out = nullptr;
  const void* dout = nullptr;
  const float* log_sums = nullptr;  ///< from attention_softmax
  float* dots = nullptr;            ///< scratch, [n, heads, tokens]
  void* dqkv = nullptr;
};
void attention_gradients(const AttentionGradientArgs& args, kernels::Stream stream);

/// Whether this program holds machine code or PTX that the current device runs.
bool kernels_fit_current_device();

}  // namespace ddpmts::cuda
