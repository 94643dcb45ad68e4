#include "app/progress_line.h"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>

#include "engine/files/file_error.h"

namespace ddpmts::app {

ProgressLine::ProgressLine() : terminal_(isatty(STDERR_FILENO) != 0) {}
ProgressLine::~ProgressLine() { finish(); }

bool ProgressLine::due() const { return now_seconds() - last_ >= (terminal_ ? 0.1 : 10.0); }

void ProgressLine::show(const std::string& text) {
  last_ = now_seconds();
  if (terminal_) {
    std::fprintf(stderr, "\r\033[2K%s", text.c_str());
    std::fflush(stderr);
    open_ = true;
  } else {
    std::fprintf(stderr, "%s\n", text.c_str());
  }
}

void ProgressLine::finish() {
  if (open_) std::fputc('\n', stderr);
  open_ = false;
}

JsonLines::JsonLines(const std::filesystem::path& path, bool append)
    : path_(path), stream_(path, append ? std::ios::app : std::ios::trunc) {
  if (!stream_) throw_system_error("write", path_, errno);
}

void JsonLines::write(const nlohmann::ordered_json& record) {
  stream_ << record.dump() << '\n' << std::flush;
  if (!stream_) throw_system_error("write", path_, errno);
}

std::string clock_text(double seconds) {
  const auto total = static_cast<long>(seconds + 0.5);
  return total >= 3600 ? fmt::format("{}:{:02}:{:02}", total / 3600, total / 60 % 60, total % 60)
                       : fmt::format("{}:{:02}", total / 60, total % 60);
}

double now_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace ddpmts::app
