#include "engine/files/input_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace ddpmts {

InputFile::InputFile(std::filesystem::path path) : path_(std::move(path)) {
  descriptor_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor_ < 0) throw_system_error("open", path_, errno);
  struct stat status {};
  const int failed = ::fstat(descriptor_, &status) < 0 ? errno : 0;
  if (failed != 0 || !S_ISREG(status.st_mode)) {
    ::close(descriptor_);
    if (failed != 0) throw_system_error("examine", path_, failed);
    if (S_ISDIR(status.st_mode)) throw_system_error("read", path_, EISDIR);
    throw FileError(fmt::format("cannot read {}: it is a device, pipe or socket; give the name of a file",
                                in_quotes(path_)),
                    path_);
  }
  size_ = static_cast<std::uint64_t>(status.st_size);
}

InputFile::~InputFile() {
  if (descriptor_ >= 0) ::close(descriptor_);  // nothing was written, so nothing can be lost here
}

InputFile::InputFile(InputFile&& other) noexcept
    : path_(std::move(other.path_)), size_(other.size_), descriptor_(std::exchange(other.descriptor_, -1)) {}

InputFile& InputFile::operator=(InputFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(size_, other.size_);
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

void InputFile::read(std::uint64_t offset, std::span<std::byte> into) const {
  if (offset > size_ || into.size() > size_ - offset) {
    throw FileError(
        fmt::format(
            "cannot read {}: bytes {} to {} were asked for, the file has {}; it is cut short, copy it again",
            in_quotes(path_), offset, offset + into.size(), size_),
        path_);
  }
  constexpr std::size_t kLargestRead = std::size_t{1} << 30;
  while (!into.empty()) {
    const ssize_t got =
        ::pread(descriptor_, into.data(), std::min(into.size(), kLargestRead), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw_system_error("read", path_, errno);
    if (got == 0) {
      throw FileError(
          fmt::format(
              "cannot read {}: it became shorter while it was read; try again when nothing writes to it",
              in_quotes(path_)),
          path_);
    }
    into = into.subspan(static_cast<std::size_t>(got));
    offset += static_cast<std::uint64_t>(got);
  }
}

std::vector<std::byte> read_file(const std::filesystem::path& path, std::uint64_t max_bytes) {
  const InputFile file(path);
  if (file.size() > max_bytes) {
    throw FileError(
        fmt::format("cannot read {}: it has {} bytes, the limit here is {}; check that it is the right file",
                    in_quotes(path), file.size(), max_bytes),
        path);
  }
  std::vector<std::byte> bytes(file.size());
  file.read(0, bytes);
  return bytes;
}

}  // namespace ddpmts
