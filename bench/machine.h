// What the numbers were measured on, and what may have disturbed them.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "engine/device.h"

namespace ddpmts::bench {

/// "ddpmts_bench 0.1.0"
std::string program_version();
/// Facts in the order shown: host's processor, caches, memory, each device with its libraries, compiler, flags, commit.
std::vector<std::pair<std::string, std::string>> machine_facts(const std::vector<Device>& devices);
/// Frequency scaling, cores that others keep busy (looks for a tenth of a second), a build that is not optimised.
std::vector<std::string> machine_warnings();

/// Bytes of the largest cache of a CPU; 0 where the system does not say.
double last_level_cache_bytes();
/// Bytes of memory that can be had without swapping; 0 where the system does not say.
double available_memory_bytes();

}  // namespace ddpmts::bench
