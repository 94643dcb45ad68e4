// The CUDA device of a build without CUDA: every call says so.
#include "engine/cuda/primitives.h"

#include "engine/memory.h"

namespace ddpmts::cuda {
namespace {

[[noreturn]] void absent() {
  throw_error<DeviceError>(
      "this program was built without CUDA; use --device cpu, or build it where nvcc is installed");
}

}  // namespace

void conv_forward(const ConvShape&, const void*, Parameter&, const ConvEpilogue&, void*) { absent(); }
void conv_backward_data(const ConvShape&, const void*, Parameter&, void*) { absent(); }
void conv_backward_weights(const ConvShape&, const void*, const void*, float*, float*) { absent(); }
void matmul(const MatmulShape&, const void*, const void*, const float*, void*) { absent(); }
std::size_t attention_saved_bytes(const AttentionShape&) { absent(); }
void attention_forward(const AttentionShape&, const void*, void*, void*) { absent(); }
void attention_backward(const AttentionShape&, const void*, const void*, const void*, const void*, void*) {
  absent();
}
std::size_t pool_workspace_bytes(const PoolShape&) { absent(); }
void pool_forward(const PoolShape&, const void*, void*, void*) { absent(); }
void pool_backward(const PoolShape&, const void*, const void*, void*) { absent(); }
bool has_fast_bf16(int) { absent(); }
std::string describe(int) { absent(); }
kernels::Stream current_stream(int) { absent(); }

void* allocate(int, std::size_t) { absent(); }
void release(int, void*) { absent(); }
void copy(void*, bool, const void*, bool, std::size_t, kernels::Stream) { absent(); }
void zero(void*, std::size_t, kernels::Stream) { absent(); }

}  // namespace ddpmts::cuda
