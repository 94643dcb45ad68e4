// Noised pictures and their noise (contract: kernels/forward_diffusion.h).
// Layout: flat; chunks of 1024 values, whose noise stays in the first cache, are shared out among threads.
// Bytes moved per element: reads x_0, writes x_t and, if wanted, the target. Drawing the noise is what takes the time.
// Variants: f32, bf16; target ε, v or none.
#include "kernels/forward_diffusion.h"

#include <stdexcept>

#include "kernels/cpu/gaussian_fill.h"

namespace ddpmts::kernels::cpu::DDPMTS_ISA {
namespace {

template <class T>
void noise_chunk(const ForwardDiffusionArgs& args, std::int64_t picture, std::int64_t first,
                 std::int64_t count) {
  alignas(64) float noise[kNoiseChunk];
  const std::uint64_t offset = args.sample_offset != nullptr ? *args.sample_offset : 0;
  const Philox random{args.seed, RandomStream::diffusion,
                      args.first_sample + offset + static_cast<std::uint64_t>(picture)};
  fill_gaussians(random, first, count, noise);
  const std::int32_t t = args.timesteps[picture];
  const float on_picture = args.sqrt_alphas_cumprod[t];
  const float on_noise = args.sqrt_one_minus_alphas_cumprod[t];
  const std::int64_t at = picture * args.count + first;
  const T* x_0 = static_cast<const T*>(args.x_0) + at;
  T* x_t = static_cast<T*>(args.x_t) + at;
  float* target = args.target == nullptr ? nullptr : args.target + at;
  const bool velocity = args.velocity;
  for_each_vector(count, [&](std::int64_t i, std::int64_t n) DDPMTS_INLINE_LAMBDA {
    const Floats z = load(noise + i);
    const Floats x = load_upto(x_0 + i, n);
    store_upto(x_t + i, on_picture * x + on_noise * z, n);
    if (target != nullptr) store_upto(target + i, velocity ? on_picture * z - on_noise * x : z, n);
  });
}

}  // namespace

void forward_diffusion(const ForwardDiffusionArgs& args) {
  if (args.type != DType::f32 && args.type != DType::bf16) {
    throw std::invalid_argument("forward_diffusion: x_0 must be f32 or bf16");
  }
  if (args.n < 0 || args.count < 0 || args.count > kMostNoiseValues) {
    throw std::invalid_argument("forward_diffusion: a picture must have 0 to 2^34 values");
  }
  for (std::int64_t i = 0; i < args.n; ++i) {
    if (args.timesteps[i] < 0 || args.timesteps[i] >= args.steps) {
      throw std::invalid_argument("forward_diffusion: a timestep lies outside the tables");
    }
  }
  const std::int64_t chunks = ceil_div(args.count, kNoiseChunk);
#pragma omp parallel for schedule(static) if (args.n * chunks > 1)
  for (std::int64_t k = 0; k < args.n * chunks; ++k) {
    const std::int64_t first = k % chunks * kNoiseChunk;
    const std::int64_t count = smaller(kNoiseChunk, args.count - first);
    with_float_type(args.type, [&](auto zero) DDPMTS_INLINE_LAMBDA {
      noise_chunk<decltype(zero)>(args, k / chunks, first, count);
    });
  }
}

}  // namespace ddpmts::kernels::cpu::DDPMTS_ISA
