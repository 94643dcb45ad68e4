#include "bench/profile.h"

#include <fmt/format.h>

#include <cstdio>

#include "bench/measure.h"
#include "bench/run.h"
#include "engine/memory.h"
#include "engine/profile.h"
#include "engine/step_graph.h"

namespace ddpmts::bench {
namespace {

// The first run makes plans and packs weights, the second finds memory in the allocator's cache, one more is captured.
constexpr int kWarmUps = StepGraph::kPlainRuns + 1;

}  // namespace

Row profile_case(const Case& c, double available, const Recorder& record) {
  CheckedCase checked = checked_case(c, available);
  if (checked.prepared) {
    try {
      for (int i = 0; i < kWarmUps; ++i) checked.prepared->run();
      synchronize(c.device);
      record(c.device, c.name, checked.prepared->run);
    } catch (const std::exception& e) {
      checked.row.status = Status::fail;
      checked.row.check = fmt::format("could not run: {}", e.what());
    }
  }
  checked.prepared.reset();
  release_cached_memory(c.device);
  return std::move(checked.row);
}

std::vector<Row> profile_cases(const std::vector<Case>& cases, const Options& options,
                               const std::string& command) {
  std::vector<Row> rows;
  for (const Case& c : cases) {
    Row row = profile_case(c, free_memory_bytes(c.device), profiled);
    row.command = command_of(row, command, options);
    fmt::print("{:<4} {}{}  {}\n", name_of(row.status), row.name,
               row.status == Status::ok ? "  ran once" : "", row.check);
    std::fflush(stdout);
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace ddpmts::bench
