// What goes wrong with files, said in one line: what was tried, on which file, why it failed, what to do.
#pragma once

#include <concepts>
#include <filesystem>
#include <string>
#include <string_view>

#include "engine/error.h"

namespace ddpmts {

/// A file that cannot be read or written, or whose content is not what it should be.
struct FileError : Error {
  FileError(const std::string& message, std::filesystem::path file, int system_error = 0)
      : Error(message), path(std::move(file)), error_number(system_error) {}
  std::filesystem::path path;
  int error_number = 0;  ///< errno where the system refused, else 0
};

/// 'text' in quotes, fit for one line of a terminal: control characters as \xNN, shortened in the middle
/// beyond 600 bytes.
std::string in_quotes(std::string_view text);
inline std::string in_quotes(const std::same_as<std::filesystem::path> auto& path) {
  return in_quotes(std::string_view(path.native()));
}

/// "no space left on device; free some space there or choose another folder": the reason and the remedy.
std::string reason_and_remedy(int error_number);

/// Throws FileError "cannot <action> '<path>': <reason>; <remedy>".
[[noreturn]] void throw_system_error(std::string_view action, const std::filesystem::path& path,
                                     int error_number);

}  // namespace ddpmts
