// Checks and times cases, through Google Benchmark: it registers, repeats and writes its own files (--benchmark_out); one
// iteration of its loop is one whole measurement of ours, as many samples as the time allows.
#pragma once

#include <string>
#include <vector>

#include "bench/case.h"
#include "bench/options.h"
#include "bench/results.h"
#include "bench/roofs.h"

namespace ddpmts::bench {

/// How long a case is timed.
struct Sampling {
  double seconds = 0.5;        ///< of hot samples at least …
  std::size_t least = 10;      ///< … and so many of them …
  double most_seconds = 15.0;  ///< … unless that takes longer than this (three samples are always taken)
  std::size_t cold = 10;       ///< samples with flushed caches
  std::size_t split = 0;       ///< runs whose parts are timed; 0: none
};
Sampling sampling_of(const Options& options);

/// Seconds of one run, hot: after a warm-up, runs shorter than 100 µs timed in groups that last as long.
std::vector<double> sample_hot(const Prepared& prepared, Device device, const Sampling& sampling);
/// Seconds of one run, each with flushed caches.
std::vector<double> sample_cold(const Prepared& prepared, Device device, const CacheFlush& flush,
                                std::size_t count);

/// Where the time of one run goes, the average of `runs`, longest first; "host" is what is left between kernels and
/// primitives: bookkeeping, memory, copies.
std::vector<Part> split_of(const Prepared& prepared, Device device, std::size_t runs);

/// Checks the case and, where it is right, times it. Never throws for what a case does: that is a FAIL row.
/// `available`: bytes of memory; a case that needs more becomes a SKIP row; 0: not known.
Row measure(const Case& c, const Roofs& roofs, const Sampling& sampling, double available);

/// Runs all cases in order and prints a row each, unless Google Benchmark prints. `command`: how the program was called,
/// for the rows' commands.
std::vector<Row> run_cases(const std::vector<Case>& cases, const std::vector<Roofs>& roofs,
                           const Options& options, const std::string& command);

}  // namespace ddpmts::bench
