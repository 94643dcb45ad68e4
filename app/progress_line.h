// The one line that long work shows, and the JSON lines that say the same to a program.
#pragma once

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

namespace ddpmts::app {

/// Rewrites one line on a terminal; where the output is no terminal, prints a line now and then.
class ProgressLine {
 public:
  ProgressLine();
  ~ProgressLine();
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  /// True when a new line is due (ten a second on a terminal, one every ten seconds elsewhere).
  bool due() const;
  void show(const std::string& text);
  /// Ends the line, so that other output starts on a fresh one.
  void finish();

 private:
  bool terminal_;
  bool open_ = false;
  double last_ = -1e9;
};

/// Appends one JSON object a line; throws FileError when the disk does not take it.
class JsonLines {
 public:
  JsonLines(const std::filesystem::path& path, bool append);
  void write(const nlohmann::ordered_json& record);

 private:
  std::filesystem::path path_;
  std::ofstream stream_;
};

/// "1:05", "2:13:09".
std::string clock_text(double seconds);
/// Seconds on a clock that only goes forward.
double now_seconds();

}  // namespace ddpmts::app
