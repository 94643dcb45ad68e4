#include "bench/run.h"

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "bench/measure.h"
#include "bench/table.h"

namespace ddpmts::bench {
namespace {

// A case's name as a regular expression that finds nothing else, between quotes for a shell.
std::string exactly(const std::string& name) {
  std::string pattern = "'^";
  for (const char c : name) {
    if (c == '.' || c == '+') pattern += '\\';
    pattern += c;
  }
  return pattern + "$'";
}

// The screen's table: our rows, in the order in which Google Benchmark finishes them.
class TableReporter : public benchmark::BenchmarkReporter {
 public:
  TableReporter(std::size_t name_width, OptionalColumns columns) : table_(name_width, columns) {}
  bool ReportContext(const Context&) override {
    std::fputs(table_.heading().c_str(), stdout);
    return true;
  }
  void ReportRuns(const std::vector<Run>&) override {
    for (const Row& row : waiting_) std::fputs(table_.line(row).c_str(), stdout);
    std::fflush(stdout);
    waiting_.clear();
  }
  void add(const Row& row) { waiting_.push_back(row); }

 private:
  MarkdownTable table_;
  std::vector<Row> waiting_;
};

void hand_to_google(benchmark::State& state, const Row& row) {
  for (auto _ : state) {
    static_cast<void>(_);
    state.SetIterationTime(row.hot.median);
  }
  state.counters["p5_s"] = row.hot.low;
  state.counters["p95_s"] = row.hot.high;
  if (row.gpu) state.counters["gpu_s"] = row.gpu->median;
  if (row.cold) state.counters["cold_s"] = row.cold->median;
  if (row.onednn) state.counters["onednn_s"] = row.onednn->median;
  if (row.pictures > 0.0) state.counters["pictures_per_s"] = row.pictures_per_second();
  if (row.bytes > 0.0) state.counters["bytes_per_s"] = row.bytes_per_second();
  if (row.flops > 0.0) state.counters["flops_per_s"] = row.flops_per_second();
  if (!row.roof.empty()) state.counters["roof_share"] = row.roof_share;
}

}  // namespace

// The axes of a name must be asked for again where they are not what the program takes by itself.
std::string command_of(const Row& row, const std::string& program, const Options& options) {
  const Sweep& sweep = options.sweep;
  std::string command = program;
  if (row.device.starts_with("cuda")) command += " --device cuda";
  for (const auto& [key, swept] : {std::pair{"batch", !sweep.batch.empty()},
                                   {"size", !sweep.size.empty()},
                                   {"precision", !sweep.precision.empty()},
                                   {"shapes", !sweep.shapes.empty()},
                                   {"head", !sweep.head.empty()},
                                   {"unet", !sweep.unet.empty()}}) {
    const auto axis = row.axes.find(key);
    if (swept && axis != row.axes.end()) command += fmt::format(" --set {}={}", key, axis->second);
  }
  if (const auto graph = row.axes.find("graph"); graph != row.axes.end() && graph->second == "off") {
    command += " --graph off";
  }
  if (row.onednn) command += " --against onednn";
  return command + " --filter " + exactly(row.name);
}

std::vector<Row> run_cases(const std::vector<Case>& cases, const std::vector<Roofs>& roofs,
                           const Options& options, const std::string& command) {
  std::size_t width = 4;
  for (const Case& c : cases) width = std::max(width, c.name.size());
  TableReporter reporter(width,
                         {.gpu = std::ranges::any_of(cases, [](const Case& c) { return c.device.is_cuda(); }),
                          .onednn = options.against_onednn});
  const Sampling sampling = sampling_of(options);
  std::vector<Row> rows;
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const auto run = [&, i](benchmark::State& state) {
      const Case& c = cases[i];
      Row row = measure(c, roofs[i], sampling, free_memory_bytes(c.device));
      row.command = command_of(row, command, options);
      row.timed() ? hand_to_google(state, row)
                  : state.SkipWithError((name_of(row.status) + (": " + row.check)).c_str());
      // A repetition's row is one of its own.
      const auto before = std::ranges::count(rows, row.command, &Row::command);
      if (before > 0) row.name += fmt::format("/repetition:{}", before + 1);
      reporter.add(row);
      rows.push_back(std::move(row));
    };
    benchmark::RegisterBenchmark(cases[i].name.c_str(), run)
        ->Iterations(1)
        ->UseManualTime()
        ->Unit(benchmark::kMillisecond);
  }
  std::vector<std::string> arguments = {"ddpmts_bench"};
  arguments.insert(arguments.end(), options.google.begin(), options.google.end());
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  int argc = static_cast<int>(argv.size());
  benchmark::Initialize(&argc, argv.data());
  if (argc > 1) throw UsageError(fmt::format("option {} is not what Google Benchmark takes", argv[1]));
  options.google_prints ? benchmark::RunSpecifiedBenchmarks() : benchmark::RunSpecifiedBenchmarks(&reporter);
  benchmark::ClearRegisteredBenchmarks();
  return rows;
}

}  // namespace ddpmts::bench
