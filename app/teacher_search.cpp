#include "app/teacher_search.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <vector>

#include "engine/files/torch_file.h"

namespace ddpmts::app {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> weights_in(const fs::path& folder) {
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    if (it->path().extension() == ".safetensors") found.push_back(it->path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace

std::string find_teacher(const std::string& wanted) {
  if (!wanted.empty()) return wanted;
  if (const char* variable = std::getenv("DDPMTS_TEACHER"); variable != nullptr && *variable != '\0')
    return variable;
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  for (const fs::path& folder : {fs::path("weights"), program.parent_path() / "weights",
                                 program.parent_path().parent_path() / "weights"}) {
    const std::vector<fs::path> found = weights_in(folder);
    if (!found.empty()) return found.front().string();
  }
  throw_error(
      "no teacher found: put a ResNet-18 or ResNet-34 (torchvision names, safetensors) into weights/, or "
      "name it with "
      "--teacher FILE; "
      "weights/README.md says where to get one. `--teacher random` does without, and finds less");
}

SafetensorsFile open_teacher(const fs::path& path) {
  if (torch_form(InputFile(path)) != TorchForm::none) {
    throw FileError(
        fmt::format("{} is a file of PyTorch; convert it first: ddpmts convert {} -o {}", in_quotes(path),
                    in_quotes(path), in_quotes(fs::path(path).replace_extension(".safetensors"))),
        path);
  }
  return SafetensorsFile(path);
}

}  // namespace ddpmts::app
