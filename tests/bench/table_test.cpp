#include "bench/table.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/bench/results_test.h"

namespace ddpmts::bench {
namespace {

Row full_row() {
  Row row = timed_row("kernels/x", 2e-3, 0.034);
  row.gpu = Summary{3, 1e-3, 1e-3, 1e-3};
  row.cold = Summary{3, 4e-3, 4e-3, 4e-3};
  row.onednn = Summary{3, 1e-3, 1e-3, 1e-3};
  row.bytes = 5e6;
  row.roof = "copy";
  row.roof_share = 0.5;
  return row;
}

TEST(Table, EveryLineHasTheHeadingsColumns) {
  for (const bool gpu : {false, true}) {
    for (const bool onednn : {false, true}) {
      const MarkdownTable table(9, {.gpu = gpu, .onednn = onednn});
      const std::string heading = table.heading(), line = table.line(full_row());
      const auto bars = std::ranges::count(line, '|');
      EXPECT_EQ(std::ranges::count(heading, '|'), 2 * bars) << heading << line;
      EXPECT_EQ(bars, 11 + (gpu ? 1 : 0) + (onednn ? 1 : 0));
      EXPECT_EQ(heading.find("GPU") != std::string::npos, gpu);
      EXPECT_EQ(line.find("1.00 ms") != std::string::npos, gpu) << line;
      EXPECT_EQ(heading.find("of oneDNN") != std::string::npos, onednn);
      EXPECT_EQ(line.find("50.0 %") != std::string::npos, onednn) << line;
      EXPECT_NE(line.find("2.00 ms |  ±3.4 %"), std::string::npos) << line;
    }
  }
}

TEST(Table, WhatWasNotTimedSaysWhy) {
  Row row = full_row();
  row.status = Status::skip;
  row.check = "needs about 3.00 GiB, 2.00 GiB are free";
  EXPECT_EQ(MarkdownTable(9, {}).line(row),
            "| kernels/x |  SKIP | needs about 3.00 GiB, 2.00 GiB are free\n");
}

}  // namespace
}  // namespace ddpmts::bench
