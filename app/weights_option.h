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
/// The text that set_weights would set these weights from; names of weight 0 are left out.
std::string weights_text(std::span<const std::pair<const char*, float*>> names);

}  // namespace ddpmts::app
