// How a run is shown: numbers with three digits and a unit, and a Markdown table that grows row by row.
#pragma once

#include <string>

#include "bench/results.h"

namespace ddpmts::bench {

/// 0.00123 → "1.23 ms"; empty for 0, which stands for "not measured" everywhere here.
std::string time_text(double seconds);
/// 1.2e9, "FLOP/s" → "1.2 GFLOP/s"; empty for 0.
std::string amount_text(double amount, const std::string& unit);
/// 0.034 → "3.4 %"
std::string share_text(double share);
/// 123456789 → "118 MiB"
std::string bytes_text(double bytes);

/// Program, machine, roofs and warnings, one a line.
std::string header_text(const Results& results);

/// A table of the row's parts; empty where they were not asked for.
std::string split_text(const Row& row);

class MarkdownTable {
 public:
  /// against_onednn: with a column for it.
  MarkdownTable(std::size_t name_width, bool against_onednn)
      : name_width_(name_width), against_onednn_(against_onednn) {}
  std::string heading() const;
  std::string line(const Row& row) const;

 private:
  std::size_t name_width_;
  bool against_onednn_;
};

}  // namespace ddpmts::bench
