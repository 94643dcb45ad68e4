// `--profile`: each case once for a profiler. Checked before as always, warmed up, not timed.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "bench/case.h"
#include "bench/options.h"
#include "bench/results.h"

namespace ddpmts::bench {

/// Runs a piece of work once under a name: ddpmts::profiled (engine/profile.h), or what stands in for it in a test.
using Recorder = std::function<void(Device, const std::string&, const std::function<void()>&)>;

/// A row without times. A case that is wrong or does not fit in memory (`available` bytes; 0: not known) is not recorded.
/// Never throws for what a case does: that is a FAIL row.
Row profile_case(const Case& c, double available, const Recorder& record);

/// All cases in order; prints a line each. `command`: how the program was called, for the rows' commands.
std::vector<Row> profile_cases(const std::vector<Case>& cases, const Options& options,
                               const std::string& command);

}  // namespace ddpmts::bench
