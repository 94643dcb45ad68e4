// The timestep's sinusoids, and SiLU on its own with its gradient (contract: kernels/time_embedding.h).
// Layout: flat arrays; sinusoids [n, channels], cosines first.
// Bytes moved: what the arrays hold, once.
// Variants: f32, bf16.
#include "kernels/time_embedding.h"

#include <stdexcept>

#include "kernels/cpu/fast_exp.h"
#include "kernels/diffusion_math.h"

namespace ddpmts::kernels::cpu::DDPMTS_ISA {
namespace {

constexpr std::int64_t kBlock = 1 << 14;  // elements of one task; arrays up to this size run on one thread
constexpr double kLog10000 = 9.210340371976184;
constexpr double kQuartersPerRadian = 0.6366197723675814;  // 2/π

/// Quarter turns are counted off in double precision; what is left is within ±π/4, where float is enough.
void write_sincos(double angle, float& sine, float& cosine) {
  const double quarters = angle * kQuartersPerRadian;
  const double shifted = quarters + (quarters < 0.0 ? -0.5 : 0.5);
  const std::int64_t whole = static_cast<std::int64_t>(shifted);  // towards 0: the nearest
  const double rest = as_written(quarters - static_cast<double>(whole)) / kQuartersPerRadian;
  sincos_in_quarter(static_cast<std::uint32_t>(whole), static_cast<float>(rest), sine, cosine);
}

template <class T>
void embed(const TimeEmbeddingArgs& args) {
  const std::int64_t half = args.channels / 2;
  T* y = static_cast<T*>(args.y);
  for (std::int64_t i = 0; i < half; ++i) {
    const double frequency = __builtin_exp(-kLog10000 * static_cast<double>(i) / static_cast<double>(half));
    for (std::int64_t k = 0; k < args.n; ++k) {
      float sine, cosine;
      write_sincos(static_cast<double>(args.timesteps[k]) * frequency, sine, cosine);
      y[k * args.channels + i] = from_float<T>(cosine);
      y[k * args.channels + half + i] = from_float<T>(sine);
    }
  }
}

/// Runs body(at, lanes) over the vectors of [0, total), blocks of them in parallel.
template <class Body>
DDPMTS_INLINE void for_all(std::int64_t total, Body body) {
  const std::int64_t blocks = ceil_div(total, kBlock);
#pragma omp parallel for schedule(static) if (blocks > 1)
  for (std::int64_t b = 0; b < blocks; ++b) {
    const std::int64_t first = b * kBlock;
    for_each_vector(smaller(kBlock, total - first),
                    [&](std::int64_t i, std::int64_t n) DDPMTS_INLINE_LAMBDA { body(first + i, n); });
  }
}

template <class T>
void forward(const SiluArgs& args) {
  const T* x = static_cast<const T*>(args.x);
  T* y = static_cast<T*>(args.y);
  for_all(args.count, [=](std::int64_t i, std::int64_t n)
                          DDPMTS_INLINE_LAMBDA { store_upto(y + i, silu<T>(load_upto(x + i, n)), n); });
}

template <class T>
void backward(const SiluArgs& args) {
  const T* x = static_cast<const T*>(args.x);
  const T* dy = static_cast<const T*>(args.dy);
  T* dx = static_cast<T*>(args.dx);
  for_all(args.count, [=](std::int64_t i, std::int64_t n) DDPMTS_INLINE_LAMBDA {
    store_upto(dx + i, load_upto(dy + i, n) * silu_slope<T>(load_upto(x + i, n)), n);
  });
}

void check(const SiluArgs& args) {
  if (args.type != DType::f32 && args.type != DType::bf16) {
    throw std::invalid_argument("silu: x must be f32 or bf16");
  }
  if (args.count < 0) throw std::invalid_argument("silu: the count must not be negative");
}

}  // namespace

void time_embedding(const TimeEmbeddingArgs& args) {
  if (args.type != DType::f32 && args.type != DType::bf16) {
    throw std::invalid_argument("time_embedding: y must be f32 or bf16");
  }
  if (args.n < 0 || args.channels < 2 || args.channels % 2 != 0) {
    throw std::invalid_argument("time_embedding: the number of channels must be even and at least 2");
  }
  with_float_type(args.type, [&](auto zero) DDPMTS_INLINE_LAMBDA { embed<decltype(zero)>(args); });
}

void silu_forward(const SiluArgs& args) {
  check(args);
  with_float_type(args.type, [&](auto zero) DDPMTS_INLINE_LAMBDA { forward<decltype(zero)>(args); });
}

void silu_backward(const SiluArgs& args) {
  check(args);
  with_float_type(args.type, [&](auto zero) DDPMTS_INLINE_LAMBDA { backward<decltype(zero)>(args); });
}

}  // namespace ddpmts::kernels::cpu::DDPMTS_ISA
