// What ddpmts_bench is called with. Every word is known or refused, with the nearest one that is.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/types.h"

namespace ddpmts::bench {

/// The call was wrong; `what()` is one line for the user. The program exits with 2.
struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

enum class DeviceChoice : std::uint8_t { cpu, cuda, all };

/// What `--set` asked for; where a list is empty, each group of cases has its own.
struct Sweep {
  std::vector<std::int64_t> batch;  ///< pictures of one run
  std::vector<std::int64_t> size;   ///< sides of pictures, for the detector's networks and pipelines
  std::vector<DType> precision;     ///< of activations: f32, bf16
  std::vector<std::string> shapes;  ///< lists of bench/shapes.h
  std::vector<std::string> head;    ///< s, m, l
  std::vector<std::string> unet;    ///< xs, s, m
  std::vector<bool> graph;          ///< on a GPU: steps captured as graphs, or not (--graph)
};

struct Options {
  DeviceChoice device = DeviceChoice::cpu;
  std::string filter;  ///< regular expression, found anywhere in a case's name; empty: all
  bool list = false;
  bool quick = false;
  bool split = false;           ///< also time the parts of each case
  bool profile = false;         ///< run each case once for a profiler; nothing is timed
  bool against_onednn = false;  ///< time convolutions on the CPU in turns with oneDNN alone
  bool help = false;
  Sweep sweep;
  std::filesystem::path json, csv;  ///< empty: not written
  double seconds = 0.0;             ///< of timing a case; 0: the mode's own
  std::vector<std::string> google;  ///< Google Benchmark's flags, as they came
  bool google_prints = false;       ///< --benchmark_format is among them: its reporter takes the screen
};

struct CompareOptions {
  std::filesystem::path before, after;
  double fail_above = 0.03;  ///< share of the time
};

/// Arguments without the program's name. Throws UsageError.
Options parse_options(std::span<const std::string> arguments);
/// Arguments after `compare`. Throws UsageError.
CompareOptions parse_compare_options(std::span<const std::string> arguments);

std::string usage();

/// Applies one `key=v1,v2` to the sweep. Throws UsageError for an unknown key or value.
void parse_set(std::string_view text, Sweep& sweep);
/// "3%" or "0.03" → 0.03. Throws UsageError.
double parse_share(std::string_view text);
/// The candidate that the fewest insertions, deletions and replacements lead to; the first of equals. Empty where every
/// candidate is further away than a third of the word's length, or two, whichever is more.
std::string nearest(std::string_view word, std::span<const std::string> candidates);

}  // namespace ddpmts::bench
