// The options about where and how exactly to compute, the same for every subcommand that computes.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace ddpmts::app {

/// Adds --device, and --tf32, --deterministic, --autotune, --no-graph and --workspace, which set engine_settings().
void add_device_options(CLI::App* command, std::string& device);

}  // namespace ddpmts::app
