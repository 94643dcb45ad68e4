// What the autotuner learnt, kept on disk between runs: which plan was fastest for a convolution on a GPU.
#pragma once

#include <filesystem>
#include <map>
#include <mutex>
#include <optional>
#include <string>

namespace ddpmts::cuda {

/// One JSON file: {"format": 1, "plans": {"<device> | cuDNN <version>": {"<convolution>": "<plan name>"}}}. A file that
/// cannot be read or understood is left out with a warning that names it, and replaced when something new is learnt.
/// Thread-safe. Two processes may learn at once: the last writer's entries stay, and nothing is ever half written.
class AutotuneStore {
 public:
  explicit AutotuneStore(std::filesystem::path file) : file_(std::move(file)) {}

  std::optional<std::string> find(const std::string& machine, const std::string& convolution);
  /// Remembers and writes. A file that cannot be written is a warning, once.
  void remember(const std::string& machine, const std::string& convolution, const std::string& plan);

  const std::filesystem::path& file() const { return file_; }

 private:
  using Plans = std::map<std::string, std::map<std::string, std::string>>;
  Plans read() const;
  void load_once();

  std::filesystem::path file_;
  std::mutex mutex_;
  bool loaded_ = false;
  bool warned_ = false;
  Plans plans_;
};

/// $XDG_CACHE_HOME/ddpmts/cudnn_plans.json, or ~/.cache/ddpmts/cudnn_plans.json.
std::filesystem::path autotune_file();

/// Key of a GPU and a library version: "NVIDIA H200 | cuDNN 9.19.0".
std::string machine_key(const std::string& device_name, std::size_t cudnn_version);

}  // namespace ddpmts::cuda
