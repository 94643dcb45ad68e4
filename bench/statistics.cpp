#include "bench/statistics.h"

#include <algorithm>
#include <stdexcept>

namespace ddpmts::bench {

double percentile(std::vector<double> samples, double share) {
  if (samples.empty()) throw std::invalid_argument("no samples to take a percentile of");
  std::ranges::sort(samples);
  const double at = std::clamp(share, 0.0, 1.0) * static_cast<double>(samples.size() - 1);
  const auto below = static_cast<std::size_t>(at);
  const std::size_t above = std::min(below + 1, samples.size() - 1);
  return samples[below] + (at - static_cast<double>(below)) * (samples[above] - samples[below]);
}

Summary summarize(const std::vector<double>& samples) {
  return {samples.size(), percentile(samples, 0.5), percentile(samples, 0.05), percentile(samples, 0.95)};
}

}  // namespace ddpmts::bench
