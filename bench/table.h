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

/// The table's columns that only some runs have.
struct OptionalColumns {
  bool gpu = false;     ///< a GPU's own time beside the host's
  bool onednn = false;  ///< share of oneDNN alone
};

class MarkdownTable {
 public:
  MarkdownTable(std::size_t name_width, OptionalColumns optional)
      : name_width_(name_width), optional_(optional) {}
  std::string heading() const;
  std::string line(const Row& row) const;

 private:
  std::size_t name_width_;
  OptionalColumns optional_;
};

}  // namespace ddpmts::bench
