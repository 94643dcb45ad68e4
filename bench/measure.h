// One case: checked, then timed.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "bench/case.h"
#include "bench/options.h"
#include "bench/results.h"
#include "bench/roofs.h"

namespace ddpmts::bench {

/// How long a case is timed.
struct Sampling {
  double seconds = 0.5;         ///< of hot samples at least …
  std::size_t least = 10;       ///< … and so many of them …
  double most_seconds = 15.0;   ///< … unless that takes longer than this (three samples are always taken)
  std::size_t cold = 10;        ///< samples with flushed caches
  std::size_t split = 0;        ///< runs whose parts are timed; 0: none
  bool against_onednn = false;  ///< hot samples in turns with oneDNN alone, where the case has it
};
Sampling sampling_of(const Options& options);

/// Bytes of memory that a case may take on the device; 0: not known.
double free_memory_bytes(Device device);

/// A case in place and found right; or, without `prepared`, the row that says why it is not: FAIL, or SKIP where it needs more
/// than `available` bytes (0: not known). Never throws for what a case does.
struct CheckedCase {
  Row row;
  std::optional<Prepared> prepared;
};
CheckedCase checked_case(const Case& c, double available);

/// Seconds of one run, hot: after a warm-up, runs shorter than 100 µs timed in groups that last as long.
std::vector<double> sample_hot(const Prepared& prepared, Device device, const Sampling& sampling);
/// The same for two pieces of work in turns, so that both see the same machine: each is given the time of one. Every sample
/// comes after an untimed run of the same piece: its data is where its own run left it.
struct InTurns {
  std::vector<double> ours, other;
};
InTurns sample_in_turns(const std::function<void()>& ours, const std::function<void()>& other, Device device,
                        const Sampling& sampling);
/// Seconds of one run by a GPU's own clock, in groups as sample_hot's.
std::vector<double> sample_events(const Prepared& prepared, Device device, std::size_t count);
/// Seconds of one run, each with flushed caches.
std::vector<double> sample_cold(const Prepared& prepared, Device device, const CacheFlush& flush,
                                std::size_t count);

/// Where the time of one run goes, the average of `runs`, longest first; "host" is what is left between kernels and
/// primitives: bookkeeping, memory, copies.
std::vector<Part> split_of(const Prepared& prepared, Device device, std::size_t runs);

/// Checks the case and, where it is right, times it. Never throws for what a case does: that is a FAIL row.
/// `available`: as for checked_case.
Row measure(const Case& c, const Roofs& roofs, const Sampling& sampling, double available);

}  // namespace ddpmts::bench
