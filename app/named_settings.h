// Which settings of a run a call names; a resumed run has its own.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace ddpmts::app {

/// The options given on the command line, such as "--steps --size", but for those that do not belong to the run: its folders,
/// the device, and how the session goes.
std::string settings_named(const CLI::App& command);

}  // namespace ddpmts::app
