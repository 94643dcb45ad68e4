// `ddpmts_bench`: how fast this machine computes, and how near to its roofs. Needs no data and no weights.
// Exit codes: 0 all right, 1 a case was wrong (or, with compare, slower than allowed), 2 called wrongly.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <regex>

#include "bench/case.h"
#include "bench/compare.h"
#include "bench/machine.h"
#include "bench/network_sums.h"
#include "bench/profile.h"
#include "bench/run.h"
#include "bench/table.h"
#include "engine/cpu/limit_spinning.h"
#include "engine/error.h"
#include "engine/files/atomic_file.h"

namespace {

using namespace ddpmts;
using namespace ddpmts::bench;

std::vector<Device> chosen_devices(DeviceChoice choice) {
  std::vector<Device> devices;
  if (choice != DeviceChoice::cuda) devices.push_back({});
  if (choice == DeviceChoice::cpu) return devices;
  const Device gpu{DeviceType::cuda, 0};
  try {
    static_cast<void>(describe(gpu));
    devices.push_back(gpu);
  } catch (const DeviceError& e) {
    if (choice == DeviceChoice::cuda) throw UsageError(e.what());
    fmt::print(stderr, "the CPU alone: {}\n", e.what());
  }
  return devices;
}

Cases chosen_cases(const std::vector<Device>& devices, const Options& options) {
  Cases chosen;
  std::regex filter;
  try {
    filter = std::regex(options.filter);
  } catch (const std::regex_error& e) {
    throw UsageError(fmt::format("--filter {}: not a regular expression: {}", options.filter, e.what()));
  }
  for (const Device device : devices) {
    for (Case& c : all_cases(CasePlan(device, options.sweep, options.quick))) {
      if (options.quick && !c.quick) continue;
      if (std::regex_search(c.name, filter)) chosen.push_back(std::move(c));
    }
  }
  if (chosen.empty()) {
    throw UsageError(
        fmt::format("no case's name holds '{}'; ddpmts_bench --list shows them", options.filter));
  }
  if (options.against_onednn && std::ranges::none_of(chosen, &Case::has_onednn_alone)) {
    throw UsageError(
        "--against onednn: none of the chosen cases is a convolution on the CPU; try --filter ^convs/");
  }
  return chosen;
}

// Opened before anything is measured: a path that cannot be written is found at once. Null where none was asked for.
std::unique_ptr<AtomicFile> output_file(const char* option, const std::filesystem::path& path) {
  if (path.empty()) return nullptr;
  try {
    return std::make_unique<AtomicFile>(path);
  } catch (const FileError& e) {
    throw UsageError(fmt::format("{}: {}", option, e.what()));
  }
}

void finish(const std::unique_ptr<AtomicFile>& file, const std::string& text) {
  if (file == nullptr) return;
  file->write(std::as_bytes(std::span(text)));
  file->commit();
}

// What was wrong, on stderr, each with the call that repeats it.
std::size_t report_wrong(const std::vector<Row>& rows) {
  std::size_t wrong = 0;
  for (const Row& row : rows) {
    if (row.status != Status::fail) continue;
    ++wrong;
    fmt::print(stderr, "FAIL {}\n     {}\n     {}\n", row.name, row.check, row.command);
  }
  return wrong;
}

int profile(const Cases& cases, const Options& options, const std::string& program) {
  return report_wrong(profile_cases(cases, options, program)) == 0 ? 0 : 1;
}

int run(const Options& options, const std::string& program) {
  const std::vector<Device> devices = chosen_devices(options.device);
  const Cases cases = chosen_cases(devices, options);
  if (options.list) {
    for (const Case& c : cases) std::puts(c.name.c_str());
    return 0;
  }
  if (options.profile) return profile(cases, options, program);
  const auto json = output_file("--json", options.json), csv = output_file("--csv", options.csv);
  Results results;
  results.program = program_version();
  results.machine = machine_facts(devices);
  results.warnings = machine_warnings();
  std::vector<Roofs> roofs;  // of each case's device
  std::map<std::string, Roofs> measured;
  for (const Device device : devices) {
    measured[device.name()] = Roofs::measure(device);
    results.roofs.merge(measured[device.name()].named(device));
  }
  for (const Case& c : cases) roofs.push_back(measured[c.device.name()]);

  if (!options.google_prints) fmt::print("{}\n", header_text(results));
  results.rows = run_cases(cases, roofs, options, program);
  if (!options.google_prints) {
    for (const Row& row : results.rows) fmt::print("{}", split_text(row));
    fmt::print("{}", network_sums_text(network_sums(results.rows)));
  }
  finish(json, to_json(results));
  finish(csv, to_csv(results));

  const std::size_t wrong = report_wrong(results.rows);
  if (!options.google_prints) {
    fmt::print(
        "\n{} cases, {} wrong. A row again: {} --filter '^NAME$'; --json and --csv hold each row's whole "
        "command.\n",
        results.rows.size(), wrong, program);
  }
  return wrong == 0 ? 0 : 1;
}

int compare_files(const CompareOptions& options) {
  Results before, after;
  try {
    before = read_results(options.before);
    after = read_results(options.after);
  } catch (const Error& e) {
    throw UsageError(e.what());
  }
  const std::vector<Comparison> comparisons = compare(before, after, options.fail_above);
  fmt::print("{}", comparison_text(before, after, comparisons));
  return is_worse(comparisons) ? 1 : 0;
}

}  // namespace

int main(int argc, char** argv) {
  ddpmts::cpu::limit_spinning(argv);
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  try {
    if (!arguments.empty() && arguments[0] == "compare") {
      return compare_files(parse_compare_options(std::span(arguments).subspan(1)));
    }
    const Options options = parse_options(arguments);
    if (options.help) {
      fmt::print("{}", usage());
      return 0;
    }
    return run(options, argv[0]);
  } catch (const UsageError& e) {
    fmt::print(stderr, "ddpmts_bench: {}\n", e.what());
    return 2;
  } catch (const std::exception& e) {
    fmt::print(stderr, "ddpmts_bench: {}\n", e.what());
    return 1;
  }
}
