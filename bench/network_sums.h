// A network's convolutions together: the times of their shapes, each as often as the network runs it.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "bench/results.h"

namespace ddpmts::bench {

/// Seconds, ours and oneDNN's alone.
struct PassTimes {
  double ours = 0.0, onednn = 0.0;
};

/// One network at one precision and batch, over the rows that were timed against oneDNN.
struct NetworkSum {
  std::string network;  ///< "student/256"
  std::string precision, batch;
  std::int64_t convolutions = 0;            ///< that one forward pass runs, among those that were timed
  std::map<std::string, PassTimes> passes;  ///< "forward", "data_gradient", "weight_gradient"

  PassTimes all() const;
};

/// In the order in which the networks first come up. Of repeated rows the first counts.
std::vector<NetworkSum> network_sums(const std::vector<Row>& rows);

/// A Markdown table; empty where no row was timed against oneDNN or none belongs to a network.
std::string network_sums_text(const std::vector<NetworkSum>& sums);

}  // namespace ddpmts::bench
