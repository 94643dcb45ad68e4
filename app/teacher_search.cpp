#include "app/teacher_search.h"

#include <cstdlib>

#include "engine/files/torch_file.h"

namespace ddpmts::app {
namespace {

namespace fs = std::filesystem;

constexpr const char* kShippedName = "teacher.safetensors";

fs::path program_folder() { return fs::read_symlink("/proc/self/exe").parent_path(); }

}  // namespace

fs::path shipped_teacher() {
  const fs::path folder = program_folder();
  for (const fs::path& file : {folder / kShippedName, folder.parent_path() / "weights" / kShippedName}) {
    if (fs::exists(file)) return file;
  }
  return {};
}

std::string find_teacher(const std::string& wanted) {
  if (!wanted.empty()) return wanted;
  if (const char* variable = std::getenv("DDPMTS_TEACHER"); variable != nullptr && *variable != '\0')
    return variable;
  const fs::path shipped = shipped_teacher();
  if (shipped.empty()) {
    throw_error(
        "no teacher found: put the program's weights/{} beside the program, or name a ResNet-18 or ResNet-34 "
        "with --teacher FILE (weights/README.md says where to get one); `--teacher random` does without, and "
        "finds less",
        kShippedName);
  }
  return shipped.string();
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
