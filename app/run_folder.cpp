#include "app/run_folder.h"

#include <charconv>

namespace ddpmts::app {

Device parse_device(const std::string& text) {
  if (text == "cpu") return {};
  Device device{DeviceType::cuda, text == "cuda" ? 0 : -1};
  if (text.starts_with("cuda:")) {
    int index = -1;
    const char* end = text.data() + text.size();
    if (std::from_chars(text.data() + 5, end, index).ptr == end) device.index = index;
  }
  if (device.index < 0) throw_error("unknown device '{}': expected cpu, cuda or cuda:<index>", text);
  require_device(device);
  return device;
}

Model open_model(const std::filesystem::path& run_or_file, const std::string& precision,
                 const std::string& device) {
  std::filesystem::path file = run_or_file;
  if (std::filesystem::is_directory(run_or_file)) {
    const RunFolder run{run_or_file};
    file = run.model();
    if (!std::filesystem::exists(file)) {
      const bool unfinished = std::filesystem::exists(run.checkpoint());
      throw FileError(
          fmt::format("{} holds no finished model; {}", in_quotes(run_or_file),
                      unfinished ? "its training was interrupted: continue it with `ddpmts train DATA -o "
                                   "RUN --resume`"
                                 : "train one with `ddpmts train DATA -o RUN`"),
          run_or_file);
    }
  }
  return load_model(file, precision, parse_device(device));
}

void make_folder(const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) throw_system_error("make folder", folder, error.value());
}

}  // namespace ddpmts::app
