#include "bench/run.h"

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <optional>

#include "bench/machine.h"
#include "bench/table.h"
#include "engine/time_trace.h"

namespace ddpmts::bench {
namespace {

constexpr double kShortestSample = 100e-6;
constexpr std::size_t kFewest = 3;

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double timed(const Prepared& prepared, Device device, int runs) {
  const double start = seconds_now();
  for (int i = 0; i < runs; ++i) prepared.run();
  synchronize(device);
  return (seconds_now() - start) / runs;
}

Row row_of(const Case& c) {
  Row row;
  row.name = c.name;
  row.group = c.group;
  row.device = c.device.name();
  row.axes = c.axes;
  row.pictures = static_cast<double>(c.pictures);
  return row;
}

Row stopped(Row row, Status status, std::string why) {
  row.status = status;
  row.check = std::move(why);
  return row;
}

// A case's name as a regular expression that finds nothing else, between quotes for a shell.
std::string exactly(const std::string& name) {
  std::string pattern = "'^";
  for (const char c : name) {
    if (c == '.' || c == '+') pattern += '\\';
    pattern += c;
  }
  return pattern + "$'";
}

// The axes of a name must be asked for again where they are not what the program takes by itself.
std::string command_of(const Row& row, const std::string& program, const Sweep& sweep) {
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
  return command + " --filter " + exactly(row.name);
}

// The screen's table: our rows, in the order in which Google Benchmark finishes them.
class TableReporter : public benchmark::BenchmarkReporter {
 public:
  explicit TableReporter(std::size_t name_width) : table_(name_width) {}
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
  if (row.cold) state.counters["cold_s"] = row.cold->median;
  if (row.pictures > 0.0) state.counters["pictures_per_s"] = row.pictures_per_second();
  if (row.bytes > 0.0) state.counters["bytes_per_s"] = row.bytes_per_second();
  if (row.flops > 0.0) state.counters["flops_per_s"] = row.flops_per_second();
  if (!row.roof.empty()) state.counters["roof_share"] = row.roof_share;
}

}  // namespace

Sampling sampling_of(const Options& options) {
  Sampling sampling;
  if (options.quick) sampling = {.seconds = 0.1, .least = 5, .most_seconds = 3.0, .cold = 3};
  if (options.split) sampling.split = 5;
  if (options.seconds > 0.0) {
    sampling.seconds = options.seconds;
    sampling.most_seconds = std::max(sampling.most_seconds, 2.0 * options.seconds);
  }
  return sampling;
}

std::vector<double> sample_hot(const Prepared& prepared, Device device, const Sampling& sampling) {
  timed(prepared, device, 1);
  const double once = timed(prepared, device, 1);
  const int runs = once < kShortestSample ? static_cast<int>(kShortestSample / std::max(once, 1e-8)) + 1 : 1;
  std::vector<double> samples;
  const double start = seconds_now();
  for (double spent = 0.0;
       samples.size() < kFewest || spent < sampling.seconds || samples.size() < sampling.least;
       spent = seconds_now() - start) {
    if (samples.size() >= kFewest && spent > sampling.most_seconds) break;
    samples.push_back(timed(prepared, device, runs));
  }
  return samples;
}

std::vector<double> sample_cold(const Prepared& prepared, Device device, const CacheFlush& flush,
                                std::size_t count) {
  std::vector<double> samples;
  for (std::size_t i = 0; i < count; ++i) {
    flush();
    synchronize(device);
    samples.push_back(timed(prepared, device, 1));
  }
  return samples;
}

std::vector<Part> split_of(const Prepared& prepared, Device device, std::size_t runs) {
  prepared.run();
  std::vector<Part> parts;
  double left = 0.0;
  const double share = 1.0 / static_cast<double>(runs);
  {
    const TimeTrace trace;
    for (std::size_t i = 0; i < runs; ++i) left += share * timed(prepared, device, 1);
    for (const TimeTrace::Part& part : trace.parts()) {
      parts.push_back({part.name, share * static_cast<double>(part.calls), share * part.seconds});
      left -= share * part.seconds;
    }
  }
  parts.push_back({"host", 0.0, left});
  std::ranges::sort(parts, std::ranges::greater{}, &Part::seconds);
  return parts;
}

Row measure(const Case& c, const Roofs& roofs, const Sampling& sampling, double available) {
  Row row = row_of(c);
  if (available > 0.0 && c.memory > available) {
    return stopped(row, Status::skip,
                   fmt::format("needs about {}, {} are free", bytes_text(c.memory), bytes_text(available)));
  }
  try {
    const Prepared prepared = c.prepare();
    const Check check = prepared.check();
    row.check = check.text;
    if (!check.right) return stopped(row, Status::fail, check.text);
    row.bytes = prepared.bytes;
    row.flops = prepared.flops;
    reset_peak_memory(c.device);
    row.hot = summarize(sample_hot(prepared, c.device, sampling));
    row.peak_bytes = static_cast<double>(memory_stats(c.device).peak);
    if (c.cold && sampling.cold > 0) {
      const CacheFlush flush(c.device);
      row.cold = summarize(sample_cold(prepared, c.device, flush, sampling.cold));
    }
    if (sampling.split > 0) row.parts = split_of(prepared, c.device, sampling.split);
    const double moved_twice = prepared.traffic == Traffic::update ? 2.0 : 1.0;
    const double footprint = prepared.footprint > 0.0 ? prepared.footprint : row.bytes / moved_twice;
    const RoofShare share =
        roofs.share({prepared.traffic, row.bytes, footprint, row.flops, c.type}, row.hot.median);
    row.roof = share.roof;
    row.roof_share = share.share;
  } catch (const std::exception& e) {
    row = stopped(row_of(c), Status::fail, fmt::format("could not run: {}", e.what()));
  }
  release_cached_memory(c.device);
  return row;
}

std::vector<Row> run_cases(const std::vector<Case>& cases, const std::vector<Roofs>& roofs,
                           const Options& options, const std::string& command) {
  std::size_t width = 4;
  for (const Case& c : cases) width = std::max(width, c.name.size());
  TableReporter reporter(width);
  const Sampling sampling = sampling_of(options);
  std::vector<Row> rows;
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const auto run = [&, i](benchmark::State& state) {
      const Case& c = cases[i];
      const double available = c.device.is_cuda()
                                   ? static_cast<double>(cuda::memory_info(c.device.index).free)
                                   : available_memory_bytes();
      Row row = measure(c, roofs[i], sampling, available);
      row.command = command_of(row, command, options.sweep);
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
