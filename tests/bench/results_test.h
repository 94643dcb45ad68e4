// Rows and runs made up for the tests.
#pragma once

#include "bench/results.h"

namespace ddpmts::bench {

inline Row timed_row(const std::string& name, double median, double spread = 0.01) {
  Row row;
  row.name = name;
  row.group = "kernels";
  row.device = "cpu";
  row.check = "y: off by 0";
  row.hot = {10, median, median * (1.0 - spread), median * (1.0 + spread)};
  return row;
}

inline Results run_of(std::vector<Row> rows) {
  Results results;
  results.program = "ddpmts_bench 0";
  results.rows = std::move(rows);
  return results;
}

}  // namespace ddpmts::bench
