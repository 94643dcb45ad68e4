// Dropout (contract: kernels/dropout.h), bit for bit that of the CPU.
// Layout: flat arrays; a thread takes 16 bytes and draws one random word for each element.
// Bytes moved: one read, one write.
// Variants: f32, bf16; 16-byte accesses where pointers allow.
#include "kernels/cuda/vector.cuh"
#include "kernels/dropout.h"
#include "kernels/philox.h"

namespace ddpmts::kernels::cuda {
namespace {

constexpr int kThreads = 256;

template <class T>
__global__ void __launch_bounds__(kThreads)
    dropout_kernel(const __grid_constant__ DropoutArgs args, float scale, bool aligned) {
  constexpr int kWidth = kVector<T>;
  const Stretch<kWidth> here =
      stretch_of<kWidth>((std::int64_t{blockIdx.x} * kThreads + threadIdx.x) * kWidth, args.count, aligned);
  if (here.size <= 0) return;
  const std::uint64_t offset = args.step_offset != nullptr ? *args.step_offset : 0;
  const Philox random{args.seed, RandomStream::dropout, args.step + offset};
  Floats<kWidth> x = here.read(static_cast<const T*>(args.x));
#pragma unroll
  for (int b = 0; b < kWidth / 4; ++b) {
    const Uint4 block = random.bits(static_cast<std::uint32_t>(here.first / 4 + b));
    const std::uint32_t words[4] = {block.x, block.y, block.z, block.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const bool kept = uniform01(words[i]) >= args.probability;
      x[4 * b + i] = kept ? x[4 * b + i] * scale : 0.0f;
    }
  }
  here.write(static_cast<T*>(args.y), x);
}

}  // namespace

void dropout(const DropoutArgs& args, Stream stream) {
  if (!(args.probability >= 0.0f && args.probability < 1.0f)) {
    throw std::invalid_argument("dropout: the probability must lie in [0, 1)");
  }
  with_float_type(args.type, [&](auto zero) {
    using T = decltype(zero);
    launch("dropout", dropout_kernel<T>, blocks_for(args.count, kThreads * kVector<T>), kThreads, 0, stream,
           args, 1.0f / (1.0f - args.probability),
           aligned_to_16(static_cast<const T*>(args.x), static_cast<T*>(args.y)));
  });
}

}  // namespace ddpmts::kernels::cuda
