// The program as a user calls it: exit codes and what it says.
#include "tests/app/program.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "bench/results.h"
#include "tests/bench/results_test.h"

namespace ddpmts::test {
namespace {

Finished run_bench(const std::string& arguments) { return run_command(DDPMTS_BENCH_PROGRAM, arguments); }

void expect_refused(const std::string& arguments, const std::string& part) {
  const Finished finished = run_bench(arguments);
  EXPECT_EQ(finished.code, 2) << arguments << "\n" << finished.output;
  EXPECT_NE(finished.output.find(part), std::string::npos) << finished.output;
  EXPECT_EQ(std::ranges::count(finished.output, '\n'), 1) << "one line: " << finished.output;
}

void write(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

// Two small cases without tracing a network.
const std::string kSmall =
    "--set shapes=odd --set batch=2 --seconds 0.001 --precision f32 --filter 'add/odd/(1x1x6|5x3x33)/'";

TEST(BenchProgram, WrongCallsExitWithTwoAndOneLine) {
  TemporaryFolder folder;
  expect_refused("--set shapes=odd --filter nothing_is_called_so", "--list");
  expect_refused("--set shapes=odd --filter '('", "regular expression");
  expect_refused("--filtr x", "did you mean --filter?");
  expect_refused("--set shapes=odd --json /no/such/folder/x.json", "/no/such/folder");
  expect_refused("--set shapes=odd --filter softmax --against onednn", "convolution on the CPU");
  expect_refused("compare", "two files");
  expect_refused("compare " + (folder / "a.json") + " " + (folder / "b.json"), "a.json");
}

TEST(BenchProgram, ADeviceThatIsNotThereExitsWithTwo) {
  const Finished finished = run_bench("--list --set shapes=odd --device all");
  EXPECT_EQ(finished.code, 0) << finished.output;
  if (finished.output.find("/cuda:0\n") != std::string::npos) return;
  EXPECT_EQ(finished.output.rfind("the CPU alone: ", 0), 0u) << finished.output;
  expect_refused("--device cuda --list", "CUDA");
}

TEST(BenchProgram, BadFilesExitWithTwo) {
  TemporaryFolder folder;
  const std::string good = folder / "good.json", bad = folder / "bad.json";
  const std::string text = bench::to_json(bench::run_of({bench::timed_row("x", 1.0)}));
  write(good, text);
  write(bad, text.substr(0, text.size() / 2));
  expect_refused("compare " + good + " " + bad, "not a whole JSON file");
  write(bad, "{\"schema\": \"another\", \"version\": 1}");
  expect_refused("compare " + bad + " " + good, "not of ddpmts_bench");
  write(bad, "");
  expect_refused("compare " + good + " " + bad, "bad.json");
}

TEST(BenchProgram, CompareExitsWithOneWhereSomethingBecameSlower) {
  TemporaryFolder folder;
  const std::string before = folder / "before.json", after = folder / "after.json";
  write(before, bench::to_json(bench::run_of({bench::timed_row("x", 1.0)})));
  write(after, bench::to_json(bench::run_of({bench::timed_row("x", 1.1)})));
  EXPECT_EQ(run_bench("compare " + before + " " + after).code, 1);
  EXPECT_EQ(run_bench("compare " + after + " " + before).code, 0);
  EXPECT_EQ(run_bench("compare " + before + " " + after + " --fail-above 20%").code, 0);
}

TEST(BenchProgram, MeasuresAndWritesWhatItSays) {
  TemporaryFolder folder;
  const std::string json = folder / "run.json", csv = folder / "run.csv";
  const Finished finished = run_bench(kSmall + " --json " + json + " --csv " + csv);
  ASSERT_EQ(finished.code, 0) << finished.output;
  EXPECT_NE(finished.output.find("| kernels/add/odd/5x3x33/f32/b2/cpu"), std::string::npos)
      << finished.output;
  EXPECT_NE(finished.output.find("cpu product f32"), std::string::npos) << finished.output;
  const bench::Results results = bench::read_results(json);
  ASSERT_EQ(results.rows.size(), 2u);
  for (const bench::Row& row : results.rows) {
    EXPECT_TRUE(row.timed()) << row.check;
    EXPECT_TRUE(row.cold.has_value());
    EXPECT_GT(row.bytes_per_second(), 0.0);
  }
  EXPECT_EQ(bench::to_csv(results), read_text(csv));

  // The command of a row measures that row alone.
  const std::string command = results.rows[1].command;
  const std::size_t space = command.find(" --");
  const Finished again = run_bench(command.substr(space) + " --list");
  EXPECT_EQ(again.output, results.rows[1].name + "\n");
}

TEST(BenchProgram, ProfileRunsEachCaseOnceAndTimesNothing) {
  const Finished finished = run_bench(
      "--profile --set shapes=odd --set batch=2 --precision f32 --filter 'add/odd/(1x1x6|5x3x33)/'");
  EXPECT_EQ(finished.code, 0) << finished.output;
  EXPECT_EQ(std::ranges::count(finished.output, '\n'), 2) << finished.output;
  for (const char* map : {"1x1x6", "5x3x33"}) {
    const std::string line =
        std::string("ok   kernels/add/odd/") + map + "/f32/b2/cpu  ran once  out: off by";
    EXPECT_NE(finished.output.find(line), std::string::npos) << finished.output;
  }
}

TEST(BenchProgram, HoldsConvolutionsAgainstOnednn) {
  TemporaryFolder folder;
  const std::string json = folder / "run.json";
  const Finished finished = run_bench(
      "--filter 'convs/resnet18_224/56x56x64-64_3x3/forward/|add/resnet18_224/56x56x64/' --set "
      "shapes=resnet18_224 --set batch=1 --precision f32 --seconds 0.001 --against onednn --json " +
      json);
  ASSERT_EQ(finished.code, 0) << finished.output;
  EXPECT_NE(finished.output.find("| of oneDNN |"), std::string::npos) << finished.output;
  EXPECT_NE(finished.output.find("| teacher/224 f32 b1"), std::string::npos) << finished.output;
  const bench::Results results = bench::read_results(json);
  ASSERT_EQ(results.rows.size(), 2u) << finished.output;
  for (const bench::Row& row : results.rows) {
    const bool is_conv = row.group == "convs";
    EXPECT_EQ(row.onednn.has_value(), is_conv) << row.name;
    EXPECT_EQ(row.command.find("--against onednn") != std::string::npos, is_conv) << row.command;
    if (!is_conv) continue;
    EXPECT_GT(row.of_onednn(), 0.0);
    EXPECT_EQ(row.networks, (std::map<std::string, std::int64_t>{{"teacher/224", 4}}))
        << "two blocks of layer1";
  }
}

TEST(BenchProgram, SplitShowsWhereTheTimeGoes) {
  TemporaryFolder folder;
  const std::string json = folder / "run.json";
  const Finished finished = run_bench(
      "--filter networks/teacher_forward/64/f32/b1/cpu --set size=64 --set precision=f32 --seconds 0.01 "
      "--split --json " +
      json);
  ASSERT_EQ(finished.code, 0) << finished.output;
  const bench::Results results = bench::read_results(json);
  ASSERT_EQ(results.rows.size(), 1u) << finished.output;
  std::map<std::string, double> calls;
  for (const bench::Part& part : results.rows[0].parts) calls[part.name] = part.calls;
  EXPECT_EQ(calls.size(), 3u) << "convolutions, one pooling, and what is left";
  EXPECT_EQ(calls["conv_forward"], 15.0) << "a stem, twelve of the blocks, two shortcuts";
  EXPECT_EQ(calls["pool_forward"], 1.0);
  EXPECT_EQ(calls.count("host"), 1u);
  EXPECT_NE(finished.output.find("| conv_forward"), std::string::npos) << finished.output;
}

TEST(BenchProgram, GoogleBenchmarkRepeatsAndPrints) {
  TemporaryFolder folder;
  const std::string json = folder / "run.json";
  const Finished finished = run_bench(kSmall + " --benchmark_repetitions=2 --json " + json);
  ASSERT_EQ(finished.code, 0) << finished.output;
  EXPECT_EQ(bench::read_results(json).rows.size(), 4u);
  const Finished printed = run_bench(kSmall + " --benchmark_format=csv");
  EXPECT_EQ(printed.code, 0);
  EXPECT_NE(printed.output.find("name,iterations,real_time"), std::string::npos) << printed.output;
}

}  // namespace
}  // namespace ddpmts::test
