#include "engine/files/atomic_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <optional>
#include <utility>

namespace ddpmts {
namespace {

namespace fs = std::filesystem;

/// The file that will be replaced: what `path` points to when it is a symbolic link.
fs::path resolve_links(const fs::path& path) {
  std::error_code error;
  if (!fs::is_symlink(fs::symlink_status(path, error))) return path;
  fs::path resolved = fs::weakly_canonical(path, error);
  if (error) throw_system_error("write", path, error.value());
  return resolved;
}

/// Permissions of the file that will be replaced, if there is one.
std::optional<mode_t> permissions_of(const fs::path& target) {
  struct stat status {};
  if (::stat(target.c_str(), &status) < 0) {
    if (errno == ENOENT) return std::nullopt;
    throw_system_error("write", target, errno);
  }
  if (S_ISDIR(status.st_mode)) throw_system_error("write", target, EISDIR);
  if (!S_ISREG(status.st_mode)) {
    throw FileError(fmt::format("cannot write {}: it is a device, pipe or socket; give the name of a file",
                                in_quotes(target)),
                    target);
  }
  return status.st_mode & 07777;
}

void sync_folder(const fs::path& target) {
  const fs::path folder = target.has_parent_path() ? target.parent_path() : fs::path(".");
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  int failed = descriptor < 0 ? errno : 0;
  if (descriptor >= 0) {
    if (::fsync(descriptor) < 0) failed = errno;
    ::close(descriptor);
  }
  // Some network and user-space file systems cannot sync a folder and say so with EINVAL: there is nothing to
  // sync then.
  if (failed != 0 && failed != EINVAL) {
    throw FileError(fmt::format("{} is written, but its folder cannot be synced to disk: {}",
                                in_quotes(target), reason_and_remedy(failed)),
                    target, failed);
  }
}

}  // namespace

void write_fully(int descriptor, std::span<const std::byte> bytes, const fs::path& shown) {
  constexpr std::size_t kLargestWrite = std::size_t{1} << 30;
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor, bytes.data(), std::min(bytes.size(), kLargestWrite));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) throw_system_error("write", shown, errno);
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
}

AtomicFile::AtomicFile(fs::path target) : target_(resolve_links(target)) {
  static std::atomic<unsigned> next_number{0};
  const std::optional<mode_t> permissions = permissions_of(target_);
  // A process that was killed may have left a file of the same name: take the next number then.
  constexpr int kAttempts = 100;
  for (int attempt = 0; attempt < kAttempts && descriptor_ < 0; ++attempt) {
    temporary_ = target_;
    temporary_ += fmt::format(".tmp.{}.{}", ::getpid(), next_number.fetch_add(1));
    descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor_ < 0 && errno != EEXIST) throw_system_error("write", target_, errno);
  }
  if (descriptor_ < 0) throw_system_error("make a temporary file for", target_, EEXIST);
  if (permissions && ::fchmod(descriptor_, *permissions) < 0) {
    const int failed = errno;
    ::close(descriptor_);
    ::unlink(temporary_.c_str());
    throw_system_error("keep the permissions of", target_, failed);
  }
}

AtomicFile::~AtomicFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
  if (!temporary_.empty() && ::unlink(temporary_.c_str()) < 0) {
    fmt::print(stderr, "cannot remove the temporary file {}: {}\n", in_quotes(temporary_),
               reason_and_remedy(errno));
  }
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  write_fully(descriptor_, bytes, target_);
  written_ += bytes.size();
}

void AtomicFile::commit() {
  if (::fsync(descriptor_) < 0) throw_system_error("write", target_, errno);
  if (::close(std::exchange(descriptor_, -1)) < 0) throw_system_error("write", target_, errno);
  if (::rename(temporary_.c_str(), target_.c_str()) < 0) throw_system_error("write", target_, errno);
  temporary_.clear();
  sync_folder(target_);
}

void write_file_atomically(const fs::path& path, std::span<const std::byte> bytes) {
  AtomicFile file(path);
  file.write(bytes);
  file.commit();
}

void write_file_atomically(const fs::path& path, std::string_view text) {
  write_file_atomically(path, std::as_bytes(std::span(text.data(), text.size())));
}

}  // namespace ddpmts
