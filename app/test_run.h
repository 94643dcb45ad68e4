// Tests a model on a dataset and writes what was found: results.json, results.csv, report.html.
#pragma once

#include "app/inspect_samples.h"
#include "app/run_folder.h"

namespace ddpmts::app {

struct TestRunOptions {
  std::int64_t batch = 8;
  int gallery = 120;
};

/// Prints a short table and the report's path. Nothing, and nothing is written, when the program was asked to end before the last
/// picture. Throws Error when the dataset has no test pictures.
std::optional<eval::Summary> test_run(const Inspector& inspector, const Dataset& dataset,
                                      const std::filesystem::path& output, const TestRunOptions& options);

}  // namespace ddpmts::app
