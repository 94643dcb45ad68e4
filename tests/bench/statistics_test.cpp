#include "bench/statistics.h"

#include <gtest/gtest.h>

#include <stdexcept>

namespace ddpmts::bench {
namespace {

TEST(Statistics, PercentilesLieBetweenNeighbours) {
  const std::vector<double> samples = {5.0, 1.0, 3.0, 2.0, 4.0};
  EXPECT_DOUBLE_EQ(percentile(samples, 0.0), 1.0);
  EXPECT_DOUBLE_EQ(percentile(samples, 0.5), 3.0);
  EXPECT_DOUBLE_EQ(percentile(samples, 0.05), 1.2);
  EXPECT_DOUBLE_EQ(percentile(samples, 1.0), 5.0);
  EXPECT_DOUBLE_EQ(percentile({7.0}, 0.3), 7.0);
  EXPECT_DOUBLE_EQ(percentile({1.0, 2.0}, 0.5), 1.5);
  EXPECT_THROW(percentile({}, 0.5), std::invalid_argument);
}

TEST(Statistics, TheSpreadIsHalfTheMiddleNineTenths) {
  std::vector<double> samples;
  for (int i = 0; i <= 100; ++i) samples.push_back(100.0 + i);  // 5 %: 105, 95 %: 195, median 150
  const Summary summary = summarize(samples);
  EXPECT_EQ(summary.count, 101u);
  EXPECT_DOUBLE_EQ(summary.median, 150.0);
  EXPECT_DOUBLE_EQ(summary.low, 105.0);
  EXPECT_DOUBLE_EQ(summary.high, 195.0);
  EXPECT_DOUBLE_EQ(summary.spread(), 0.3);
  EXPECT_DOUBLE_EQ(Summary{}.spread(), 0.0);
}

TEST(Statistics, OneOutlierOfManyMovesNothing) {
  std::vector<double> samples(99, 1.0);
  samples.push_back(1000.0);
  EXPECT_DOUBLE_EQ(summarize(samples).median, 1.0);
  EXPECT_DOUBLE_EQ(summarize(samples).spread(), 0.0);
}

}  // namespace
}  // namespace ddpmts::bench
