#include "kernels/philox.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <vector>

namespace ddpmts::kernels {
namespace {

std::vector<std::uint32_t> words(Uint4 v) { return {v.x, v.y, v.z, v.w}; }

// The three published test vectors of philox4x32-10.
TEST(Philox, KnownAnswers) {
  EXPECT_EQ(words(philox4x32_10(Uint4{0, 0, 0, 0}, 0, 0)),
            (std::vector<std::uint32_t>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  const std::uint32_t ones = 0xffffffff;
  EXPECT_EQ(words(philox4x32_10(Uint4{ones, ones, ones, ones}, ones, ones)),
            (std::vector<std::uint32_t>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(
      words(philox4x32_10(Uint4{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, 0xa4093822, 0x299f31d0)),
      (std::vector<std::uint32_t>{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Philox, EveryCoordinateMatters) {
  const std::uint64_t high = std::uint64_t{1} << 32;
  std::set<std::vector<std::uint32_t>> seen;
  for (const std::uint64_t seed : {std::uint64_t{0}, std::uint64_t{1}, high}) {
    for (const RandomStream stream : {RandomStream::triplet, RandomStream::perlin, RandomStream::pixel}) {
      for (const std::uint64_t step : {std::uint64_t{0}, std::uint64_t{1}, high}) {
        for (const std::uint32_t element : {0u, 1u, 0x80000000u}) {
          seen.insert(words(Philox{seed, stream, step}.bits(element)));
        }
      }
    }
  }
  EXPECT_EQ(seen.size(), 81u);
}

TEST(Philox, UniformMomentsAndRange) {
  const Philox random{42, RandomStream::drawing, 7};
  const int blocks = 50000;
  double sum = 0, sum_of_squares = 0, lagged = 0;
  float previous = 0.5f;
  for (int i = 0; i < blocks; ++i) {
    for (const std::uint32_t word : words(random.bits(static_cast<std::uint32_t>(i)))) {
      const float u = uniform01(word);
      ASSERT_GE(u, 0.0f);
      ASSERT_LT(u, 1.0f);
      sum += u;
      sum_of_squares += static_cast<double>(u) * u;
      lagged += (static_cast<double>(u) - 0.5) * (static_cast<double>(previous) - 0.5);
      previous = u;
    }
  }
  const double n = 4.0 * blocks;
  // Five standard errors each.
  EXPECT_NEAR(sum / n, 0.5, 5 * std::sqrt(1.0 / 12 / n));
  EXPECT_NEAR(sum_of_squares / n, 1.0 / 3, 5 * std::sqrt(4.0 / 45 / n));
  EXPECT_NEAR(lagged / n, 0.0, 5 * (1.0 / 12) / std::sqrt(n));
}

TEST(Philox, ConversionsAtTheEnds) {
  EXPECT_EQ(uniform01(0), 0.0f);
  EXPECT_EQ(uniform01(0xffffffff), 1.0f - 0x1p-24f);
  EXPECT_EQ(uniform(0, -3.0f, 5.0f), -3.0f);
  EXPECT_EQ(uniform_index(0, 7), 0u);
  EXPECT_EQ(uniform_index(0xffffffff, 7), 6u);
  EXPECT_EQ(uniform_index(0xffffffff, 1), 0u);
}

}  // namespace
}  // namespace ddpmts::kernels
