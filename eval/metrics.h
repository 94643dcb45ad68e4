// Ranking metrics of a two-class decision: exact, by sorting every score, with ties treated as ties.
//
// A score at or above a threshold is called defective, here and everywhere in eval/. Labels: 0 = good,
// anything else = defective. Where only one class is present none of these metrics means anything, and the
// result is empty. 10.5 million pixels (160 pictures of 256 x 256) rank in about 0.4 s on one
// core; each metric is then one pass of 0.1 s.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "eval/picture_map.h"

namespace ddpmts::eval {

/// Scores in order, sorted once for all metrics.
class RankedScores {
 public:
  /// scores and labels: the same length. Throws std::invalid_argument when they differ or a score is NaN.
  RankedScores(std::span<const float> scores, std::span<const std::uint8_t> labels);

  /// All pixels of all pictures together. Throws std::invalid_argument, naming the picture, as above.
  explicit RankedScores(std::span<const PictureMap> pictures);

  /// Sort keys (see ranking.h) of the defective and of the good, highest score first.
  std::span<const std::uint32_t> defective() const { return defective_; }
  std::span<const std::uint32_t> good() const { return good_; }
  bool has_both_classes() const { return !defective_.empty() && !good_.empty(); }

 private:
  void sort();

  std::vector<std::uint32_t> defective_;
  std::vector<std::uint32_t> good_;
};

/// Area under the ROC curve in [0,1]: the chance that a defective one scores above a good one, a tie counting
/// half (Mann-Whitney U / (P N); Hanley & McNeil 1982). Counted in integers, so exact up to the last
/// division.
std::optional<double> auroc(const RankedScores& ranked);
std::optional<double> auroc(std::span<const float> scores, std::span<const std::uint8_t> labels);

/// Average precision in (0,1]: sum over distinct thresholds, from the highest down, of (R_n - R_{n-1}) P_n
/// with recall R and precision P; no interpolation. The definition of scikit-learn's average_precision_score.
std::optional<double> average_precision(const RankedScores& ranked);
std::optional<double> average_precision(std::span<const float> scores, std::span<const std::uint8_t> labels);

/// The largest F1 = 2 TP / (2 TP + FP + FN) over all thresholds, in (0,1], and the score that reaches it; of
/// several the highest, that is, the one with the fewest alarms.
struct F1Max {
  double value = 0;
  float threshold = 0;
};
std::optional<F1Max> f1_max(const RankedScores& ranked);
std::optional<F1Max> f1_max(std::span<const float> scores, std::span<const std::uint8_t> labels);

/// One point of the ROC curve: rates in [0,1] when scores >= threshold are called defective.
struct RocPoint {
  double false_positive_rate = 0;
  double true_positive_rate = 0;
  float threshold = 0;
};

/// The ROC curve from (0,0) (threshold +infinity) to (1,1) for drawing: true points of the curve, at most
/// max_points of them, spread evenly along its length. max_points >= 2, else std::invalid_argument. Empty
/// with one class only.
std::vector<RocPoint> roc_curve(const RankedScores& ranked, int max_points = 200);

/// The point of the ROC curve with the highest true-positive rate whose false-positive rate is at most the one given; (0,0) with
/// threshold +infinity when there is no other. Empty with one class only.
std::optional<RocPoint> roc_point(const RankedScores& ranked, double max_false_positive_rate);

}  // namespace ddpmts::eval
