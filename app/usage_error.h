// A call that makes no sense, found only after its options were parsed: exit code 2.
#pragma once

#include "engine/error.h"

namespace ddpmts::app {

struct UsageError : Error {
  using Error::Error;
};

}  // namespace ddpmts::app
