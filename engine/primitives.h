// The library's part of the work: convolution, matrix product, attention and pooling. One contract, implemented by
// engine/cpu (oneDNN), engine/cuda (cuDNN, cuBLASLt) and engine/no_cuda (says that CUDA is not in this
// build). Raw pointers in, raw pointers out; shapes are checked by the operations above (engine/ops.h).
#pragma once

#include <memory>

#include "engine/parameter.h"
#include "engine/primitive_shapes.h"

namespace ddpmts {

/// What a convolution does to its sum before it is stored: relu?(sum + bias + residual).
struct ConvEpilogue {
  const float* bias = nullptr;  ///< [k], null: none
  const void* residual =
      nullptr;        ///< like y, added; null: none. May be y itself: free on the CPU, a copy on a GPU.
  bool relu = false;  ///< last
};

/// y = epilogue(conv(x, weight)). x, y in shape.type; the weight in the same type through Parameter::compute.
void conv_forward(Device device, const ConvShape& shape, const void* x, Parameter& weight,
                  const ConvEpilogue& epilogue, void* y);
/// dx = conv_transposed(dy, weight), overwritten.
void conv_backward_data(Device device, const ConvShape& shape, const void* dy, Parameter& weight, void* dx);
/// dw [k, r, s, c] f32 and, when not null, dbias [k] f32, overwritten.
void conv_backward_weights(Device device, const ConvShape& shape, const void* x, const void* dy, float* dw,
                           float* dbias);

/// c = op(a)·op(b) (+ bias [n]), as MatmulShape says.
void matmul(Device device, const MatmulShape& shape, const void* a, const void* b, const float* bias,
            void* c);

/// Bytes that the forward pass keeps for the backward pass besides qkv and out; may be 0.
std::size_t attention_saved_bytes(Device device, const AttentionShape& shape);
/// saved: attention_saved_bytes, or null when no backward pass will follow.
void attention_forward(Device device, const AttentionShape& shape, const void* qkv, void* out, void* saved);
/// dqkv in qkv's layout, overwritten.
void attention_backward(Device device, const AttentionShape& shape, const void* qkv, const void* out,
                        const void* saved, const void* dout, void* dqkv);

/// Bytes of the record of maxima that the backward pass needs; 0 for both average poolings.
std::size_t pool_workspace_bytes(Device device, const PoolShape& shape);
/// workspace: pool_workspace_bytes, or null when no backward pass will follow.
void pool_forward(Device device, const PoolShape& shape, const void* x, void* y, void* workspace);
void pool_backward(Device device, const PoolShape& shape, const void* dy, const void* workspace, void* dx);

}  // namespace ddpmts
