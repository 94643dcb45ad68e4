#include "bench/machine.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <fstream>
#include <sstream>
#include <thread>

#include "bench/table.h"
#include "generated/commit.h"

namespace ddpmts::bench {
namespace {

std::string first_line(const std::string& path) {
  std::ifstream stream(path);
  std::string line;
  std::getline(stream, line);
  return line;
}

// The value after "key" and a colon; empty where there is none.
std::string field_of(const std::string& path, const std::string& key) {
  std::ifstream stream(path);
  for (std::string line; std::getline(stream, line);) {
    const std::size_t colon = line.find(':');
    if (!line.starts_with(key) || colon == std::string::npos) continue;
    const std::size_t begin = line.find_first_not_of(" \t", colon + 1);
    return begin == std::string::npos ? "" : line.substr(begin);
  }
  return "";
}

std::string processor() {
  const std::string model = field_of("/proc/cpuinfo", "model name");
  return fmt::format("{}, {} cores", model.empty() ? "unknown processor" : model,
                     std::thread::hardware_concurrency());
}

// "2700 MHz": the highest where the system knows it, else the one now; empty where it says neither.
std::string processor_clock() {
  const std::string kilohertz = first_line("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq");
  if (!kilohertz.empty()) return fmt::format("up to {:.0f} MHz", std::stod(kilohertz) / 1000.0);
  const std::string megahertz = field_of("/proc/cpuinfo", "cpu MHz");
  return megahertz.empty() ? "" : fmt::format("{:.0f} MHz", std::stod(megahertz));
}

// Ticks that all cores have spent so far: {not idle, all}.
std::array<double, 2> processor_ticks() {
  std::istringstream line(first_line("/proc/stat"));
  std::string name;
  line >> name;
  std::array<double, 2> ticks{};
  double value = 0.0;
  for (int column = 0; line >> value; ++column) {
    const bool idle = column == 3 || column == 4;  // idle, waiting for a disk
    ticks[0] += idle ? 0.0 : value;
    ticks[1] += value;
  }
  return ticks;
}

}  // namespace

std::string program_version() { return "ddpmts_bench " DDPMTS_VERSION; }

double last_level_cache_bytes() {
  for (const int level : {_SC_LEVEL3_CACHE_SIZE, _SC_LEVEL2_CACHE_SIZE}) {
    if (const long bytes = sysconf(level); bytes > 0) return static_cast<double>(bytes);
  }
  return 0.0;
}

double available_memory_bytes() {
  const std::string text = field_of("/proc/meminfo", "MemAvailable");
  return text.empty() ? 0.0 : 1024.0 * std::stod(text);
}

std::vector<std::pair<std::string, std::string>> machine_facts(const std::vector<Device>& devices) {
  std::vector<std::pair<std::string, std::string>> facts;
  facts.emplace_back("processor", processor());
  if (const std::string clock = processor_clock(); !clock.empty()) facts.emplace_back("clock", clock);
  facts.emplace_back(
      "caches", fmt::format("L2 {}, last level {}",
                            bytes_text(static_cast<double>(std::max(0L, sysconf(_SC_LEVEL2_CACHE_SIZE)))),
                            bytes_text(last_level_cache_bytes())));
  facts.emplace_back("memory", bytes_text(static_cast<double>(sysconf(_SC_PHYS_PAGES)) *
                                          static_cast<double>(sysconf(_SC_PAGESIZE))));
  for (const Device device : devices) facts.emplace_back(device.name(), describe(device));
  facts.emplace_back("compiler", DDPMTS_COMPILER);
  facts.emplace_back("flags", DDPMTS_FLAGS);
  facts.emplace_back("commit", DDPMTS_COMMIT);
  return facts;
}

std::vector<std::string> machine_warnings() {
  std::vector<std::string> warnings;
  const std::string governor = first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
  if (!governor.empty() && governor != "performance") {
    warnings.push_back(
        fmt::format("the cores' frequency follows the load (governor '{}'): times scatter; sudo cpupower "
                    "frequency-set -g performance",
                    governor));
  }
  const auto before = processor_ticks();
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  const auto after = processor_ticks();
  const double ticks = after[1] - before[1];
  const double busy = ticks > 0.0 ? (after[0] - before[0]) / ticks : 0.0;
  const double cores = static_cast<double>(std::thread::hardware_concurrency());
  if (busy * cores > 0.25) {
    warnings.push_back(
        fmt::format("{:.1f} of {:.0f} cores were busy before the start: times are too long and scatter",
                    busy * cores, cores));
  }
#ifndef NDEBUG
  warnings.push_back("this is not an optimised build; configure with -DCMAKE_BUILD_TYPE=Release");
#endif
  return warnings;
}

}  // namespace ddpmts::bench
