// What the engine throws. One line each: what failed, where, and what to do about it.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace ddpmts {

/// Base of everything thrown on purpose; `what()` is fit to be shown to a user.
struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Tensors that do not fit together, or an element type that an operation does not take.
struct ShapeError : Error {
  using Error::Error;
};

/// A device that is not there, out of memory, or a library call on it that failed.
struct DeviceError : Error {
  using Error::Error;
};

/// `throw_error<ShapeError>("conv2d: {} channels, the weight has {}", c, k)`
template <class E = Error, class... Args>
[[noreturn]] void throw_error(fmt::format_string<Args...> format, Args&&... args) {
  throw E(fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace ddpmts
