#include "engine/cuda/autotune_store.h"

#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "engine/cuda/availability.h"
#include "engine/files/atomic_file.h"

namespace ddpmts::cuda {
namespace {

constexpr int kFormat = 1;
constexpr std::uintmax_t kLargestFile = std::uintmax_t{16}
                                        << 20;  // thousands of convolutions need less than one

void warn(const std::filesystem::path& file, const std::string& what) {
  std::fprintf(stderr, "%s: %s\n", file.c_str(), what.c_str());
}

}  // namespace

AutotuneStore::Plans AutotuneStore::read() const {
  std::error_code none;
  if (!std::filesystem::exists(file_, none)) return {};
  try {
    if (std::filesystem::file_size(file_) > kLargestFile) throw std::runtime_error("it is too large");
    std::ifstream stream(file_, std::ios::binary);
    std::stringstream text;
    text << stream.rdbuf();
    if (!stream) throw std::runtime_error("it cannot be read");
    const nlohmann::json json = nlohmann::json::parse(text.str());
    if (json.at("format").get<int>() != kFormat) throw std::runtime_error("it is of another format");
    return json.at("plans").get<Plans>();
  } catch (const std::exception& e) {
    warn(file_,
         fmt::format("what --autotune learnt before is not used ({}); it is measured again", e.what()));
    return {};
  }
}

void AutotuneStore::load_once() {
  if (!loaded_) plans_ = read();
  loaded_ = true;
}

std::optional<std::string> AutotuneStore::find(const std::string& machine, const std::string& convolution) {
  const std::lock_guard lock(mutex_);
  load_once();
  const auto plans = plans_.find(machine);
  if (plans == plans_.end()) return std::nullopt;
  const auto plan = plans->second.find(convolution);
  if (plan == plans->second.end()) return std::nullopt;
  return plan->second;
}

void AutotuneStore::remember(const std::string& machine, const std::string& convolution,
                             const std::string& plan) {
  const std::lock_guard lock(mutex_);
  load_once();
  plans_[machine][convolution] = plan;
  try {
    std::filesystem::create_directories(file_.parent_path());
    const nlohmann::json json{{"format", kFormat}, {"plans", plans_}};
    write_file_atomically(file_, json.dump(1) + "\n");
  } catch (const std::exception& e) {
    if (!warned_) warn(file_, fmt::format("what --autotune learns cannot be kept: {}", e.what()));
    warned_ = true;
  }
}

std::filesystem::path autotune_file() {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  if (cache != nullptr && cache[0] == '/')
    return std::filesystem::path(cache) / "ddpmts" / "cudnn_plans.json";
  const char* home = std::getenv("HOME");
  const std::filesystem::path base = home != nullptr && home[0] != '\0' ? home : ".";
  return base / ".cache" / "ddpmts" / "cudnn_plans.json";
}

std::string machine_key(const std::string& device_name, std::size_t cudnn_version) {
  return fmt::format("{} | cuDNN {}", device_name, cudnn_version_text(cudnn_version));
}

}  // namespace ddpmts::cuda
