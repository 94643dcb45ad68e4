#include "tests/bench/results_test.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "engine/error.h"

namespace ddpmts::bench {
namespace {

Results full_run() {
  Row row = timed_row("kernels/add/odd/1x1x6/f32/b8/cpu", 1.25e-5);
  row.axes = {{"batch", "8"}, {"precision", "f32"}};
  row.cold = Summary{3, 2e-5, 1.9e-5, 2.5e-5};
  row.gpu = Summary{5, 1.2e-5, 1.1e-5, 1.3e-5};
  row.onednn = Summary{4, 1e-5, 0.9e-5, 1.2e-5};
  row.networks = {{"student/256", 3}, {"teacher/256", 1}};
  row.pictures = 8;
  row.bytes = 12345;
  row.flops = 678;
  row.roof = "copy";
  row.roof_share = 0.875;
  row.peak_bytes = 1e6;
  row.parts = {{"conv_forward", 3.0, 1e-5}, {"host", 0.0, 2.5e-6}};
  row.command = "ddpmts_bench --filter '^x, \"y\"$'";
  Row failed = timed_row("kernels/cast", 0.0);
  failed.hot = {};
  failed.status = Status::fail;
  failed.check = "y: off by 1\nof 0.1";
  Row skipped = failed;
  skipped.name = "networks/large";
  skipped.status = Status::skip;
  Results results = run_of({row, failed, skipped});
  results.machine = {{"processor", "one"}, {"compiler", "two"}};
  results.roofs = {{"cpu copy 8.00 MiB", 1e10}};
  results.warnings = {"busy"};
  return results;
}

void expect_unreadable(const std::string& text, const std::string& part) {
  try {
    from_json(text, "run.json");
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("run.json"), std::string::npos) << e.what();
    EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << e.what();
    return;
  }
  ADD_FAILURE() << "was read: " << text.substr(0, 60);
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(Results, ComeBackFromJsonAsTheyWere) {
  const Results results = full_run();
  EXPECT_EQ(from_json(to_json(results), "run.json"), results);
}

TEST(Results, WhatIsOptionalMayBeAbsent) {
  const std::string text = to_json(full_run());
  EXPECT_NE(text.find("\"of_onednn\": 0.8"), std::string::npos) << text;
  const Row bare = from_json(to_json(run_of({timed_row("x", 1.0)})), "run.json").rows[0];
  EXPECT_FALSE(bare.onednn.has_value());
  EXPECT_TRUE(bare.networks.empty());
  EXPECT_EQ(to_json(run_of({bare})).find("onednn"), std::string::npos);
  expect_unreadable(replaced(text, "\"student/256\": 3", "\"student/256\": \"three\""), "number");
}

TEST(Results, RatesAreByTheGpusClockWhereThereIsOne) {
  Row row = timed_row("kernels/x", 2.0);
  row.bytes = 8.0;
  row.flops = 16.0;
  row.pictures = 4.0;
  EXPECT_DOUBLE_EQ(row.bytes_per_second(), 4.0);
  row.gpu = Summary{3, 1.0, 1.0, 1.0};
  EXPECT_DOUBLE_EQ(row.bytes_per_second(), 8.0);
  EXPECT_DOUBLE_EQ(row.flops_per_second(), 16.0);
  EXPECT_DOUBLE_EQ(row.pictures_per_second(), 2.0) << "by the host's";
}

TEST(Results, EveryCutOffFileIsRefused) {
  const std::string text = to_json(full_run());
  for (std::size_t length = 0; length + 2 < text.size(); length += 7) {
    expect_unreadable(text.substr(0, length), "not a whole JSON file");
  }
}

TEST(Results, OtherSchemasAndVersionsAreRefused) {
  const std::string text = to_json(full_run());
  expect_unreadable("[]", "not of ddpmts_bench");
  expect_unreadable("{\"schema\": 3, \"version\": 1}", "not of ddpmts_bench");
  expect_unreadable("{\"context\": {}, \"benchmarks\": []}", "not of ddpmts_bench");
  expect_unreadable(replaced(text, "\"version\": 1", "\"version\": 2"), "version 2");
}

TEST(Results, WhatIsMissingIsNamed) {
  const std::string text = to_json(full_run());
  expect_unreadable(replaced(text, "\"median_s\"", "\"mean_s\""), "median_s");
  expect_unreadable(replaced(text, "\"samples\": 10", "\"samples\": \"ten\""), "number");
  expect_unreadable(replaced(text, "\"FAIL\"", "\"BAD\""), "BAD");
}

TEST(Results, CsvHasALineForEveryRow) {
  const std::string csv = to_csv(full_run());
  EXPECT_NE(csv.find("\"ddpmts_bench --filter '^x, \"\"y\"\"$'\""), std::string::npos) << csv;
  EXPECT_EQ(csv.rfind("name,status,samples,median_s", 0), 0u);
  EXPECT_NE(csv.find("\nnetworks/large,SKIP,0,"), std::string::npos);
  const auto fields = [&](const std::string& name) {
    const std::string line = csv.substr(csv.find(name), csv.find('\n', csv.find(name)) - csv.find(name));
    return std::ranges::count(line.substr(0, line.find('"')), ',');
  };
  EXPECT_EQ(fields("name,"), 20);
  EXPECT_EQ(fields("kernels/cast"), 19) << "up to the quoted check: " << csv;
  EXPECT_NE(csv.find(",1.2e-05,2e-05,1e-05,0.8,"), std::string::npos) << "GPU, cold, oneDNN, share: " << csv;
}

}  // namespace
}  // namespace ddpmts::bench
