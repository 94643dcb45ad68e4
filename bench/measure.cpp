#include "bench/measure.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "bench/machine.h"
#include "bench/table.h"
#include "engine/event_time.h"
#include "engine/settings.h"
#include "engine/step_graph.h"
#include "engine/time_trace.h"

namespace ddpmts::bench {
namespace {

constexpr double kShortestSample = 100e-6;
constexpr std::size_t kFewest = 3;
constexpr std::size_t kMostEventSamples = 100;

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double timed(const std::function<void()>& run, Device device, int runs) {
  const double start = seconds_now();
  for (int i = 0; i < runs; ++i) run();
  synchronize(device);
  return (seconds_now() - start) / runs;
}

// On a GPU until what is captured is replayed.
int warm_up_runs(Device device) { return device.is_cuda() ? StepGraph::kPlainRuns + 1 : 1; }

// After a warm-up: how many runs make one sample.
int group_of(const std::function<void()>& run, Device device) {
  timed(run, device, warm_up_runs(device));
  const double once = timed(run, device, 1);
  return once < kShortestSample ? static_cast<int>(kShortestSample / std::max(once, 1e-8)) + 1 : 1;
}

// Whether more samples are to be taken after that many, `spent` seconds from the start.
bool is_wanting(std::size_t count, double spent, const Sampling& sampling) {
  if (count < kFewest) return true;
  return spent <= sampling.most_seconds && (spent < sampling.seconds || count < sampling.least);
}

Row row_of(const Case& c) {
  Row row;
  row.name = c.name;
  row.group = c.group;
  row.device = c.device.name();
  row.axes = c.axes;
  row.networks = c.networks;
  row.pictures = static_cast<double>(c.pictures);
  return row;
}

Row stopped(Row row, Status status, std::string why) {
  row.status = status;
  row.check = std::move(why);
  return row;
}

Row could_not_run(const Case& c, const std::exception& e) {
  return stopped(row_of(c), Status::fail, fmt::format("could not run: {}", e.what()));
}

// Hot times; where it is wanted and there, in turns with oneDNN alone, which must give the same.
void time_hot(const Prepared& prepared, Device device, const Sampling& sampling, Row& row) {
  const auto peak = [device] { return static_cast<double>(memory_stats(device).peak); };
  reset_peak_memory(device);
  if (!sampling.against_onednn || !prepared.onednn_alone) {
    row.hot = summarize(sample_hot(prepared, device, sampling));
    row.peak_bytes = peak();
    return;
  }
  prepared.run();
  row.peak_bytes = peak();  // before oneDNN's own arrays are there
  const Rival rival = prepared.onednn_alone();
  if (const Check check = rival.check(); !check.right) {
    row = stopped(row, Status::fail, check.text);
    return;
  }
  const InTurns samples = sample_in_turns(prepared.run, rival.run, device, sampling);
  row.hot = summarize(samples.ours);
  row.onednn = summarize(samples.other);
}

void time_case(const Case& c, const Prepared& prepared, const Roofs& roofs, const Sampling& sampling,
               Row& row) {
  row.bytes = prepared.bytes;
  row.flops = prepared.flops;
  time_hot(prepared, c.device, sampling, row);
  if (!row.timed()) return;
  if (c.device.is_cuda()) {
    row.gpu = summarize(sample_events(prepared, c.device, std::min(row.hot.count, kMostEventSamples)));
  }
  if (c.cold && sampling.cold > 0) {
    const CacheFlush flush(c.device);
    row.cold = summarize(sample_cold(prepared, c.device, flush, sampling.cold));
  }
  if (sampling.split > 0) row.parts = split_of(prepared, c.device, sampling.split);
  const double moved_twice = prepared.traffic == Traffic::update ? 2.0 : 1.0;
  const double footprint = prepared.footprint > 0.0 ? prepared.footprint : row.bytes / moved_twice;
  const RoofShare share =
      roofs.share({prepared.traffic, row.bytes, footprint, row.flops, c.type}, row.seconds());
  row.roof = share.roof;
  row.roof_share = share.share;
}

}  // namespace

Sampling sampling_of(const Options& options) {
  Sampling sampling;
  if (options.quick) sampling = {.seconds = 0.1, .least = 5, .most_seconds = 3.0, .cold = 3};
  if (options.split) sampling.split = 5;
  sampling.against_onednn = options.against_onednn;
  if (options.seconds > 0.0) {
    sampling.seconds = options.seconds;
    sampling.most_seconds = std::max(sampling.most_seconds, 2.0 * options.seconds);
  }
  return sampling;
}

double free_memory_bytes(Device device) {
  return device.is_cuda() ? static_cast<double>(cuda::memory_info(device.index).free)
                          : available_memory_bytes();
}

std::vector<double> sample_hot(const Prepared& prepared, Device device, const Sampling& sampling) {
  const int runs = group_of(prepared.run, device);
  std::vector<double> samples;
  const double start = seconds_now();
  while (is_wanting(samples.size(), seconds_now() - start, sampling))
    samples.push_back(timed(prepared.run, device, runs));
  return samples;
}

InTurns sample_in_turns(const std::function<void()>& ours, const std::function<void()>& other, Device device,
                        const Sampling& sampling) {
  const int our_runs = group_of(ours, device), other_runs = group_of(other, device);
  InTurns samples;
  const double start = seconds_now();
  while (is_wanting(samples.ours.size(), (seconds_now() - start) / 2.0, sampling)) {
    timed(ours, device, 1);
    samples.ours.push_back(timed(ours, device, our_runs));
    timed(other, device, 1);
    samples.other.push_back(timed(other, device, other_runs));
  }
  return samples;
}

std::vector<double> sample_events(const Prepared& prepared, Device device, std::size_t count) {
  const int runs = group_of(prepared.run, device);
  std::vector<double> samples;
  for (std::size_t i = 0; i < count; ++i) {
    const double seconds = cuda::event_seconds(device.index, [&] {
      for (int run = 0; run < runs; ++run) prepared.run();
    });
    samples.push_back(seconds / runs);
  }
  return samples;
}

std::vector<double> sample_cold(const Prepared& prepared, Device device, const CacheFlush& flush,
                                std::size_t count) {
  std::vector<double> samples;
  for (std::size_t i = 0; i < count; ++i) {
    flush();
    synchronize(device);
    samples.push_back(timed(prepared.run, device, 1));
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
    for (std::size_t i = 0; i < runs; ++i) left += share * timed(prepared.run, device, 1);
    for (const TimeTrace::Part& part : trace.parts()) {
      parts.push_back({part.name, share * static_cast<double>(part.calls), share * part.seconds});
      left -= share * part.seconds;
    }
  }
  parts.push_back({"host", 0.0, left});
  std::ranges::sort(parts, std::ranges::greater{}, &Part::seconds);
  return parts;
}

CheckedCase checked_case(const Case& c, double available) {
  if (available > 0.0 && c.memory > available) {
    return {stopped(row_of(c), Status::skip,
                    fmt::format("needs about {}, {} are free", bytes_text(c.memory), bytes_text(available))),
            {}};
  }
  engine_settings().graphs = c.graph;  // until the next case
  try {
    CheckedCase checked{row_of(c), c.prepare()};
    const Check check = checked.prepared->check();
    if (!check.right) return {stopped(row_of(c), Status::fail, check.text), {}};
    checked.row.check = check.text;
    return checked;
  } catch (const std::exception& e) {
    return {could_not_run(c, e), {}};
  }
}

Row measure(const Case& c, const Roofs& roofs, const Sampling& sampling, double available) {
  CheckedCase checked = checked_case(c, available);
  if (checked.prepared) {
    try {
      time_case(c, *checked.prepared, roofs, sampling, checked.row);
    } catch (const std::exception& e) {
      checked.row = could_not_run(c, e);
    }
  }
  checked.prepared.reset();
  release_cached_memory(c.device);
  return std::move(checked.row);
}

}  // namespace ddpmts::bench
