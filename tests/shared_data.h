// Pictures and weights that are too large for the repository lie in ../shared. Tests that need them are left out where they
// are not, unless DDPMTS_REQUIRE_SHARED is set (as .ci/run does): then they fail.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#define DDPMTS_NEED_SHARED(path)                                                              \
  if (!std::filesystem::exists(path)) {                                                       \
    if (std::getenv("DDPMTS_REQUIRE_SHARED") != nullptr) FAIL() << (path) << " is not there"; \
    GTEST_SKIP() << (path) << " is not there";                                                \
  }                                                                                           \
  static_assert(true)
