#include "kernels/top_k_mean.h"

#include <algorithm>
#include <limits>

#include "tests/kernels/kernel_test.h"

namespace ddpmts::kernels {
namespace {

using test::Array;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// The plain twin: sort and add up.
double twin_of(Array<float> map, std::int64_t k) {
  std::sort(map.begin(), map.end(), std::greater<float>());
  map.resize(std::min(map.size(), static_cast<std::size_t>(k)));
  double sum = 0.0;
  for (const float x : map) sum += double(x);
  return sum / static_cast<double>(map.size());
}

float run(CpuIsa isa, const Array<float>& map, std::int64_t k) {
  Array<float> score(1, -1.0f);
  TopKMeanArgs args{1, static_cast<std::int64_t>(map.size()), k, map.data(), score.data()};
  DDPMTS_RUN_KERNEL(isa, top_k_mean, args);
  return score[0];
}

TEST(TopKMean, MatchesASort) {
  test::for_each_isa([](CpuIsa isa) {
    for (const std::int64_t pixels : {1, 2, 15, 91, 1000, 65536}) {
      for (const std::int64_t k : {1, 2, 7, 100, 999, 1000000}) {
        const Array<float> map = test::random_floats(pixels, 1, -2.0f, 3.0f);
        const double expected = twin_of(map, k);
        ASSERT_NEAR(run(isa, map, k), expected, 1e-7 * (1.0 + std::abs(expected)))
            << pixels << " pixels, k " << k;
      }
    }
  });
}

TEST(TopKMean, ManyMagnitudesAndSigns) {
  test::for_each_isa([](CpuIsa isa) {
    Array<float> map = test::random_floats(5000, 2, -30.0f, 30.0f);
    for (float& x : map) x = std::copysign(std::exp2(x), x);
    for (const std::int64_t k : {1, 10, 2499, 2500, 2501, 4999}) {
      const double expected = twin_of(map, k);
      ASSERT_NEAR(run(isa, map, k), expected, 1e-7 * std::abs(expected)) << k;
    }
  });
}

TEST(TopKMean, TiesAtTheThresholdCountOnlyAsOftenAsNeeded) {
  test::for_each_isa([](CpuIsa isa) {
    Array<float> map(300, 0.25f);
    for (std::size_t i = 0; i < 30; ++i) map[i * 7] = 1.0f;
    EXPECT_EQ(run(isa, map, 30), 1.0f);
    EXPECT_EQ(run(isa, map, 20), 1.0f);
    EXPECT_EQ(run(isa, map, 60), 0.625f);
    EXPECT_EQ(run(isa, Array<float>(1000, -3.5f), 100), -3.5f);
    // Neighbouring floats differ only in the last digit of the radix select.
    Array<float> close(100, 1.0f);
    close[3] = close[77] = std::nextafter(1.0f, 2.0f);
    EXPECT_EQ(run(isa, close, 2), std::nextafter(1.0f, 2.0f));
  });
}

TEST(TopKMean, SpecialValues) {
  test::for_each_isa([](CpuIsa isa) {
    Array<float> map = test::random_floats(200, 3);
    map[150] = kInfinity;
    EXPECT_EQ(run(isa, map, 5), kInfinity);
    map[150] = -kInfinity;
    EXPECT_TRUE(std::isfinite(run(isa, map, 199)));
    EXPECT_EQ(run(isa, map, 200), -kInfinity);
    EXPECT_EQ(run(isa, {0.0f, -0.0f, -1.0f, -0.0f}, 3), 0.0f);
    for (const std::int64_t k : {1, 199, 500}) {
      for (const float sign : {1.0f, -1.0f}) {
        for (const std::size_t place : {0, 150, 199}) {
          Array<float> with_nan = test::random_floats(200, 4);
          with_nan[place] = std::copysign(std::nanf(""), sign);
          EXPECT_TRUE(std::isnan(run(isa, with_nan, k))) << k << " at " << place;
        }
      }
    }
  });
}

TEST(TopKMean, EachPictureForItself) {
  test::for_each_isa([](CpuIsa isa) {
    const std::int64_t n = 5, pixels = 333;
    Array<float> maps = test::random_floats(n * pixels, 5);
    maps[2 * 333 + 10] = std::nanf("");
    Array<float> scores(5), again(5);
    TopKMeanArgs args{n, pixels, 20, maps.data(), scores.data()};
    DDPMTS_RUN_KERNEL(isa, top_k_mean, args);
    for (std::size_t i = 0; i < 5; ++i) {
      const auto first = maps.begin() + static_cast<std::ptrdiff_t>(i * 333);
      const float alone = run(isa, Array<float>(first, first + 333), 20);
      if (i == 2) {
        EXPECT_TRUE(std::isnan(scores[i]));
      } else {
        EXPECT_EQ(scores[i], alone);
      }
    }
    args.score = again.data();
    DDPMTS_RUN_KERNEL(isa, top_k_mean, args);
    EXPECT_EQ(0, std::memcmp(scores.data(), again.data(), 5 * sizeof(float)));
  });
}

}  // namespace
}  // namespace ddpmts::kernels
