// One step of reverse diffusion, all forms (contract: kernels/reverse_step.h), bit for bit those of the CPU: compiled
//   without fused multiply-adds.
// Layout: a thread takes 16 bytes of one picture's prediction and draws their noise in registers.
// Bytes moved per element: reads x_t and ε̂ (and, with them, mask and known), writes x, and next input and levels if wanted.
// Variants: f32, bf16; × what is outside the mask: nothing, undisturbed, known; 16-byte accesses where sizes allow.
#include "kernels/cuda/gaussians.cuh"
#include "kernels/reverse_step.h"

namespace ddpmts::kernels::cuda {
namespace {

constexpr int kThreads = 256;

enum class Outside { none, undisturbed, known };  // what is outside the mask

/// round((x + 1)·127.5), halves up, clamped to 0–255; 0 for NaN.
__device__ __forceinline__ std::uint8_t level_of(float x) {
  const float scaled = (x + 1.0f) * 127.5f;
  const float above = scaled > 0.0f ? scaled : 0.0f;
  const float level = above < 255.0f ? above : 255.0f;
  return static_cast<std::uint8_t>(static_cast<int>(level + 0.5f));
}

template <int kWidth>
__device__ __forceinline__ void write_levels(std::uint8_t* pictures, const Stretch<kWidth>& here,
                                             const Floats<kWidth>& x) {
  std::uint8_t levels[kWidth];
#pragma unroll
  for (int i = 0; i < kWidth; ++i) levels[i] = level_of(x[i]);
  if (here.whole) {
    using Words = detail::Words<kWidth, std::uint8_t>;
    static_assert(Words::kCount == 1);
    typename Words::Word word;
    __builtin_memcpy(&word, levels, sizeof word);
    *reinterpret_cast<typename Words::Word*>(pictures + here.first) = word;
    return;
  }
#pragma unroll
  for (int i = 0; i < kWidth; ++i) {
    if (i < here.size) pictures[here.first + i] = levels[i];
  }
}

template <class T, Outside kOutside>
__global__ void __launch_bounds__(kThreads) reverse_step_kernel(const __grid_constant__ ReverseStepArgs args,
                                                                unsigned blocks_per_picture, bool aligned) {
  constexpr int kWidth = kVector<T>;
  const unsigned picture = blockIdx.x / blocks_per_picture, block = blockIdx.x - picture * blocks_per_picture;
  const std::int64_t values = args.pixels * args.channels;
  const Stretch<kWidth> here =
      stretch_of<kWidth>((std::int64_t{block} * kThreads + threadIdx.x) * kWidth, values, aligned);
  if (here.size <= 0) return;
  const std::int64_t at = picture * values;
  const ReverseStepCoefficients k = args.coefficients[picture];
  const bool draws = k.sigma_disturbed != 0.0f || (kOutside == Outside::undisturbed && k.sigma != 0.0f) ||
                     (kOutside == Outside::known && k.known_sigma != 0.0f);
  Floats<kWidth> z = splat<kWidth>(0.0f);
  if (draws) {
    z = gaussians_of<kWidth>(Philox{args.seed, RandomStream::diffusion, k.random_step}, here.first);
  }
  const Floats<kWidth> x_t = here.read(args.x + at);
  const Floats<kWidth> prediction = here.read(static_cast<const T*>(args.noise_prediction) + at);
  Floats<kWidth> known = splat<kWidth>(0.0f);
  if constexpr (kOutside == Outside::known) known = here.read(static_cast<const T*>(args.known) + at);
  std::int64_t pixel = 0, channel = 0;
  if constexpr (kOutside != Outside::none) {
    pixel = quotient(here.first, args.channels);
    channel = here.first - pixel * args.channels;
    pixel += picture * args.pixels;
  }
  Floats<kWidth> x;
#pragma unroll
  for (int i = 0; i < kWidth; ++i) {
    const float raw = k.x_0_from_x * x_t[i] - k.x_0_from_prediction * prediction[i];
    const float x_0 = raw < -1.0f ? -1.0f : raw > 1.0f ? 1.0f : raw;  // NaN stays NaN
    const float mean = k.from_x_0 * x_0 + k.from_x * x_t[i];
    x[i] = mean + k.sigma_disturbed * z[i];
    if constexpr (kOutside != Outside::none) {
      const bool inside = i >= here.size || args.mask[pixel] != 0;
      const float outside = kOutside == Outside::known ? k.known_scale * known[i] + k.known_sigma * z[i]
                                                       : mean + k.sigma * z[i];
      if (!inside) x[i] = outside;
      if (++channel == args.channels) {
        channel = 0;
        ++pixel;
      }
    }
  }
  here.write(args.x + at, x);
  if (args.next_input != nullptr) here.write(static_cast<T*>(args.next_input) + at, x);
  if (args.pictures != nullptr) write_levels(args.pictures + at, here, x);
}

template <class T>
auto kernel_of(const ReverseStepArgs& args) {
  return args.known != nullptr  ? reverse_step_kernel<T, Outside::known>
         : args.mask != nullptr ? reverse_step_kernel<T, Outside::undisturbed>
                                : reverse_step_kernel<T, Outside::none>;
}

}  // namespace

void reverse_step(const ReverseStepArgs& args, Stream stream) {
  if (args.type != DType::f32 && args.type != DType::bf16) {
    throw std::invalid_argument("reverse_step: the prediction must be f32 or bf16");
  }
  if (args.n < 0 || args.pixels < 1 || args.channels < 1 || args.pixels > kMostNoiseValues / args.channels) {
    throw std::invalid_argument("reverse_step: a picture must have 1 to 2^34 values");
  }
  if (args.known != nullptr && args.mask == nullptr) {
    throw std::invalid_argument("reverse_step: a known picture needs a mask that says where it is known");
  }
  with_float_type(args.type, [&](auto zero) {
    using T = decltype(zero);
    const std::int64_t values = args.pixels * args.channels, blocks = ceil_div(values, kThreads * kVector<T>);
    const bool aligned =
        values % kVector<T> == 0 &&
        aligned_to_16(args.x, static_cast<const T*>(args.noise_prediction), static_cast<const T*>(args.known),
                      static_cast<T*>(args.next_input), args.pictures);
    launch("reverse_step", kernel_of<T>(args), blocks_for(args.n * blocks, 1), kThreads, 0, stream, args,
           static_cast<unsigned>(blocks), aligned);
  });
}

}  // namespace ddpmts::kernels::cuda
