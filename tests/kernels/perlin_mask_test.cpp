#include "kernels/perlin_mask.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <stdexcept>
#include <vector>

#include "kernels/perlin_math.h"
#include "tests/kernels/drawing_test.h"

#if DDPMTS_CPU_TESTS
#include <omp.h>
#endif

namespace ddpmts::kernels {
namespace {

using test::Array;

struct Drawn {
  Array<std::uint8_t> mask;
  Array<float> noise;
};

Drawn draw(CpuIsa isa, std::int64_t n, std::int64_t h, std::int64_t w, const PerlinConfig& config = {},
           std::uint64_t seed = 3, std::uint64_t first_sample = 0) {
  Drawn drawn{Array<std::uint8_t>(static_cast<std::size_t>(n * h * w), 9),
              Array<float>(static_cast<std::size_t>(n * h * w), 9.0f)};
  PerlinMaskArgs args;
  args.n = n;
  args.h = h;
  args.w = w;
  args.config = config;
  args.seed = seed;
  args.first_sample = first_sample;
  args.mask = drawn.mask.data();
  args.noise = drawn.noise.data();
  DDPMTS_RUN_KERNEL(isa, perlin_mask, args);
  return drawn;
}

/// The definition in double, one pixel at a time, with the C library's sine and cosine.
double plain_noise(const Philox& random, std::uint32_t attempt, const PerlinConfig& config, double x,
                   double y, double w, double h) {
  const std::uint32_t base = attempt * 512;
  const Uint4 shape = random.bits(base);
  const auto choices = static_cast<std::uint32_t>(config.max_exponent - config.min_exponent + 1);
  const int cells_x = 1 << (config.min_exponent + static_cast<int>(uniform_index(shape.x, choices)));
  const int cells_y = 1 << (config.min_exponent + static_cast<int>(uniform_index(shape.y, choices)));
  const double angle = static_cast<double>(uniform(shape.z, -config.max_rotation, config.max_rotation)) *
                       std::numbers::pi / 180.0;
  const double dx = x + 0.5 - w / 2, dy = y + 0.5 - h / 2;
  const double u = ((std::cos(angle) * dx - std::sin(angle) * dy) / w + 0.5) * cells_x;
  const double v = ((std::sin(angle) * dx + std::cos(angle) * dy) / h + 0.5) * cells_y;
  if (u < 0 || v < 0 || u >= cells_x || v >= cells_y) return 0.0;
  const int column = static_cast<int>(u), row = static_cast<int>(v);
  const auto corner = [&](int right, int down) {
    const auto p = static_cast<std::uint32_t>((row + down) * (cells_x + 1) + column + right);
    const Uint4 block = random.bits(base + 1 + p / 4);
    const std::uint32_t four[] = {block.x, block.y, block.z, block.w};
    const double a = 2 * std::numbers::pi * static_cast<double>(uniform01(four[p % 4]));
    return (u - column - right) * std::cos(a) + (v - row - down) * std::sin(a);
  };
  const auto fade = [](double t) { return 6 * std::pow(t, 5) - 15 * std::pow(t, 4) + 10 * std::pow(t, 3); };
  const double fu = fade(u - column), fv = fade(v - row);
  return std::numbers::sqrt2 *
         std::lerp(std::lerp(corner(0, 0), corner(1, 0), fu), std::lerp(corner(0, 1), corner(1, 1), fu), fv);
}

TEST(PerlinMath, SineAndCosine) {
  for (int i = -4000; i <= 4000; ++i) {
    const float turns = static_cast<float>(i) / 997.0f;
    float sine, cosine;
    sincos_turns(turns, sine, cosine);
    const double a = 2 * std::numbers::pi * static_cast<double>(turns);
    EXPECT_NEAR(sine, std::sin(a), 1e-6) << turns;
    EXPECT_NEAR(cosine, std::cos(a), 1e-6) << turns;
  }
  for (int quarter = -8; quarter <= 8; ++quarter) {  // exact: a quarter turn moves pixels onto pixels
    float sine, cosine;
    sincos_turns(0.25f * static_cast<float>(quarter), sine, cosine);
    constexpr float kSines[] = {0, 1, 0, -1};
    EXPECT_EQ(sine, kSines[quarter & 3]);
    EXPECT_EQ(cosine, kSines[(quarter + 1) & 3]);
  }
}

TEST(PerlinMask, MatchesThePlainDefinition) {
  test::for_each_isa([](CpuIsa isa) {
    for (const auto& [h, w] : {std::pair{48, 48}, {65, 33}, {1, 1}, {1, 700}, {17, 519}}) {
      const PerlinConfig config;
      const int n = 6;
      const Drawn drawn = draw(isa, n, h, w, config, 11, 5);
      for (int i = 0; i < n; ++i) {
        const Philox random{11, RandomStream::perlin, static_cast<std::uint64_t>(5 + i)};
        int jumps = 0;  // pixels whose coordinate rounds to the other side of the square's edge
        for (int y = 0; y < h; ++y) {
          for (int x = 0; x < w; ++x) {
            const auto p = static_cast<std::size_t>((i * h + y) * w + x);
            const double expected = plain_noise(random, 0, config, x, y, w, h);
            if (std::abs(static_cast<double>(drawn.noise[p]) - expected) > 2e-4) ++jumps;
            EXPECT_EQ(drawn.mask[p], drawn.noise[p] > 0.5f ? 1 : 0);
          }
        }
        EXPECT_LE(jumps, 2) << h << "x" << w << " image " << i;
      }
    }
  });
}

TEST(PerlinMask, NoiseIsBoundedAndUsesItsRange) {
  const Drawn drawn = draw(test::fastest_isa(), 64, 128, 128);
  float least = 0, most = 0;
  for (const float value : drawn.noise) {
    ASSERT_LE(std::abs(value), 1.0f);
    least = std::min(least, value);
    most = std::max(most, value);
  }
  EXPECT_GT(most, 0.9f);
  EXPECT_LT(least, -0.9f);
}

#if !defined(DDPMTS_CUDA_SHIM)  // a hundred million pixels
// Reference: coverage 4.8 % in the mean over all lattices, empty 5.6 % of the time, at 256².
TEST(PerlinMask, CoverageAndEmptinessAreThePapers) {
  const int batches = 12, n = 128, pixels = 256 * 256;
  double covered = 0;
  int empty = 0;
  for (int batch = 0; batch < batches; ++batch) {
    const Drawn drawn = draw(test::fastest_isa(), n, 256, 256, {}, 1, static_cast<std::uint64_t>(batch * n));
    for (int i = 0; i < n; ++i) {
      const auto first = drawn.mask.begin() + static_cast<std::ptrdiff_t>(i) * pixels;
      const auto count = std::count(first, first + pixels, 1);
      covered += static_cast<double>(count) / pixels;
      empty += count == 0 ? 1 : 0;
    }
  }
  EXPECT_NEAR(covered / (batches * n), 0.048, 0.004);
  EXPECT_NEAR(static_cast<double>(empty) / (batches * n), 0.056, 0.02);
}
#endif

TEST(PerlinMask, RetriesUntilNotEmpty) {
  PerlinConfig config;
  config.max_exponent = 1;  // lattices that often stay below the threshold
  const int n = 64, pixels = 64 * 64;
  const auto empty = [&](const Drawn& drawn) {
    int count = 0;
    for (int i = 0; i < n; ++i) {
      const auto first = drawn.mask.begin() + static_cast<std::ptrdiff_t>(i) * pixels;
      count += std::count(first, first + pixels, 1) == 0 ? 1 : 0;
    }
    return count;
  };
  const Drawn once = draw(test::fastest_isa(), n, 64, 64, config);
  EXPECT_GT(empty(once), 10);
  config.max_tries = 50;
  const Drawn retried = draw(test::fastest_isa(), n, 64, 64, config);
  EXPECT_EQ(empty(retried), 0);
  // Pictures that were not empty at once are left as they were.
  for (int i = 0; i < n; ++i) {
    const auto begin = static_cast<std::ptrdiff_t>(i) * pixels;
    if (std::count(once.mask.begin() + begin, once.mask.begin() + begin + pixels, 1) == 0) continue;
    EXPECT_TRUE(std::equal(once.mask.begin() + begin, once.mask.begin() + begin + pixels,
                           retried.mask.begin() + begin));
  }
}

// The bits themselves, drawn on the CPU: CPUs, GPUs and the host shim all draw these.
TEST(PerlinMask, SameBitsOnEveryDevice) {
  test::for_each_isa([](CpuIsa isa) {
    PerlinConfig config;
    config.max_exponent = 2;
    config.max_tries = 3;
    const Drawn drawn = draw(isa, 9, 61, 77, config);
    EXPECT_EQ(test::hash_of(drawn.mask.data(), drawn.mask.size()), 0xfff840854f19beb5u);
    EXPECT_EQ(test::hash_of(drawn.noise.data(), drawn.noise.size() * sizeof(float)), 0xc23faa8d500e1efu);
  });
}

#if DDPMTS_CPU_TESTS
TEST(PerlinMask, SameBitsOnEveryInstructionSetAndThreadCount) {
  const Drawn expected = draw(CpuIsa::baseline, 9, 131, 77);
  const int threads = omp_get_max_threads();
  test::for_each_isa([&](CpuIsa isa) {
    for (const int count : {1, 3}) {
      omp_set_num_threads(count);
      const Drawn drawn = draw(isa, 9, 131, 77);
      EXPECT_EQ(drawn.mask, expected.mask);
      EXPECT_EQ(std::memcmp(drawn.noise.data(), expected.noise.data(), drawn.noise.size() * sizeof(float)),
                0);
    }
  });
  omp_set_num_threads(threads);
}
#endif

TEST(PerlinMask, ASampleDoesNotDependOnItsBatch) {
  const std::ptrdiff_t pixels = 40 * 50;
  const Drawn batch = draw(test::fastest_isa(), 4, 40, 50, {}, 8, 100);
  const Drawn alone = draw(test::fastest_isa(), 1, 40, 50, {}, 8, 102);
  EXPECT_TRUE(std::equal(alone.noise.begin(), alone.noise.end(), batch.noise.begin() + 2 * pixels));
  const Drawn other = draw(test::fastest_isa(), 1, 40, 50, {}, 9, 102);
  EXPECT_NE(alone.noise, other.noise);
}

TEST(PerlinMask, RefusesImpossibleLattices) {
  PerlinConfig config;
  config.max_exponent = 6;
  EXPECT_THROW(draw(CpuIsa::baseline, 1, 8, 8, config), std::invalid_argument);
  config = {};
  config.min_exponent = 5;
  config.max_exponent = 4;
  EXPECT_THROW(draw(CpuIsa::baseline, 1, 8, 8, config), std::invalid_argument);
  config = {};
  config.max_tries = 0;
  EXPECT_THROW(draw(CpuIsa::baseline, 1, 8, 8, config), std::invalid_argument);
}

}  // namespace
}  // namespace ddpmts::kernels
