// Ranking metrics against scikit-learn and against twins that compare every pair and try every threshold.
#include "eval/metrics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>
#include <set>
#include <stdexcept>

#include "eval/ranking.h"
#include "generated/test_paths.h"

namespace ddpmts::eval {
namespace {

nlohmann::json golden() {
  std::ifstream file(DDPMTS_GOLDEN_DIR "/metrics.json");
  if (!file) throw std::runtime_error("cannot open " DDPMTS_GOLDEN_DIR "/metrics.json");
  return nlohmann::json::parse(file);
}

struct Sample {
  std::vector<float> scores;
  std::vector<std::uint8_t> labels;
};

/// levels = 0: continuous scores; else that many distinct ones.
Sample random_sample(std::mt19937& random, std::size_t count, int levels, double share) {
  std::normal_distribution<float> normal;
  Sample sample;
  for (std::size_t i = 0; i < count; ++i) {
    const bool positive = std::bernoulli_distribution(share)(random);
    float score = normal(random) + (positive ? 1.0f : 0.0f);
    if (levels > 0) score = std::round(score * static_cast<float>(levels)) / static_cast<float>(levels);
    sample.scores.push_back(score);
    sample.labels.push_back(positive ? 255 : 0);
  }
  return sample;
}

struct Counts {
  double true_positives = 0;
  double false_positives = 0;
  double positives = 0;
};

Counts count_at(const Sample& sample, float threshold) {
  Counts counts;
  for (std::size_t i = 0; i < sample.scores.size(); ++i) {
    const bool called = sample.scores[i] >= threshold;
    counts.positives += sample.labels[i] != 0;
    counts.true_positives += called && sample.labels[i] != 0;
    counts.false_positives += called && sample.labels[i] == 0;
  }
  return counts;
}

double slow_auroc(const Sample& sample) {
  double wins = 0;
  double pairs = 0;
  for (std::size_t i = 0; i < sample.scores.size(); ++i) {
    for (std::size_t j = 0; j < sample.scores.size(); ++j) {
      if (sample.labels[i] == 0 || sample.labels[j] != 0) continue;
      pairs += 1;
      wins += sample.scores[i] > sample.scores[j] ? 1.0 : sample.scores[i] == sample.scores[j] ? 0.5 : 0.0;
    }
  }
  return wins / pairs;
}

double slow_average_precision(const Sample& sample) {
  const std::set<float, std::greater<>> thresholds(sample.scores.begin(), sample.scores.end());
  double sum = 0;
  double previous_recall = 0;
  for (const float threshold : thresholds) {
    const Counts counts = count_at(sample, threshold);
    const double recall = counts.true_positives / counts.positives;
    sum +=
        (recall - previous_recall) * counts.true_positives / (counts.true_positives + counts.false_positives);
    previous_recall = recall;
  }
  return sum;
}

double f1_at(const Sample& sample, float threshold) {
  const Counts counts = count_at(sample, threshold);
  return 2 * counts.true_positives / (counts.true_positives + counts.false_positives + counts.positives);
}

TEST(Metrics, AgreeWithScikitLearn) {
  const nlohmann::json cases = golden().at("ranking");
  ASSERT_GE(cases.size(), 10u);
  for (const auto& entry : cases) {
    SCOPED_TRACE(entry.at("name").get<std::string>());
    const auto scores = entry.at("scores").get<std::vector<float>>();
    const auto labels = entry.at("labels").get<std::vector<std::uint8_t>>();
    EXPECT_NEAR(auroc(scores, labels).value(), entry.at("auroc").get<double>(), 1e-12);
    EXPECT_NEAR(average_precision(scores, labels).value(), entry.at("average_precision").get<double>(),
                1e-12);
    const F1Max best = f1_max(scores, labels).value();
    EXPECT_NEAR(best.value, entry.at("f1_max").get<double>(), 1e-12);
    EXPECT_EQ(best.threshold, entry.at("f1_threshold").get<float>());
  }
}

TEST(Metrics, AgreeWithEveryPairAndEveryThreshold) {
  std::mt19937 random(11);
  for (int round = 0; round < 120; ++round) {
    const int levels = round % 3 == 0 ? 0 : round % 3;
    Sample sample = random_sample(random, 2 + random() % 60, levels, round % 2 == 0 ? 0.5 : 0.1);
    sample.labels.front() = 1;  // both classes, always
    sample.labels.back() = 0;
    SCOPED_TRACE(round);
    EXPECT_NEAR(auroc(sample.scores, sample.labels).value(), slow_auroc(sample), 1e-12);
    EXPECT_NEAR(average_precision(sample.scores, sample.labels).value(), slow_average_precision(sample),
                1e-12);
    const F1Max best = f1_max(sample.scores, sample.labels).value();
    EXPECT_NEAR(f1_at(sample, best.threshold), best.value, 1e-12);
    for (const float threshold : sample.scores) EXPECT_LE(f1_at(sample, threshold), best.value + 1e-12);
  }
}

// The radix sort takes over at 4096 items; a sample above that must still agree with the pairs.
TEST(Metrics, AgreeWithEveryPairWhenRadixSorted) {
  std::mt19937 random(5);
  for (const int levels : {0, 4}) {
    const Sample sample = random_sample(random, 11000, levels, 0.5);
    ASSERT_GT(RankedScores(sample.scores, sample.labels).good().size(), 4096u);
    EXPECT_NEAR(auroc(sample.scores, sample.labels).value(), slow_auroc(sample), 1e-12);
  }
}

TEST(Metrics, RocCurveHoldsTruePointsAndBothEnds) {
  std::mt19937 random(3);
  const Sample sample = random_sample(random, 700, 0, 0.4);
  const RankedScores ranked(sample.scores, sample.labels);
  for (const int max_points : {2, 3, 10, 200, 5000}) {
    const std::vector<RocPoint> points = roc_curve(ranked, max_points);
    ASSERT_GE(points.size(), 2u);
    EXPECT_LE(points.size(), static_cast<std::size_t>(max_points));
    EXPECT_EQ(points.front().false_positive_rate, 0);
    EXPECT_EQ(points.front().true_positive_rate, 0);
    EXPECT_EQ(points.back().false_positive_rate, 1);
    EXPECT_EQ(points.back().true_positive_rate, 1);
    for (std::size_t i = 1; i < points.size(); ++i) {
      const Counts counts = count_at(sample, points[i].threshold);
      const double negatives = static_cast<double>(sample.scores.size()) - counts.positives;
      EXPECT_DOUBLE_EQ(points[i].true_positive_rate, counts.true_positives / counts.positives);
      EXPECT_DOUBLE_EQ(points[i].false_positive_rate, counts.false_positives / negatives);
      EXPECT_LT(points[i].threshold, points[i - 1].threshold);
    }
  }
  // Unthinned, the trapezoids under the curve are the AUROC.
  const std::vector<RocPoint> all = roc_curve(ranked, 1000000);
  double area = 0;
  for (std::size_t i = 1; i < all.size(); ++i) {
    area += (all[i].false_positive_rate - all[i - 1].false_positive_rate) * 0.5 *
            (all[i].true_positive_rate + all[i - 1].true_positive_rate);
  }
  EXPECT_NEAR(area, auroc(ranked).value(), 1e-12);
  EXPECT_THROW(roc_curve(ranked, 1), std::invalid_argument);
  // The best allowed point, against a look at every point of the whole curve.
  for (const double rate : {0.0, 0.01, 0.05, 0.3, 0.999, 1.0}) {
    const RocPoint point = roc_point(ranked, rate).value();
    double best = 0;
    for (const RocPoint& other : all) {
      if (other.false_positive_rate <= rate) best = std::max(best, other.true_positive_rate);
    }
    EXPECT_EQ(point.true_positive_rate, best) << rate;
    EXPECT_LE(point.false_positive_rate, rate);
  }
}

// F1 is 2/3 with one picture called defective and again with all four: the fewer alarms win.
TEST(Metrics, F1MaxPrefersFewerAlarms) {
  const F1Max best =
      f1_max(std::vector<float>{0.9f, 0.7f, 0.5f, 0.3f}, std::vector<std::uint8_t>{1, 0, 0, 1}).value();
  EXPECT_DOUBLE_EQ(best.value, 2.0 / 3.0);
  EXPECT_EQ(best.threshold, 0.9f);
}

TEST(Metrics, EmptyWithOneClassOnly) {
  const std::vector<float> scores = {0.1f, 0.2f};
  for (const std::uint8_t label : {std::uint8_t{0}, std::uint8_t{1}}) {
    const std::vector<std::uint8_t> labels = {label, label};
    EXPECT_FALSE(auroc(scores, labels).has_value());
    EXPECT_FALSE(average_precision(scores, labels).has_value());
    EXPECT_FALSE(f1_max(scores, labels).has_value());
    EXPECT_TRUE(roc_curve(RankedScores(scores, labels)).empty());
    EXPECT_FALSE(roc_point(RankedScores(scores, labels), 0.1).has_value());
  }
  EXPECT_FALSE(auroc({}, {}).has_value());
}

TEST(Metrics, RefuseNanAndUnequalLengths) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THROW(auroc(std::vector<float>{0.1f, nan}, std::vector<std::uint8_t>{0, 1}), std::invalid_argument);
  EXPECT_THROW(auroc(std::vector<float>{0.1f}, std::vector<std::uint8_t>{0, 1}), std::invalid_argument);
}

TEST(Metrics, InfinitiesTakeTheirPlaces) {
  const float infinity = std::numeric_limits<float>::infinity();
  const std::vector<float> scores = {-infinity, -1e38f, 1e38f, infinity};
  EXPECT_EQ(auroc(scores, std::vector<std::uint8_t>{0, 0, 1, 1}).value(), 1.0);
  EXPECT_EQ(auroc(scores, std::vector<std::uint8_t>{1, 1, 0, 0}).value(), 0.0);
}

TEST(Ranking, KeysSortLikeScoresAndComeBack) {
  const float infinity = std::numeric_limits<float>::infinity();
  const std::vector<float> rising = {-infinity, -3e38f, -1.0f, -1e-42f, 0.0f, 1e-42f, 0.5f, 3e38f, infinity};
  for (std::size_t i = 0; i < rising.size(); ++i) {
    EXPECT_EQ(score_of_key(descending_key(rising[i])), rising[i]);
    if (i > 0) {
      EXPECT_LT(descending_key(rising[i]), descending_key(rising[i - 1]));
    }
  }
  EXPECT_EQ(descending_key(-0.0f), descending_key(0.0f));
}

TEST(Ranking, RadixSortIsStandardSort) {
  std::mt19937 random(1);
  for (const std::size_t count : {0, 1, 4095, 4096, 20000}) {
    for (const std::uint32_t mask : {0xffffffffu, 0x7ffu, 0xffe00000u, 0u}) {
      std::vector<std::uint64_t> items;
      for (std::size_t i = 0; i < count; ++i) {
        items.push_back((static_cast<std::uint64_t>(random() & mask) << 32) | (i & 0xffffffffu));
      }
      std::vector<std::uint64_t> expected = items;
      const auto key_of = [](std::uint64_t item) { return static_cast<std::uint32_t>(item >> 32); };
      sort_by_key(items, key_of);
      EXPECT_TRUE(
          std::is_sorted(items.begin(), items.end(), [&](auto a, auto b) { return key_of(a) < key_of(b); }));
      std::sort(expected.begin(), expected.end());
      std::sort(items.begin(), items.end());
      EXPECT_EQ(items, expected);  // nothing lost, nothing doubled
    }
  }
}

}  // namespace
}  // namespace ddpmts::eval
