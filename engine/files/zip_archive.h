// The part of ZIP (PKWARE APPNOTE 6.3.10) that PyTorch's files use: stored entries only, one volume, no encryption, no
// comment; ZIP64 end records are understood. The central directory is the truth, and each local header must agree with it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "engine/files/input_file.h"

namespace ddpmts {

struct ZipEntry {
  std::string name;
  std::uint64_t offset = 0;  ///< of its first byte, from the start of the file
  std::uint64_t bytes = 0;
  std::uint32_t crc = 0;
};

/// An archive opened for reading. The directory is read and checked at once: names are unique, every entry lies inside the
/// file, and no two overlap.
class ZipArchive {
 public:
  static constexpr std::uint64_t kMaxDirectoryBytes = 8 << 20;

  /// Throws FileError naming the entry and what is wrong with it.
  explicit ZipArchive(InputFile file);

  const std::filesystem::path& path() const { return file_.path(); }
  /// In the order of the central directory.
  const std::vector<ZipEntry>& entries() const { return entries_; }
  /// Null when there is no such entry.
  const ZipEntry* find(std::string_view name) const;
  /// All of an entry's bytes. Throws FileError when their checksum is not the directory's.
  std::vector<std::byte> read(const ZipEntry& entry) const;

 private:
  struct Directory {
    std::uint64_t offset = 0, bytes = 0, entries = 0;
  };
  Directory find_directory() const;
  /// Reads the local header at `offset` of an entry that ends before `limit`, and sets where its bytes begin.
  void locate(ZipEntry& entry, std::uint64_t offset, std::uint64_t limit) const;
  void read_directory(const Directory& directory);

  InputFile file_;
  std::vector<ZipEntry> entries_;
  std::unordered_map<std::string_view, std::size_t> index_;  ///< views into entries_
};

}  // namespace ddpmts
