// Writing a file so that a reader, a crash or a full disk meets the old file or the new one, never half of
// one. Recipe: a temporary file beside the target, write all, fsync, rename, fsync of the folder (Pillai et
// al., OSDI 2014).
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>

#include "engine/files/file_error.h"

namespace ddpmts {

/// A file under construction. Unless commit() returns, the target stays as it was, and the temporary file
/// `<name>.tmp.<pid>.<n>` is removed by the destructor (only a killed process leaves one behind; it is safe
/// to delete). A target that is a symbolic link keeps being one: what it points to is replaced. Permissions
/// of a replaced file are kept.
class AtomicFile {
 public:
  /// Throws FileError when the temporary file cannot be made, or the target exists and is no regular file.
  explicit AtomicFile(std::filesystem::path target);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  /// Appends. Throws FileError (disk full, ...); after that only destruction makes sense.
  void write(std::span<const std::byte> bytes);
  /// Bytes appended so far.
  std::uint64_t written() const { return written_; }
  /// Makes the target the new file, on disk when this returns. Throws FileError; call it once.
  void commit();

  const std::filesystem::path& target() const { return target_; }
  const std::filesystem::path& temporary() const { return temporary_; }

 private:
  std::filesystem::path target_;     ///< with symbolic links resolved
  std::filesystem::path temporary_;  ///< empty once renamed
  int descriptor_ = -1;
  std::uint64_t written_ = 0;
};

/// Replaces `path` by a file with these bytes. Throws FileError.
void write_file_atomically(const std::filesystem::path& path, std::span<const std::byte> bytes);
void write_file_atomically(const std::filesystem::path& path, std::string_view text);

/// Writes everything to an open descriptor, through interruptions and partial writes; `shown` names it in
/// errors. Throws FileError.
void write_fully(int descriptor, std::span<const std::byte> bytes, const std::filesystem::path& shown);

}  // namespace ddpmts
