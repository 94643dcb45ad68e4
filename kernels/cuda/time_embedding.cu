// The timestep's sinusoids, and SiLU on its own with its gradient (contract: kernels/time_embedding.h).
// Layout: flat arrays; sinusoids [n, channels], cosines first, one (timestep, frequency) a thread.
// Bytes moved: what the arrays hold, once.
// Variants: f32, bf16; SiLU in 16-byte accesses where pointers allow.
#include "kernels/cuda/silu.cuh"
#include "kernels/cuda/vector.cuh"
#include "kernels/diffusion_math.h"
#include "kernels/time_embedding.h"

namespace ddpmts::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr double kLog10000 = 9.210340371976184;
constexpr double kQuartersPerRadian = 0.6366197723675814;  // 2/π

template <class T>
__global__ void __launch_bounds__(kThreads) embedding_kernel(const __grid_constant__ TimeEmbeddingArgs args) {
  const std::int64_t k = std::int64_t{blockIdx.x} * kThreads + threadIdx.x, half = args.channels / 2;
  if (k >= args.n * half) return;
  const std::int64_t picture = quotient(k, half), i = k - picture * half;
  const double frequency = exp(-kLog10000 * static_cast<double>(i) / static_cast<double>(half));
  // Quarter turns are counted off in f64; what is left is within ±π/4, where f32 is enough.
  const double quarters = static_cast<double>(args.timesteps[picture]) * frequency * kQuartersPerRadian;
  const std::int64_t whole = static_cast<std::int64_t>(quarters + (quarters < 0.0 ? -0.5 : 0.5));
  const double rest = (quarters - static_cast<double>(whole)) / kQuartersPerRadian;
  float sine, cosine;
  sincos_in_quarter(static_cast<std::uint32_t>(whole), static_cast<float>(rest), sine, cosine);
  T* y = static_cast<T*>(args.y) + picture * args.channels + i;
  y[0] = from_float<T>(cosine);
  y[half] = from_float<T>(sine);
}

template <bool kBackward, class T>
__global__ void __launch_bounds__(kThreads)
    silu_kernel(const T* x, const T* dy, T* out, std::int64_t count, bool aligned) {
  constexpr int kWidth = kVector<T>;
  const Stretch<kWidth> here =
      stretch_of<kWidth>((std::int64_t{blockIdx.x} * kThreads + threadIdx.x) * kWidth, count, aligned);
  if (here.size <= 0) return;
  Floats<kWidth> value = here.read(x);
  if constexpr (kBackward) {
    const Floats<kWidth> gradient = here.read(dy);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) value[i] = gradient[i] * silu_slope(value[i]);
  } else {
#pragma unroll
    for (int i = 0; i < kWidth; ++i) value[i] = silu(value[i]);
  }
  here.write(out, value);
}

template <bool kBackward>
void run_silu(const char* name, const SiluArgs& args, Stream stream) {
  if (args.type != DType::f32 && args.type != DType::bf16) {
    throw std::invalid_argument("silu: x must be f32 or bf16");
  }
  if (args.count < 0) throw std::invalid_argument("silu: the count must not be negative");
  with_float_type(args.type, [&](auto zero) {
    using T = decltype(zero);
    const T *x = static_cast<const T*>(args.x), *dy = static_cast<const T*>(args.dy);
    T* out = static_cast<T*>(kBackward ? args.dx : args.y);
    launch(name, silu_kernel<kBackward, T>, blocks_for(args.count, kThreads * kVector<T>), kThreads, 0,
           stream, x, dy, out, args.count, aligned_to_16(x, dy, out));
  });
}

}  // namespace

void time_embedding(const TimeEmbeddingArgs& args, Stream stream) {
  if (args.type != DType::f32 && args.type != DType::bf16) {
    throw std::invalid_argument("time_embedding: y must be f32 or bf16");
  }
  if (args.n < 0 || args.channels < 2 || args.channels % 2 != 0) {
    throw std::invalid_argument("time_embedding: the number of channels must be even and at least 2");
  }
  with_float_type(args.type, [&](auto zero) {
    launch("time_embedding", embedding_kernel<decltype(zero)>,
           blocks_for(args.n * args.channels / 2, kThreads), kThreads, 0, stream, args);
  });
}

void silu_forward(const SiluArgs& args, Stream stream) { run_silu<false>("silu_forward", args, stream); }

void silu_backward(const SiluArgs& args, Stream stream) { run_silu<true>("silu_backward", args, stream); }

}  // namespace ddpmts::kernels::cuda
