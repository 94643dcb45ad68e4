// What a list of times says: its middle, and how far it scatters.
#pragma once

#include <cstddef>
#include <vector>

namespace ddpmts::bench {

/// Seconds. The middle nine tenths of the samples lie between low and high.
struct Summary {
  std::size_t count = 0;
  double median = 0.0;
  double low = 0.0;   ///< 5th percentile
  double high = 0.0;  ///< 95th percentile

  /// Half the width of [low, high] as a share of the median; 0 where there is no time.
  double spread() const { return median > 0.0 ? (high - low) / (2.0 * median) : 0.0; }
  bool operator==(const Summary&) const = default;
};

/// The value below which `share` of the samples lie, interpolated between neighbours. samples: not empty, any order;
/// share in [0, 1].
double percentile(std::vector<double> samples, double share);

/// Throws std::invalid_argument without samples.
Summary summarize(const std::vector<double>& samples);

}  // namespace ddpmts::bench
