// Options of the form "perlin", "self=0.6,texture=0.4".
#pragma once

#include <span>
#include <string>
#include <utility>

namespace ddpmts::app {

/// Sets the named weights; a name without "=" gets 1, a name that is not there 0. Throws Error naming `option` and the names
/// that there are.
void set_weights(const char* option, std::span<const std::pair<const char*, float*>> names,
                 const std::string& text);

}  // namespace ddpmts::app
