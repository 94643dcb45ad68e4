#include "eval/threshold.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <stdexcept>
#include <vector>

namespace ddpmts::eval {
namespace {

void check(std::span<const float> good_scores, const ThresholdOptions& options) {
  const double rate = options.false_alarm_rate;
  if (!(rate > 0 && rate <= 0.5)) {
    throw std::invalid_argument(
        fmt::format("threshold: the false-alarm rate is {}, it must lie in (0, 0.5]; 0.01 is one alarm in a "
                    "hundred good parts",
                    rate));
  }
  if (good_scores.empty()) {
    throw std::invalid_argument(
        "threshold: no held-out good picture to set it from; hold out at least one, ten or "
        "more are better");
  }
  for (std::size_t i = 0; i < good_scores.size(); ++i) {
    if (!std::isfinite(good_scores[i])) {
      throw std::invalid_argument(
          fmt::format("threshold: held-out score {} of {} is {}; the model's output is broken", i,
                      good_scores.size(), good_scores[i]));
    }
  }
}

/// The exponential tail's estimate (2. in the header) or -infinity where the rate lies inside the data.
double tail_threshold(const std::vector<double>& highest_first, double rate, double least_spread) {
  const std::size_t n = highest_first.size();
  if (n == 1) return highest_first[0] + std::max(std::abs(highest_first[0]), least_spread);
  const auto root = static_cast<std::size_t>(std::ceil(std::sqrt(static_cast<double>(n))));
  const std::size_t count = std::min(n - 1, std::max<std::size_t>(5, root));
  const double k = static_cast<double>(count);
  const double ratio = (k + 1) / (static_cast<double>(n + 1) * rate);
  if (ratio <= 1) return -std::numeric_limits<double>::infinity();
  const double start = highest_first[count];
  double excess = 0;
  for (std::size_t i = 0; i < count; ++i) excess += highest_first[i] - start;
  const double mean_excess = std::max(excess / k, least_spread);
  return start + k * mean_excess * std::expm1(std::log(ratio) / k);
}

double median_of_sorted(const std::vector<double>& values) {
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : 0.5 * (values[middle - 1] + values[middle]);
}

}  // namespace

Calibration calibrate(std::span<const float> good_scores, const ThresholdOptions& options) {
  check(good_scores, options);
  std::vector<double> scores(good_scores.begin(), good_scores.end());
  std::sort(scores.begin(), scores.end(), std::greater<>());
  const double largest_magnitude = std::max(std::abs(scores.front()), std::abs(scores.back()));
  const double least_spread = largest_magnitude > 0 ? 1e-3 * largest_magnitude : 1e-6;

  double threshold = tail_threshold(scores, options.false_alarm_rate, least_spread);
  const auto rank =
      static_cast<std::size_t>(std::floor(static_cast<double>(scores.size() + 1) * options.false_alarm_rate));
  if (rank >= 1) {
    // The next float up: scores are floats, so ">= threshold" now means "above the order statistic".
    const auto order_statistic = static_cast<float>(scores[rank - 1]);
    threshold = std::max(threshold, static_cast<double>(std::nextafter(
                                        order_statistic, std::numeric_limits<float>::infinity())));
  }
  if (!std::isfinite(threshold)) {
    throw std::invalid_argument(fmt::format(
        "threshold: held-out scores reach {}, too large to set a threshold above", scores.front()));
  }
  Calibration result;
  result.threshold = threshold;
  // z = -4 normalizes to 0.1: that is where the median good picture goes.
  result.scale = std::max(0.25 * (threshold - median_of_sorted(scores)), least_spread);
  result.false_alarm_rate = options.false_alarm_rate;
  result.good_count = static_cast<int>(scores.size());
  return result;
}

double Calibration::normalize(double raw) const {
  if (!(scale > 0 && std::isfinite(scale))) {
    throw std::logic_error(fmt::format("calibration: the scale is {}, it must be a positive number", scale));
  }
  const double z = (raw - threshold) / scale;
  if (std::isinf(z)) return z > 0 ? 1.0 : 0.0;
  // z < 0 through 1 / (1 - z), which keeps its digits near 0.
  return z < 0 ? 0.5 / (1.0 - z) : 1.0 - 0.5 / (1.0 + z);
}

bool Calibration::is_extrapolated() const {
  return (static_cast<double>(good_count) + 1) * false_alarm_rate < 1;
}

std::string Calibration::describe() const {
  if (good_count == 0) return fmt::format("Threshold {:.4g}, set by hand.", threshold);
  std::string text =
      fmt::format("Threshold {:.4g}, set from {} held-out good picture{} for a false-alarm rate of {:.3g} %",
                  threshold, good_count, good_count == 1 ? "" : "s", 100 * false_alarm_rate);
  if (is_extrapolated()) {
    text += fmt::format(" (extrapolated: fewer than {:.0f} pictures cannot show so low a rate directly)",
                        std::ceil(1 / false_alarm_rate - 1e-9) - 1);
  }
  return text + ".";
}

}  // namespace ddpmts::eval
