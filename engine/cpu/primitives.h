// engine/primitives.h on the CPU. Only engine/primitives.cpp and engine/cpu include this.
#pragma once

#include "engine/primitives.h"

namespace ddpmts::cpu {

void conv_forward(const ConvShape& shape, const void* x, Parameter& weight, const ConvEpilogue& epilogue,
                  void* y);
void conv_backward_data(const ConvShape& shape, const void* dy, Parameter& weight, void* dx);
void conv_backward_weights(const ConvShape& shape, const void* x, const void* dy, float* dw, float* dbias);
void matmul(const MatmulShape& shape, const void* a, const void* b, const float* bias, void* c);
std::size_t attention_saved_bytes(const AttentionShape& shape);
void attention_forward(const AttentionShape& shape, const void* qkv, void* out, void* saved);
void attention_backward(const AttentionShape& shape, const void* qkv, const void* out, const void* saved,
                        const void* dout, void* dqkv);
std::size_t pool_workspace_bytes(const PoolShape& shape);
void pool_forward(const PoolShape& shape, const void* x, void* y, void* workspace);
void pool_backward(const PoolShape& shape, const void* dy, const void* workspace, void* dx);

bool has_fast_bf16();
std::string describe();

}  // namespace ddpmts::cpu
