// Where to draw the line between good and defective when only good pictures are known.
#pragma once

#include <span>
#include <string>

namespace ddpmts::eval {

/// What turns a raw score into a verdict. A score >= threshold is defective.
struct Calibration {
  double threshold = 0;         ///< in units of the raw score
  double scale = 1;             ///< > 0, units of the raw score: the spread of the normalised score
  double false_alarm_rate = 0;  ///< what the threshold was set for: alarms per good picture, in (0, 0.5]
  int good_count = 0;           ///< how many held-out good pictures it was set from; 0 = set by hand

  /// Raw score -> [0,1] with 0.5 = threshold:
  ///   normalized = 0.5 + 0.5 z / (1 + |z|),  z = (raw - threshold) / scale.
  /// Continuous, strictly rising, and invertible far out, because it nears 0 and 1 slowly (a logistic curve
  /// reaches 1.0 in double precision at z = 37). calibrate() sets the scale so that the median held-out good
  /// picture reads 0.1; as far above the threshold as that is below reads 0.9. It is no probability.
  /// -infinity gives 0, +infinity 1, NaN stays NaN. Throws std::logic_error when scale is not positive and
  /// finite.
  double normalize(double raw) const;

  /// The verdict on a raw score: raw >= threshold.
  bool is_defective(double raw) const { return raw >= threshold; }

  /// True when good_count is too small for the rate to be read off the held-out scores, so that the threshold
  /// rests on the fitted tail: (good_count + 1) * false_alarm_rate < 1, e.g. fewer than 99 good pictures for
  /// 1 %.
  bool is_extrapolated() const;

  /// One plain sentence for logs and reports.
  std::string describe() const;
};

struct ThresholdOptions {
  double false_alarm_rate = 0.01;  ///< in (0, 0.5]
};

/// Sets threshold and scale from the scores of held-out good pictures (never of pictures trained on: their
/// scores are too low). good_scores: any order, at least 1, finite. The larger of two estimates is taken, for
/// n scores and the rate a:
///
/// 1. Order statistic, once (n + 1) a >= 1: just above the r-th highest score, r = floor((n + 1) a). A new
///    good score exceeds it with probability at most r / (n + 1) <= a, whatever the distribution
///    (split-conformal prediction; Vovk, Gammerman & Shafer 2005, "Algorithmic Learning in a Random World").
/// 2. Exponential tail above u, the (k + 1)-th highest score, with k = min(n - 1, max(5, ceil(sqrt n))) and m
///    the mean excess of the k scores above u:
///      threshold = u + k m (((k + 1) / ((n + 1) a))^(1/k) - 1),   used while (k + 1) > (n + 1) a.
///    Reason: a new score exceeds u with probability (k + 1) / (n + 1); excesses over a high threshold are
///    close to exponential for the usual thin-tailed distributions (Pickands 1975, Annals of Statistics 3;
///    the exponential-tail estimator: Breiman, Stone & Kooperberg 1990, J. Statist. Comput. Simul. 37); and a
///    new exponential excess Y over the mean m of k others is F(2, 2k) distributed, P(Y > y) = (1 + y / (k
///    m))^-k (Lawless 1971, Technometrics 13). So on an exponential tail the rate, averaged over held-out
///    sets, is a exactly for every n >= 2. Simulated for a = 1 %: normal scores 0.2 % at n = 10 and 0.7 % at
///    n = 60, lognormal scores (a heavy tail) 2.1 % and 1.3 %. With n below 5 the threshold lies far out:
///    that is the price of a promise made from so little.
///
/// n = 1 has no spread to measure: the threshold is the score plus its own magnitude (twice a positive
/// score).
/// Spreads below 0.1 % of the largest magnitude (1e-6 where all scores are 0) count as that much, so that
/// equal good scores do not put the line on top of themselves.
/// Throws std::invalid_argument for no scores, a score that is not finite, or a rate outside (0, 0.5].
Calibration calibrate(std::span<const float> good_scores, const ThresholdOptions& options = {});

}  // namespace ddpmts::eval
