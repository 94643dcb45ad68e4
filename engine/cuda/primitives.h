// engine/primitives.h on a GPU (or its stub). Only engine/*.cpp and engine/cuda, engine/no_cuda include this. `device`
// is the GPU's index.
#pragma once

#include <string>
#include <vector>

#include "engine/primitives.h"

namespace ddpmts::cuda {

void conv_forward(int device, const ConvShape& shape, const void* x, Parameter& weight,
                  const ConvEpilogue& epilogue, void* y);
void conv_backward_data(int device, const ConvShape& shape, const void* dy, Parameter& weight, void* dx);
void conv_backward_weights(int device, const ConvShape& shape, const void* x, const void* dy, float* dw,
                           float* dbias);
void matmul(int device, const MatmulShape& shape, const void* a, const void* b, const float* bias, void* c);
std::size_t attention_saved_bytes(const AttentionShape& shape);
void attention_forward(int device, const AttentionShape& shape, const void* qkv, void* out, void* saved);
void attention_backward(int device, const AttentionShape& shape, const void* qkv, const void* out,
                        const void* saved, const void* dout, void* dqkv);
std::size_t pool_workspace_bytes(const PoolShape& shape);
void pool_forward(int device, const PoolShape& shape, const void* x, void* y, void* workspace);
void pool_backward(int device, const PoolShape& shape, const void* dy, const void* workspace, void* dx);

extern const bool kInThisBuild;
/// Throws DeviceError, naming all that is missing, unless the device can be used.
void require(int device);
bool has_fast_bf16(int device);
std::string describe(int device);
kernels::Stream current_stream(int device);
void synchronize(int device);
/// What `ddpmts check` says: one line a GPU, or why there is none.
std::vector<std::string> report();

}  // namespace ddpmts::cuda
