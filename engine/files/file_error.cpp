#include "engine/files/file_error.h"

#include <cctype>
#include <cerrno>
#include <system_error>

namespace ddpmts {
namespace {

std::string_view remedy(int error_number) {
  switch (error_number) {
    case ENOSPC:
    case EDQUOT:
      return "free some space there or choose another folder";
    case EFBIG:
      return "raise the limit on file sizes (ulimit -f) or choose another file system";
    case EROFS:
    case EACCES:
    case EPERM:
      return "change its permissions or choose another folder";
    case ENOENT:
      return "check the name, and create the folder first if it is missing";
    case ENOTDIR:
      return "a part of this path is a file, not a folder: check the name";
    case EISDIR:
      return "this is a folder: give the name of a file";
    case ENAMETOOLONG:
      return "use a shorter name";
    case ELOOP:
      return "the symbolic links go round in a circle: remove one";
    case EMFILE:
    case ENFILE:
      return "raise the limit on open files (ulimit -n)";
    case EIO:
      return "the disk or network share reports a fault: check it and try again";
    case ESTALE:
    case ENOTCONN:
      return "mount the network share again";
    default:
      return "check the file and its folder";
  }
}

}  // namespace

std::string in_quotes(std::string_view text) {
  constexpr std::size_t kLongest = 600;
  std::string out = "'";
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text.size() > kLongest && i == kLongest / 2) {
      out += "...";
      i = text.size() - kLongest / 2;
    }
    const auto c = static_cast<unsigned char>(text[i]);
    if (c < 0x20 || c == 0x7f) {
      out += fmt::format("\\x{:02x}", c);
    } else {
      out += text[i];
    }
  }
  return out + "'";
}

std::string in_quotes(const std::filesystem::path& path) {
  return in_quotes(std::string_view(path.native()));
}

std::string reason_and_remedy(int error_number) {
  std::string reason = std::generic_category().message(error_number);
  if (!reason.empty()) reason[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(reason[0])));
  return fmt::format("{}; {}", reason, remedy(error_number));
}

void throw_system_error(std::string_view action, const std::filesystem::path& path, int error_number) {
  throw FileError(fmt::format("cannot {} {}: {}", action, in_quotes(path), reason_and_remedy(error_number)),
                  path, error_number);
}

}  // namespace ddpmts
