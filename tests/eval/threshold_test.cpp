// The threshold: what it promises on simulated good pictures, and the normalised score.
#include "eval/threshold.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <random>
#include <stdexcept>
#include <vector>

namespace ddpmts::eval {
namespace {

using Draw = std::function<double(std::mt19937&)>;
using Exceeds = std::function<double(double)>;  // P(score >= t)

struct Rate {
  double mean = 0;
  double standard_error = 0;
};

/// The true false-alarm rate of thresholds set from n drawn good scores, averaged over many such sets.
Rate simulated_rate(int n, double rate, const Draw& draw, const Exceeds& exceeds, int sets) {
  std::mt19937 random(20);
  double sum = 0;
  double squares = 0;
  for (int set = 0; set < sets; ++set) {
    std::vector<float> scores;
    for (int i = 0; i < n; ++i) scores.push_back(static_cast<float>(draw(random)));
    const double p = exceeds(calibrate(scores, {.false_alarm_rate = rate}).threshold);
    sum += p;
    squares += p * p;
  }
  Rate result;
  result.mean = sum / sets;
  result.standard_error = std::sqrt((squares / sets - result.mean * result.mean) / sets);
  return result;
}

double draw_exponential(std::mt19937& random) { return std::exponential_distribution<double>()(random); }
double exceeds_exponential(double t) { return t > 0 ? std::exp(-t) : 1.0; }
double draw_normal(std::mt19937& random) { return std::normal_distribution<double>(5.0)(random); }
double exceeds_normal(double t) { return 0.5 * std::erfc((t - 5.0) / std::sqrt(2.0)); }
double draw_uniform(std::mt19937& random) { return std::uniform_real_distribution<double>()(random); }
double exceeds_uniform(double t) { return std::clamp(1.0 - t, 0.0, 1.0); }
double draw_lognormal(std::mt19937& random) { return std::lognormal_distribution<double>(0.0, 1.0)(random); }
double exceeds_lognormal(double t) { return t > 0 ? 0.5 * std::erfc(std::log(t) / std::sqrt(2.0)) : 1.0; }

TEST(Threshold, HoldsTheRateExactlyOnAnExponentialTail) {
  for (const int n : {2, 3, 6, 10, 25, 60, 98}) {
    const Rate rate = simulated_rate(n, 0.01, draw_exponential, exceeds_exponential, 8000);
    EXPECT_NEAR(rate.mean, 0.01, 4.5 * rate.standard_error) << n;
    EXPECT_LT(rate.standard_error, 0.001) << n;  // or the line above says nothing
  }
}

TEST(Threshold, StaysBelowTheRateOnLighterTails) {
  for (const int n : {2, 5, 10, 30, 60, 150}) {
    for (const double wanted : {0.001, 0.01, 0.05}) {
      EXPECT_LE(simulated_rate(n, wanted, draw_normal, exceeds_normal, 1500).mean, 1.1 * wanted) << n;
      EXPECT_LE(simulated_rate(n, wanted, draw_uniform, exceeds_uniform, 1500).mean, 1.1 * wanted) << n;
    }
  }
}

// A lognormal tail is heavier than any exponential: the rate is exceeded, but stays in its neighbourhood.
TEST(Threshold, StaysNearTheRateOnAHeavyTail) {
  for (const int n : {10, 30, 60}) {
    EXPECT_LE(simulated_rate(n, 0.01, draw_lognormal, exceeds_lognormal, 3000).mean, 0.025) << n;
  }
}

// With enough scores the order statistic guards the rate whatever the tail,
// and the threshold is not needlessly high.
TEST(Threshold, HoldsTheRateWithManyScores) {
  const struct {
    Draw draw;
    Exceeds exceeds;
  } cases[] = {{draw_exponential, exceeds_exponential},
               {draw_normal, exceeds_normal},
               {draw_uniform, exceeds_uniform},
               {draw_lognormal, exceeds_lognormal}};
  for (const auto& [draw, exceeds] : cases) {
    for (const int n : {400, 2000}) {
      const Rate rate = simulated_rate(n, 0.01, draw, exceeds, 800);
      EXPECT_LE(rate.mean, 0.01 + 4 * rate.standard_error) << n;
    }
    EXPECT_GE(simulated_rate(20000, 0.01, draw, exceeds, 20).mean, 0.008);
  }
}

TEST(Threshold, NeverBelowTheOrderStatisticThatTheRateImplies) {
  std::mt19937 random(6);
  for (int round = 0; round < 300; ++round) {
    const int n = 1 + static_cast<int>(random() % 300);
    const double rate = 0.005 + 0.495 * draw_uniform(random);
    std::vector<float> scores;
    for (int i = 0; i < n; ++i) {
      // Coarse values, so that ties sit on the threshold.
      scores.push_back(static_cast<float>(std::round(10 * draw_normal(random)) / 10));
    }
    const double threshold = calibrate(scores, {.false_alarm_rate = rate}).threshold;
    const auto alarms = std::count_if(scores.begin(), scores.end(),
                                      [&](float s) { return static_cast<double>(s) >= threshold; });
    EXPECT_LE(static_cast<double>(alarms), (n + 1) * rate) << n << " " << rate;
  }
}

TEST(Threshold, RisesAsTheRateFalls) {
  std::mt19937 random(8);
  for (const int n : {1, 2, 7, 40, 500}) {
    std::vector<float> scores;
    for (int i = 0; i < n; ++i) scores.push_back(static_cast<float>(draw_normal(random)));
    double previous = -1e30;
    for (double rate = 0.5; rate > 1e-4; rate *= 0.93) {
      const double threshold = calibrate(scores, {.false_alarm_rate = rate}).threshold;
      EXPECT_GE(threshold, previous) << n << " " << rate;
      previous = threshold;
    }
  }
}

TEST(Threshold, MovesAndStretchesWithTheScores) {
  const std::vector<float> scores = {1.0f, 1.5f, 1.25f, 2.0f, 1.75f, 1.125f, 1.0f};
  std::vector<float> stretched;
  for (const float score : scores) stretched.push_back(1024.0f * score);
  const Calibration small = calibrate(scores);
  const Calibration large = calibrate(stretched);
  EXPECT_NEAR(large.threshold, 1024 * small.threshold, 1e-9);
  EXPECT_NEAR(large.scale, 1024 * small.scale, 1e-9);
  EXPECT_NEAR(large.normalize(3072.0), small.normalize(3.0), 1e-12);
}

TEST(Threshold, FewAndEqualScoresLeaveAMargin) {
  EXPECT_DOUBLE_EQ(calibrate(std::vector<float>{0.25f}).threshold, 0.5);
  EXPECT_DOUBLE_EQ(calibrate(std::vector<float>{-3.0f}).threshold, 0.0);
  for (const int n : {1, 2, 5, 40, 1000}) {
    for (const float value : {0.0f, 0.125f, -2.0f, 1e20f}) {
      const Calibration calibration = calibrate(std::vector<float>(n, value));
      EXPECT_GT(calibration.threshold, static_cast<double>(value)) << n << " " << value;
      EXPECT_GT(calibration.scale, 0) << n << " " << value;
      EXPECT_FALSE(calibration.is_defective(static_cast<double>(value)));
      EXPECT_EQ(calibration.good_count, n);
    }
  }
}

TEST(Threshold, RefusesWhatIsWrong) {
  const std::vector<float> one = {0.5f};
  EXPECT_THROW(calibrate({}), std::invalid_argument);
  EXPECT_THROW(calibrate(one, {.false_alarm_rate = 0.0}), std::invalid_argument);
  EXPECT_THROW(calibrate(one, {.false_alarm_rate = 0.6}), std::invalid_argument);
  EXPECT_THROW(calibrate(one, {.false_alarm_rate = std::nan("")}), std::invalid_argument);
  EXPECT_THROW(calibrate(std::vector<float>{std::nanf("")}), std::invalid_argument);
  EXPECT_THROW(calibrate(std::vector<float>{std::numeric_limits<float>::infinity()}), std::invalid_argument);
}

TEST(Normalize, HalfAtTheThresholdAndATenthAtTheMedian) {
  const std::vector<float> scores = {0.1f, 0.2f, 0.3f, 0.2f, 0.15f, 0.22f, 0.25f};
  const Calibration calibration = calibrate(scores);
  EXPECT_DOUBLE_EQ(calibration.normalize(calibration.threshold), 0.5);
  EXPECT_NEAR(calibration.normalize(static_cast<double>(0.2f)), 0.1, 1e-12);
  EXPECT_NEAR(calibration.normalize(2 * calibration.threshold - static_cast<double>(0.2f)), 0.9, 1e-12);
}

TEST(Normalize, RisesStrictlyWithoutJumps) {
  const Calibration calibration{0.7, 0.05, 0.01, 20};
  double previous = -1;
  for (int step = -20000; step <= 20000; ++step) {
    const double raw = 0.7 + 0.01 * step;
    const double normalized = calibration.normalize(raw);
    ASSERT_GT(normalized, previous) << raw;
    if (step > -20000) {
      ASSERT_LT(normalized - previous, 0.5 * 0.01 / 0.05 + 1e-12);
    }  // steepest at the threshold
    ASSERT_EQ(normalized >= 0.5, calibration.is_defective(raw)) << raw;
    previous = normalized;
  }
}

TEST(Normalize, StaysInRangeAtTheEnds) {
  const Calibration calibration{0.7, 1e-9, 0.01, 20};
  const double infinity = std::numeric_limits<double>::infinity();
  EXPECT_EQ(calibration.normalize(infinity), 1.0);
  EXPECT_EQ(calibration.normalize(-infinity), 0.0);
  EXPECT_LE(calibration.normalize(1e308), 1.0);
  EXPECT_GE(calibration.normalize(-1e308), 0.0);
  EXPECT_TRUE(std::isnan(calibration.normalize(std::nan(""))));
  EXPECT_THROW((Calibration{0.5, 0.0, 0.01, 1}.normalize(0.1)), std::logic_error);
}

TEST(Calibration, SaysWhenItIsExtrapolated) {
  EXPECT_TRUE((Calibration{1, 1, 0.01, 98}.is_extrapolated()));
  EXPECT_FALSE((Calibration{1, 1, 0.01, 99}.is_extrapolated()));
  EXPECT_NE((Calibration{1, 1, 0.01, 98}.describe().find("fewer than 99 ")), std::string::npos);
  EXPECT_EQ((Calibration{1, 1, 0.01, 99}.describe().find("extrapolated")), std::string::npos);
}

}  // namespace
}  // namespace ddpmts::eval
