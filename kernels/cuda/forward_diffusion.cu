// Noised pictures and what is predicted from them (contract: kernels/forward_diffusion.h), bit for bit those of the CPU:
//   compiled without fused multiply-adds.
// Layout: a thread takes 16 bytes of one picture and draws their noise in registers.
// Bytes moved per element: reads x_0, writes x_t and, if wanted, the target.
// Variants: f32, bf16; target ε, v or none; 16-byte accesses where a picture's size and the pointers allow.
#include "kernels/cuda/gaussians.cuh"
#include "kernels/forward_diffusion.h"

namespace ddpmts::kernels::cuda {
namespace {

constexpr int kThreads = 256;

template <class T>
__global__ void __launch_bounds__(kThreads)
    forward_diffusion_kernel(const __grid_constant__ ForwardDiffusionArgs args, unsigned blocks_per_picture,
                             bool aligned) {
  constexpr int kWidth = kVector<T>;
  const unsigned picture = blockIdx.x / blocks_per_picture, block = blockIdx.x - picture * blocks_per_picture;
  const Stretch<kWidth> here =
      stretch_of<kWidth>((std::int64_t{block} * kThreads + threadIdx.x) * kWidth, args.count, aligned);
  if (here.size <= 0) return;
  const std::int64_t at = picture * args.count;
  const std::uint64_t offset = args.sample_offset != nullptr ? *args.sample_offset : 0;
  const Philox random{args.seed, RandomStream::diffusion, args.first_sample + offset + picture};
  Floats<kWidth> target = gaussians_of<kWidth>(random, here.first);  // ε
  const std::int32_t t = args.timesteps[picture];
  const float on_picture = args.sqrt_alphas_cumprod[t], on_noise = args.sqrt_one_minus_alphas_cumprod[t];
  Floats<kWidth> x = here.read(static_cast<const T*>(args.x_0) + at);
#pragma unroll
  for (int i = 0; i < kWidth; ++i) {
    const float x_0 = x[i], noise = target[i];
    x[i] = on_picture * x_0 + on_noise * noise;
    if (args.velocity) target[i] = on_picture * noise - on_noise * x_0;
  }
  here.write(static_cast<T*>(args.x_t) + at, x);
  if (args.target != nullptr) here.write(args.target + at, target);
}

}  // namespace

void forward_diffusion(const ForwardDiffusionArgs& args, Stream stream) {
  if (args.type != DType::f32 && args.type != DType::bf16) {
    throw std::invalid_argument("forward_diffusion: x_0 must be f32 or bf16");
  }
  if (args.n < 0 || args.count < 0 || args.count > kMostNoiseValues) {
    throw std::invalid_argument("forward_diffusion: a picture must have 0 to 2^34 values");
  }
  with_float_type(args.type, [&](auto zero) {
    using T = decltype(zero);
    const std::int64_t blocks = ceil_div(args.count, kThreads * kVector<T>);
    const bool aligned =
        args.count % kVector<T> == 0 &&
        aligned_to_16(static_cast<const T*>(args.x_0), static_cast<T*>(args.x_t), args.target);
    launch("forward_diffusion", forward_diffusion_kernel<T>, blocks_for(args.n * blocks, 1), kThreads, 0,
           stream, args, static_cast<unsigned>(blocks), aligned);
  });
}

}  // namespace ddpmts::kernels::cuda
