// Files of a dataset that are not used, one line each on stderr.
#pragma once

#include <span>

#include "data/dataset.h"

namespace ddpmts::app {

void report_skipped(std::span<const Skipped> skipped);

}  // namespace ddpmts::app
