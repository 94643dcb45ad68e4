// Runs cases through Google Benchmark: it registers, repeats and writes its own files (--benchmark_out); one
// iteration of its loop is one whole measurement of ours, as many samples as the time allows.
#pragma once

#include <string>
#include <vector>

#include "bench/case.h"
#include "bench/options.h"
#include "bench/results.h"
#include "bench/roofs.h"

namespace ddpmts::bench {

/// The call that repeats this row alone. `program`: how this one was called.
std::string command_of(const Row& row, const std::string& program, const Options& options);

/// Runs all cases in order and prints a row each, unless Google Benchmark prints. `command`: how the program was called,
/// for the rows' commands.
std::vector<Row> run_cases(const std::vector<Case>& cases, const std::vector<Roofs>& roofs,
                           const Options& options, const std::string& command);

}  // namespace ddpmts::bench
