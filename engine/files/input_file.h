// Reading files that come from outside.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "engine/files/file_error.h"

namespace ddpmts {

/// A regular file opened for reading. Pipes, sockets and devices are refused (they may never end), and
/// opening one does not block. Reads go through pread, so a file that another process shortens is an error
/// here, never a signal.
class InputFile {
 public:
  /// Throws FileError when the file is missing, unreadable or not a regular file.
  explicit InputFile(std::filesystem::path path);
  ~InputFile();
  InputFile(InputFile&& other) noexcept;
  InputFile& operator=(InputFile&& other) noexcept;
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  const std::filesystem::path& path() const { return path_; }
  /// Bytes, as found when the file was opened.
  std::uint64_t size() const { return size_; }
  /// Fills `into` from `offset` on. Throws FileError when the file ends before.
  void read(std::uint64_t offset, std::span<std::byte> into) const;

 private:
  std::filesystem::path path_;
  std::uint64_t size_ = 0;
  int descriptor_ = -1;
};

/// The whole file. Throws FileError when it is larger than `max_bytes` (nothing is allocated then) or cannot
/// be read.
std::vector<std::byte> read_file(const std::filesystem::path& path, std::uint64_t max_bytes);

}  // namespace ddpmts
