// Perlin masks on the CPU: the lattice's gradients once per attempt on the stack, then one vectorised pass
// over rows. Layout and bytes: see perlin_mask.h.
#include "kernels/perlin_mask.h"

#include <stdexcept>

#include "kernels/perlin_math.h"

namespace ddpmts::kernels::cpu::DDPMTS_ISA {
namespace {

constexpr std::int64_t kChunk = 512;

/// One attempt at one picture; returns the number of mask pixels.
std::int64_t draw(const PerlinLattice& lattice, std::int64_t h, std::int64_t w, float threshold,
                  std::uint8_t* mask, float* noise) {
  std::int64_t count = 0;
  float row[kChunk];
  const float width = static_cast<float>(w);
  const float height = static_cast<float>(h);
  for (std::int64_t y = 0; y < h; ++y) {
    const float row_y = static_cast<float>(y);
    for (std::int64_t begin = 0; begin < w; begin += kChunk) {
      const int size = static_cast<int>(w - begin < kChunk ? w - begin : kChunk);
      float* values = noise != nullptr ? noise + y * w + begin : row;
      std::uint8_t* out = mask + y * w + begin;
      const float first = static_cast<float>(begin);
#pragma omp simd
      for (int x = 0; x < size; ++x) {
        values[x] = perlin_at_pixel(lattice, first + static_cast<float>(x), row_y, width, height);
      }
      int in_row = 0;
      for (int x = 0; x < size; ++x) {
        out[x] = values[x] > threshold ? 1 : 0;
        in_row += out[x];
      }
      count += in_row;
    }
  }
  return count;
}

}  // namespace

void perlin_mask(const PerlinMaskArgs& args) {
  const PerlinConfig& config = args.config;
  if (config.min_exponent < 0 || config.max_exponent < config.min_exponent || config.max_exponent > 5) {
    throw std::invalid_argument("perlin_mask: lattice exponents must satisfy 0 <= min <= max <= 5");
  }
  if (config.max_tries < 1) throw std::invalid_argument("perlin_mask: max_tries must be at least 1");
#pragma omp parallel for schedule(dynamic, 1)
  for (std::int64_t i = 0; i < args.n; ++i) {
    const Philox random{args.seed, RandomStream::perlin, args.first_sample + static_cast<std::uint64_t>(i)};
    const std::int64_t offset = i * args.h * args.w;
    PerlinLattice lattice;
    for (int attempt = 0; attempt < config.max_tries; ++attempt) {
      perlin_fill(lattice, random, static_cast<std::uint32_t>(attempt), config);
      const std::int64_t count = draw(lattice, args.h, args.w, config.threshold, args.mask + offset,
                                      args.noise != nullptr ? args.noise + offset : nullptr);
      if (count > 0) break;
    }
  }
}

}  // namespace ddpmts::kernels::cpu::DDPMTS_ISA
