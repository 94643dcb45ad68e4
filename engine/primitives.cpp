// Sends each primitive to the device that holds the data.
#include "engine/primitives.h"

#include "engine/cpu/primitives.h"
#include "engine/cuda/primitives.h"
#include "engine/primitive_trace.h"
#include "engine/time_trace.h"

namespace ddpmts {

void conv_forward(Device device, const ConvShape& shape, const void* x, Parameter& weight,
                  const ConvEpilogue& epilogue, void* y) {
  PrimitiveTrace::note(
      {shape, ConvPass::forward, epilogue.bias != nullptr, epilogue.residual != nullptr, epilogue.relu});
  traced(device, "conv_forward", [&] {
    device.is_cuda() ? cuda::conv_forward(device.index, shape, x, weight, epilogue, y)
                     : cpu::conv_forward(shape, x, weight, epilogue, y);
  });
}

void conv_backward_data(Device device, const ConvShape& shape, const void* dy, Parameter& weight, void* dx) {
  PrimitiveTrace::note({shape, ConvPass::backward_data});
  traced(device, "conv_backward_data", [&] {
    device.is_cuda() ? cuda::conv_backward_data(device.index, shape, dy, weight, dx)
                     : cpu::conv_backward_data(shape, dy, weight, dx);
  });
}

void conv_backward_weights(Device device, const ConvShape& shape, const void* x, const void* dy, float* dw,
                           float* dbias) {
  PrimitiveTrace::note({shape, ConvPass::backward_weights, dbias != nullptr});
  traced(device, "conv_backward_weights", [&] {
    device.is_cuda() ? cuda::conv_backward_weights(device.index, shape, x, dy, dw, dbias)
                     : cpu::conv_backward_weights(shape, x, dy, dw, dbias);
  });
}

void matmul(Device device, const MatmulShape& shape, const void* a, const void* b, const float* bias,
            void* c) {
  PrimitiveTrace::note_flops(shape.flops());
  traced(device, "matmul", [&] {
    device.is_cuda() ? cuda::matmul(device.index, shape, a, b, bias, c) : cpu::matmul(shape, a, b, bias, c);
  });
}

std::size_t attention_saved_bytes(Device device, const AttentionShape& shape) {
  return device.is_cuda() ? cuda::attention_saved_bytes(shape) : cpu::attention_saved_bytes(shape);
}

void attention_forward(Device device, const AttentionShape& shape, const void* qkv, void* out, void* saved) {
  PrimitiveTrace::note_flops(shape.forward_flops());
  traced(device, "attention_forward", [&] {
    device.is_cuda() ? cuda::attention_forward(device.index, shape, qkv, out, saved)
                     : cpu::attention_forward(shape, qkv, out, saved);
  });
}

void attention_backward(Device device, const AttentionShape& shape, const void* qkv, const void* out,
                        const void* saved, const void* dout, void* dqkv) {
  PrimitiveTrace::note_flops(2.5 * shape.forward_flops());  // five products for forward's two
  traced(device, "attention_backward", [&] {
    device.is_cuda() ? cuda::attention_backward(device.index, shape, qkv, out, saved, dout, dqkv)
                     : cpu::attention_backward(shape, qkv, out, saved, dout, dqkv);
  });
}

std::size_t pool_workspace_bytes(Device device, const PoolShape& shape) {
  return device.is_cuda() ? cuda::pool_workspace_bytes(shape) : cpu::pool_workspace_bytes(shape);
}

void pool_forward(Device device, const PoolShape& shape, const void* x, void* y, void* workspace) {
  traced(device, "pool_forward", [&] {
    device.is_cuda() ? cuda::pool_forward(device.index, shape, x, y, workspace)
                     : cpu::pool_forward(shape, x, y, workspace);
  });
}

void pool_backward(Device device, const PoolShape& shape, const void* dy, const void* workspace, void* dx) {
  traced(device, "pool_backward", [&] {
    device.is_cuda() ? cuda::pool_backward(device.index, shape, dy, workspace, dx)
                     : cpu::pool_backward(shape, dy, workspace, dx);
  });
}

kernels::Stream current_stream(Device device) {
  return device.is_cuda() ? cuda::current_stream(device.index) : kernels::Stream{};
}

bool has_fast_bf16(Device device) {
  return device.is_cuda() ? cuda::has_fast_bf16(device.index) : cpu::has_fast_bf16();
}

void require_device(Device device) {
  if (device.is_cuda()) cuda::require(device.index);
}

void synchronize(Device device) {
  if (device.is_cuda()) cuda::synchronize(device.index);
}

bool built_with_cuda() { return cuda::kInThisBuild; }

std::vector<std::string> cuda_report() { return cuda::report(); }

std::string describe(Device device) {
  return device.is_cuda() ? cuda::describe(device.index) : cpu::describe();
}

}  // namespace ddpmts
