// Attention on a GPU: our own kernels, whose logits never reach memory. The forward pass keeps 4 bytes a row and head.
#include "engine/cuda/context.h"
#include "engine/cuda/device_kernels.h"
#include "engine/cuda/primitives.h"
#include "engine/error.h"
#include "engine/memory.h"

namespace ddpmts::cuda {
namespace {

void require_tokens(const AttentionShape& s) {
  constexpr std::int64_t kMost = std::int64_t{1} << 24;  // positions within a head are counted in 32 bits
  if (s.tokens > kMost || s.head_channels > kMost) {
    throw_error<ShapeError>("attention: {} tokens of {} channels a head; on a GPU at most {} of either",
                            s.tokens, s.head_channels, kMost);
  }
}

}  // namespace

std::size_t attention_saved_bytes(const AttentionShape& s) {
  return static_cast<std::size_t>(s.n * s.heads * s.tokens) * sizeof(float);
}

void attention_forward(int device, const AttentionShape& shape, const void* qkv, void* out, void* saved) {
  const ProfilerRange range("attention_forward");
  require_arithmetic(device, shape.type);
  require_tokens(shape);
  attention_softmax(shape, qkv, out, static_cast<float*>(saved), kernel_stream(device));
}

void attention_backward(int device, const AttentionShape& shape, const void* qkv, const void* out,
                        const void* saved, const void* dout, void* dqkv) {
  const ProfilerRange range("attention_backward");
  require_arithmetic(device, shape.type);
  require_tokens(shape);
  const Buffer dots({DeviceType::cuda, device}, attention_saved_bytes(shape));
  attention_gradients(
      {shape, qkv, out, dout, static_cast<const float*>(saved), static_cast<float*>(dots.data()), dqkv},
      kernel_stream(device));
}

}  // namespace ddpmts::cuda
