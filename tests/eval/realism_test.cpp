// Distances between sets of feature vectors against numpy, scipy and mpmath, closed forms, and slow twins.
#include "eval/realism.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>
#include <random>
#include <set>
#include <stdexcept>

#include "generated/test_paths.h"

namespace ddpmts::eval {
namespace {

struct Set {
  std::vector<double> values;
  std::int64_t channels = 1;

  FeatureRows rows() const { return {values, static_cast<std::int64_t>(values.size()) / channels, channels}; }
};

Set normal_set(std::uint32_t seed, std::int64_t count, std::int64_t channels, double mean = 0,
               double scale = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal(mean, scale);
  Set set{std::vector<double>(static_cast<std::size_t>(count * channels)), channels};
  for (double& value : set.values) value = normal(random);
  return set;
}

// Its mean is `mean` and its covariance is diagonal, with these standard deviations.
Set diagonal_set(const std::vector<double>& mean, const std::vector<double>& deviation) {
  const auto channels = static_cast<std::int64_t>(mean.size());
  const double reach = std::sqrt((2.0 * static_cast<double>(channels) - 1) / 2);
  Set set{{}, channels};
  for (std::size_t c = 0; c < mean.size(); ++c) {
    for (const double sign : {-1.0, 1.0}) {
      std::vector<double> row = mean;
      row[c] += sign * reach * deviation[c];
      set.values.insert(set.values.end(), row.begin(), row.end());
    }
  }
  return set;
}

Set take(const Set& set, const std::vector<std::int64_t>& which) {
  Set taken{{}, set.channels};
  for (const std::int64_t i : which) {
    const auto first = set.values.begin() + i * set.channels;
    taken.values.insert(taken.values.end(), first, first + set.channels);
  }
  return taken;
}

double kernel(const Set& x, std::int64_t i, const Set& y, std::int64_t j) {
  double product = 0;
  for (std::int64_t c = 0; c < x.channels; ++c) {
    product += x.values[static_cast<std::size_t>(i * x.channels + c)] *
               y.values[static_cast<std::size_t>(j * y.channels + c)];
  }
  return std::pow(product / static_cast<double>(x.channels) + 1, 3);
}

double mean_within(const Set& set) {
  const std::int64_t n = set.rows().count;
  double sum = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = 0; j < n; ++j) sum += i == j ? 0 : kernel(set, i, set, j);
  }
  return sum / static_cast<double>(n * (n - 1));
}

double slow_kernel_distance(const Set& a, const Set& b) {
  double between = 0;
  for (std::int64_t i = 0; i < a.rows().count; ++i) {
    for (std::int64_t j = 0; j < b.rows().count; ++j) between += kernel(a, i, b, j);
  }
  return mean_within(a) + mean_within(b) - 2 * between / static_cast<double>(a.rows().count * b.rows().count);
}

TEST(Realism, MaskedMeanWeighsPositionsWithTheMasksArea) {
  // Pixels 0 … 4 of a side belong to positions 0 0 0 1 1.
  const std::vector<float> features = {1, 10, 2, 20, 3, 30, 4, 40};  // [2, 2, 2]
  std::vector<std::uint8_t> mask(25);
  EXPECT_THROW(masked_mean(features, 2, 2, 2, mask, 5), std::invalid_argument);  // empty
  mask[0] = mask[1] = mask[2 * 5 + 2] = 1;  // three pixels of position (0, 0)
  mask[2 * 5 + 3] = 255;                    // one of (1, 0)
  mask[4 * 5 + 3] = 1;                      // one of (1, 1); (0, 1) is not touched
  const std::vector<double> expected = {(3 * 1 + 2 + 4) / 5.0, (3 * 10 + 20 + 40) / 5.0};
  const std::vector<double> mean = masked_mean(features, 2, 2, 2, mask, 5);
  ASSERT_EQ(mean.size(), 2u);
  EXPECT_NEAR(mean[0], expected[0], 1e-12);
  EXPECT_NEAR(mean[1], expected[1], 1e-12);
  EXPECT_THROW(masked_mean(features, 2, 2, 3, mask, 5), std::invalid_argument);
  EXPECT_THROW(masked_mean(features, 2, 2, 2, mask, 6), std::invalid_argument);
}

TEST(Realism, AgreesWithNumpyAndScipy) {
  std::ifstream file(DDPMTS_GOLDEN_DIR "/realism.json");
  ASSERT_TRUE(file) << "cannot open realism.json";
  const nlohmann::json cases = nlohmann::json::parse(file);
  ASSERT_EQ(cases.size(), 8u);
  for (const nlohmann::json& golden : cases) {
    SCOPED_TRACE(golden.at("name").get<std::string>());
    const Set a{golden.at("a").get<std::vector<double>>(), golden.at("channels")};
    const Set b{golden.at("b").get<std::vector<double>>(), golden.at("channels")};
    EXPECT_NEAR(frechet_distance(a.rows(), b.rows()), golden.at("frechet").get<double>(), 1e-6);
    EXPECT_NEAR(kernel_distance(a.rows(), b.rows()), golden.at("kernel").get<double>(), 1e-6);
    EXPECT_NEAR(kernel_distance(a.rows(), b.rows()), slow_kernel_distance(a, b), 1e-9);
  }
}

TEST(Realism, FrechetDistanceOfDiagonalNormals) {
  const std::vector<double> mean_a = {0, 1, -2, 5}, mean_b = {1, 1, 0, 4.5};
  const std::vector<double> deviation_a = {1, 2, 0.5, 0}, deviation_b = {3, 2, 0.1, 0.25};
  double expected = 0;
  for (std::size_t c = 0; c < mean_a.size(); ++c) {
    expected += std::pow(mean_a[c] - mean_b[c], 2) + std::pow(deviation_a[c] - deviation_b[c], 2);
  }
  const Set a = diagonal_set(mean_a, deviation_a), b = diagonal_set(mean_b, deviation_b);
  EXPECT_NEAR(frechet_distance(a.rows(), b.rows()), expected, 1e-9);
}

TEST(Realism, DistancesAreSymmetric) {
  const Set a = normal_set(1, 12, 20), b = normal_set(2, 31, 20, 0.3);
  EXPECT_NEAR(frechet_distance(a.rows(), b.rows()), frechet_distance(b.rows(), a.rows()), 1e-9);
  EXPECT_NEAR(kernel_distance(a.rows(), b.rows()), kernel_distance(b.rows(), a.rows()), 1e-9);
}

TEST(Realism, FrechetDistanceOfEqualSetsIsZero) {
  for (const std::int64_t count : {5, 20, 60}) {
    const Set a = normal_set(3, count, 20, 1.0, 4.0);
    Set reversed{{}, a.channels};
    for (std::int64_t i = count - 1; i >= 0; --i) {
      const Set row = take(a, {i});
      reversed.values.insert(reversed.values.end(), row.values.begin(), row.values.end());
    }
    EXPECT_NEAR(frechet_distance(a.rows(), a.rows()), 0, 1e-9) << count;
    EXPECT_NEAR(frechet_distance(a.rows(), reversed.rows()), 0, 1e-9) << count;
  }
}

// With the pairs of a row with itself it would be 0.
TEST(Realism, KernelDistanceOfEqualSetsLeavesOutPairsOfARowWithItself) {
  const Set a = normal_set(4, 15, 6);
  double with_itself = 0, between = 0;
  for (std::int64_t i = 0; i < 15; ++i) {
    with_itself += kernel(a, i, a, i) / 15;
    for (std::int64_t j = 0; j < 15; ++j) between += kernel(a, i, a, j) / (15 * 15);
  }
  EXPECT_NEAR(kernel_distance(a.rows(), a.rows()), -2 * (with_itself - between) / 14, 1e-9);
  EXPECT_LT(kernel_distance(a.rows(), a.rows()), 0);
}

// An unbiased estimator: the mean over all parts of the sets is the value of the whole sets.
TEST(Realism, KernelDistanceDoesNotDependOnCountOnAverage) {
  const Set a = normal_set(5, 5, 3), b = normal_set(6, 5, 3, 0.5);
  double sum = 0;
  int parts = 0;
  for (std::int64_t i = 0; i < 5; ++i) {
    for (std::int64_t j = i + 1; j < 5; ++j) {
      for (std::int64_t k = 0; k < 5; ++k) {
        for (std::int64_t l = k + 1; l < 5; ++l, ++parts) {
          sum += kernel_distance(take(a, {i, j}).rows(), take(b, {k, l}).rows());
        }
      }
    }
  }
  EXPECT_NEAR(sum / parts, kernel_distance(a.rows(), b.rows()), 1e-9);
}

TEST(Realism, RandomSubsetsHoldEveryEntryEquallyOften) {
  std::vector<int> seen(10);
  for (std::uint64_t index = 0; index < 4000; ++index) {
    const std::vector<std::int64_t> subset = random_subset(7, index, 10, 4);
    ASSERT_EQ(std::set<std::int64_t>(subset.begin(), subset.end()).size(), 4u);
    for (const std::int64_t i : subset) ++seen.at(static_cast<std::size_t>(i));
  }
  for (const int count : seen) EXPECT_NEAR(count, 1600, 160);  // five standard deviations
  EXPECT_EQ(random_subset(7, 3, 10, 4), random_subset(7, 3, 10, 4));
  EXPECT_NE(random_subset(7, 3, 1000, 4), random_subset(7, 4, 1000, 4));
  EXPECT_NE(random_subset(7, 3, 1000, 4), random_subset(8, 3, 1000, 4));
  EXPECT_THROW(random_subset(7, 3, 10, 11), std::invalid_argument);
}

TEST(Realism, ComparisonPutsTheLikeSourceBeforeTheUnlike) {
  const Set real = normal_set(8, 60, 10), like = normal_set(9, 80, 10), unlike = normal_set(10, 45, 10, 1.0);
  const std::vector<FeatureRows> sources = {like.rows(), unlike.rows()};
  const Realism result = compare_with_real(real.rows(), sources);
  EXPECT_EQ(result.count, 30);
  ASSERT_EQ(result.sources.size(), 2u);
  EXPECT_NEAR(result.sources[0].frechet.mean, result.real.frechet.mean, 1.0);
  EXPECT_NEAR(result.sources[0].kernel.mean, 0, 0.1);
  EXPECT_NEAR(result.real.kernel.mean, 0, 0.1);
  EXPECT_GT(result.sources[1].frechet.mean, result.real.frechet.mean + 5);
  EXPECT_GT(result.sources[1].kernel.mean, 1.0);
}

TEST(Realism, ComparisonSpendsEqualCountsAndGivesTheSpreadOfItsDraws) {
  const Set real = normal_set(11, 9, 3), source = normal_set(12, 3, 3, 0.4);
  const std::vector<FeatureRows> sources = {source.rows()};
  const RealismConfig config{5, 21};
  const Realism result = compare_with_real(real.rows(), sources, config);
  EXPECT_EQ(result.count, 3);  // the source's, less than half of the real ones
  std::vector<double> frechet;
  for (std::uint64_t draw = 0; draw < 5; ++draw) {
    std::vector<std::int64_t> first = random_subset(21, 2 * draw, 9, 6);
    first.resize(3);
    frechet.push_back(frechet_distance(take(real, first).rows(), source.rows()));
  }
  const double mean = std::accumulate(frechet.begin(), frechet.end(), 0.0) / 5;
  double squares = 0;
  for (const double value : frechet) squares += (value - mean) * (value - mean);
  EXPECT_NEAR(result.sources[0].frechet.mean, mean, 1e-9);
  EXPECT_NEAR(result.sources[0].frechet.deviation, std::sqrt(squares / 4), 1e-9);
  EXPECT_EQ(compare_with_real(real.rows(), sources, config).real.kernel.mean, result.real.kernel.mean);
}

TEST(Realism, RefusesWhatCannotBeCompared) {
  const Set a = normal_set(13, 10, 4), other_channels = normal_set(14, 10, 5), one = normal_set(15, 1, 4);
  Set not_finite = a;
  not_finite.values[7] = std::numeric_limits<double>::quiet_NaN();
  FeatureRows short_of_values = a.rows();
  short_of_values.count = 11;
  for (const auto distance : {&frechet_distance, &kernel_distance}) {
    EXPECT_THROW(distance(a.rows(), other_channels.rows()), std::invalid_argument);
    EXPECT_THROW(distance(a.rows(), one.rows()), std::invalid_argument);
    EXPECT_THROW(distance(not_finite.rows(), a.rows()), std::invalid_argument);
    EXPECT_THROW(distance(a.rows(), short_of_values), std::invalid_argument);
  }
  const std::vector<FeatureRows> sources = {a.rows()};
  EXPECT_THROW(compare_with_real(normal_set(16, 3, 4).rows(), sources), std::invalid_argument);
  EXPECT_THROW(compare_with_real(a.rows(), sources, {1, 0}), std::invalid_argument);
}

}  // namespace
}  // namespace ddpmts::eval
