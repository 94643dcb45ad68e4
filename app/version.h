// The program's version, as --version prints it and runs record it.
#pragma once

namespace ddpmts::app {

inline constexpr const char* kVersion = "ddpmts 0.1.0";

}  // namespace ddpmts::app
