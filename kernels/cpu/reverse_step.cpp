// One step of reverse diffusion in one pass (contract: kernels/reverse_step.h).
// Layout: flat; chunks of 1024 values are shared out among threads. Their noise, and the mask with a value for every channel
//   of a pixel, stay in the first cache.
// Bytes moved per element: reads x and ε̂, writes x and the next input. Drawing the noise is what takes the time; where no
//   σ asks for it, none is drawn.
// Variants: f32, bf16; × no mask, mask, mask and known.
#include "kernels/reverse_step.h"

#include <stdexcept>

#include "kernels/cpu/gaussian_fill.h"

namespace ddpmts::kernels::cpu::DDPMTS_ISA {
namespace {

enum class Outside { none, undisturbed, known };  // what is outside the mask

DDPMTS_INLINE void repeat_for_channels(const std::uint8_t* mask, std::int64_t first, std::int64_t count,
                                       std::int64_t channels, std::int32_t* inside) {
  std::int64_t pixel = first / channels;
  std::int64_t at = 0;
  for (std::int64_t c = first % channels; c > 0 && c < channels && at < count; ++c)
    inside[at++] = mask[pixel];
  if (at > 0) ++pixel;
  for (; at + channels <= count; ++pixel) {
    const std::int32_t value = mask[pixel];
    for (std::int64_t c = 0; c < channels; ++c) inside[at++] = value;
  }
  for (; at < count; ++at) inside[at] = mask[pixel];
}

/// The mask's values for elements [first, first + count) of a picture.
void expand_mask(const std::uint8_t* mask, std::int64_t first, std::int64_t count, std::int64_t channels,
                 std::int32_t* inside) {
  switch (channels) {  // the common counts as constants: the loop over channels is unrolled
    case 1:
      return repeat_for_channels(mask, first, count, 1, inside);
    case 3:
      return repeat_for_channels(mask, first, count, 3, inside);
    default:
      return repeat_for_channels(mask, first, count, channels, inside);
  }
}

/// round((x + 1)·127.5), halves up, clamped to 0–255; 0 for NaN.
DDPMTS_INLINE void store_levels(std::uint8_t* p, Floats x, std::int64_t count) {
  typedef std::uint8_t Bytes __attribute__((vector_size(kLanes)));
  const Floats level = smaller(larger((x + 1.0f) * 127.5f, splat(0.0f)), splat(255.0f));
  const Bytes bytes = __builtin_convertvector(__builtin_convertvector(level + 0.5f, Ints), Bytes);
  __builtin_memcpy(p, &bytes, static_cast<std::size_t>(smaller(count, kLanes)));
}

template <class T, Outside kOutside>
void step_chunk(const ReverseStepArgs& args, std::int64_t picture, std::int64_t first, std::int64_t count) {
  const ReverseStepCoefficients k = args.coefficients[picture];
  const std::int64_t at = picture * args.pixels * args.channels + first;
  alignas(64) float noise[kNoiseChunk];
  alignas(64) std::int32_t inside[kNoiseChunk];
  const bool draws = k.sigma_disturbed != 0.0f || (kOutside == Outside::undisturbed && k.sigma != 0.0f) ||
                     (kOutside == Outside::known && k.known_sigma != 0.0f);
  if (draws) {
    fill_gaussians(Philox{args.seed, RandomStream::diffusion, k.random_step}, first, count, noise);
  } else {
    for (std::int64_t i = 0; i < kNoiseChunk; ++i) noise[i] = 0.0f;
  }
  if constexpr (kOutside != Outside::none) {
    expand_mask(args.mask + picture * args.pixels, first, count, args.channels, inside);
  }
  float* x = args.x + at;
  const T* prediction = static_cast<const T*>(args.noise_prediction) + at;
  const T* known = kOutside == Outside::known ? static_cast<const T*>(args.known) + at : nullptr;
  T* next_input = args.next_input == nullptr ? nullptr : static_cast<T*>(args.next_input) + at;
  std::uint8_t* pictures = args.pictures == nullptr ? nullptr : args.pictures + at;
  for_each_vector(count, [&](std::int64_t i, std::int64_t n) DDPMTS_INLINE_LAMBDA {
    const Floats x_t = load_upto(x + i, n);
    const Floats z = load(noise + i);
    const Floats raw = k.x_0_from_x * x_t - k.x_0_from_prediction * load_upto(prediction + i, n);
    const Floats x_0 = smaller(splat(1.0f), larger(splat(-1.0f), raw));  // NaN stays NaN
    const Floats mean = k.from_x_0 * x_0 + k.from_x * x_t;
    Floats value = mean + k.sigma_disturbed * z;
    if constexpr (kOutside != Outside::none) {
      Ints is_inside;
      __builtin_memcpy(&is_inside, inside + i, sizeof is_inside);
      Floats outside;
      if constexpr (kOutside == Outside::known) {
        outside = k.known_scale * load_upto(known + i, n) + k.known_sigma * z;
      } else {
        outside = mean + k.sigma * z;
      }
      value = is_inside != 0 ? value : outside;
    }
    store_upto(x + i, value, n);
    if (next_input != nullptr) store_upto(next_input + i, value, n);
    if (pictures != nullptr) store_levels(pictures + i, value, n);
  });
}

template <class T>
DDPMTS_INLINE void step_any_chunk(const ReverseStepArgs& args, std::int64_t picture, std::int64_t first,
                                  std::int64_t count) {
  if (args.known != nullptr) return step_chunk<T, Outside::known>(args, picture, first, count);
  if (args.mask != nullptr) return step_chunk<T, Outside::undisturbed>(args, picture, first, count);
  step_chunk<T, Outside::none>(args, picture, first, count);
}

}  // namespace

void reverse_step(const ReverseStepArgs& args) {
  if (args.type != DType::f32 && args.type != DType::bf16) {
    throw std::invalid_argument("reverse_step: the prediction must be f32 or bf16");
  }
  if (args.n < 0 || args.pixels < 1 || args.channels < 1 || args.pixels > kMostNoiseValues / args.channels) {
    throw std::invalid_argument("reverse_step: a picture must have 1 to 2^34 values");
  }
  if (args.known != nullptr && args.mask == nullptr) {
    throw std::invalid_argument("reverse_step: a known picture needs a mask that says where it is known");
  }
  const std::int64_t values = args.pixels * args.channels;
  const std::int64_t chunks = ceil_div(values, kNoiseChunk);
#pragma omp parallel for schedule(static) if (args.n * chunks > 1)
  for (std::int64_t k = 0; k < args.n * chunks; ++k) {
    const std::int64_t first = k % chunks * kNoiseChunk;
    const std::int64_t count = smaller(kNoiseChunk, values - first);
    with_float_type(args.type, [&](auto zero) DDPMTS_INLINE_LAMBDA {
      step_any_chunk<decltype(zero)>(args, k / chunks, first, count);
    });
  }
}

}  // namespace ddpmts::kernels::cpu::DDPMTS_ISA
