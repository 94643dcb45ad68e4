#include "eval/metrics.h"

#include <fmt/format.h>

#include <limits>
#include <stdexcept>

#include "eval/ranking.h"

namespace ddpmts::eval {
namespace {

constexpr auto same = [](std::uint32_t key) { return key; };

/// Calls visit(key, true_positives, false_positives) for each distinct score, from the highest down.
template <class Visit>
void for_each_threshold(const RankedScores& ranked, Visit visit) {
  walk_thresholds(ranked.defective(), ranked.good(), same, same,
                  [&](std::uint32_t key, std::size_t true_positives, std::size_t false_positives) {
                    visit(key, true_positives, false_positives);
                    return true;
                  });
}

/// The ROC curve's point where everything with at least this key is called defective.
RocPoint point_of(const RankedScores& ranked, std::uint32_t key, std::size_t true_positives,
                  std::size_t false_positives) {
  return {static_cast<double>(false_positives) / static_cast<double>(ranked.good().size()),
          static_cast<double>(true_positives) / static_cast<double>(ranked.defective().size()),
          score_of_key(key)};
}

}  // namespace

RankedScores::RankedScores(std::span<const float> scores, std::span<const std::uint8_t> labels) {
  if (scores.size() != labels.size()) {
    throw std::invalid_argument(fmt::format("metrics: {} scores but {} labels; give one label a score",
                                            scores.size(), labels.size()));
  }
  for (std::size_t i = 0; i < scores.size(); ++i) {
    if (std::isnan(scores[i])) {
      throw std::invalid_argument(
          fmt::format("metrics: score {} of {} is NaN; the model's output is broken, "
                      "a metric over it would mean nothing",
                      i, scores.size()));
    }
    (labels[i] != 0 ? defective_ : good_).push_back(descending_key(scores[i]));
  }
  sort();
}

RankedScores::RankedScores(std::span<const PictureMap> pictures) {
  std::size_t pixels = 0;
  for (const PictureMap& picture : pictures) {
    check_sizes(picture);
    pixels += picture.map.size();
  }
  good_.reserve(pixels);
  for (const PictureMap& picture : pictures) {
    for (std::size_t i = 0; i < picture.map.size(); ++i) {
      if (std::isnan(picture.map[i])) {
        throw std::invalid_argument(fmt::format(
            "metrics: the anomaly map of picture '{}' is NaN at pixel {}; the model's output is broken",
            picture.name, i));
      }
      const bool is_defect = !picture.mask.empty() && picture.mask[i] != 0;
      (is_defect ? defective_ : good_).push_back(descending_key(picture.map[i]));
    }
  }
  sort();
}

void RankedScores::sort() {
  sort_by_key(defective_, same);
  sort_by_key(good_, same);
}

std::optional<double> auroc(const RankedScores& ranked) {
  if (!ranked.has_both_classes()) return std::nullopt;
  std::uint64_t doubled_wins = 0;  // 2 per pair in the right order, 1 per tie
  std::uint64_t previous_true = 0;
  std::uint64_t previous_false = 0;
  for_each_threshold(ranked, [&](std::uint32_t, std::uint64_t true_positives, std::uint64_t false_positives) {
    doubled_wins += (false_positives - previous_false) * (previous_true + true_positives);
    previous_true = true_positives;
    previous_false = false_positives;
  });
  return static_cast<double>(doubled_wins) /
         (2.0 * static_cast<double>(ranked.defective().size()) * static_cast<double>(ranked.good().size()));
}

std::optional<double> average_precision(const RankedScores& ranked) {
  if (!ranked.has_both_classes()) return std::nullopt;
  double sum = 0;
  std::size_t previous_true = 0;
  for_each_threshold(ranked, [&](std::uint32_t, std::size_t true_positives, std::size_t false_positives) {
    if (true_positives == previous_true) return;
    const double precision =
        static_cast<double>(true_positives) / static_cast<double>(true_positives + false_positives);
    sum += static_cast<double>(true_positives - previous_true) * precision;
    previous_true = true_positives;
  });
  return sum / static_cast<double>(ranked.defective().size());
}

std::optional<F1Max> f1_max(const RankedScores& ranked) {
  if (!ranked.has_both_classes()) return std::nullopt;
  const std::size_t positives = ranked.defective().size();
  F1Max best;
  for_each_threshold(ranked, [&](std::uint32_t key, std::size_t true_positives, std::size_t false_positives) {
    // 2 TP + FP + FN = (TP + FP) + (TP + FN) = predicted + positives
    const double f1 = 2.0 * static_cast<double>(true_positives) /
                      static_cast<double>(true_positives + false_positives + positives);
    if (f1 > best.value) best = {f1, score_of_key(key)};
  });
  return best;
}

std::vector<RocPoint> roc_curve(const RankedScores& ranked, int max_points) {
  if (max_points < 2) {
    throw std::invalid_argument(
        fmt::format("roc_curve: max_points is {}, but a curve has at least its two ends", max_points));
  }
  if (!ranked.has_both_classes()) return {};
  std::vector<RocPoint> points = {{0, 0, std::numeric_limits<float>::infinity()}};
  // The curve climbs from 0 to 2 in rate + rate. Of every step of that length the first point is kept; the
  // last point, at 2, starts a step of its own and so is always kept.
  const double step = 2.0 / (max_points - 1);
  double next = step;
  for_each_threshold(ranked, [&](std::uint32_t key, std::size_t true_positives, std::size_t false_positives) {
    const RocPoint point = point_of(ranked, key, true_positives, false_positives);
    const double length = point.false_positive_rate + point.true_positive_rate;
    const bool is_last =
        false_positives == ranked.good().size() && true_positives == ranked.defective().size();
    if (!is_last && length < next) return;
    if (is_last && points.size() == static_cast<std::size_t>(max_points)) points.pop_back();
    points.push_back(point);
    while (next <= length) next += step;
  });
  return points;
}

std::optional<RocPoint> roc_point(const RankedScores& ranked, double max_false_positive_rate) {
  if (!ranked.has_both_classes()) return std::nullopt;
  RocPoint best = {0, 0, std::numeric_limits<float>::infinity()};
  for_each_threshold(ranked, [&](std::uint32_t key, std::size_t true_positives, std::size_t false_positives) {
    const RocPoint point = point_of(ranked, key, true_positives, false_positives);
    const bool is_allowed = point.false_positive_rate <= max_false_positive_rate;
    if (is_allowed && point.true_positive_rate > best.true_positive_rate) best = point;
  });
  return best;
}

std::optional<double> auroc(std::span<const float> scores, std::span<const std::uint8_t> labels) {
  return auroc(RankedScores(scores, labels));
}
std::optional<double> average_precision(std::span<const float> scores, std::span<const std::uint8_t> labels) {
  return average_precision(RankedScores(scores, labels));
}
std::optional<F1Max> f1_max(std::span<const float> scores, std::span<const std::uint8_t> labels) {
  return f1_max(RankedScores(scores, labels));
}

}  // namespace ddpmts::eval
