// `ddpmts convert FILE -o OUT`: makes a teacher's file of a pretrained ResNet-18 or ResNet-34, as torchvision and timm publish
// them.
#include <cstdio>

#include "app/commands.h"
#include "engine/files/torch_file.h"
#include "models/model_file.h"
#include "models/resnet_teacher.h"

namespace ddpmts::app {
namespace {

namespace fs = std::filesystem;

struct ConvertOptions {
  std::string input, output, precision = "f32";
  bool overwrite = false;
};

struct OpenedFile {
  std::unique_ptr<TensorSource> tensors;
  std::string format;
};

OpenedFile open_tensors(const fs::path& path) {
  if (torch_form(InputFile(path)) == TorchForm::none) {
    return {std::make_unique<SafetensorsFile>(path), "safetensors"};
  }
  auto file = std::make_unique<TorchFile>(path);
  std::string format = fmt::format("PyTorch, {}", file->form_name());
  return {std::move(file), std::move(format)};
}

void require_free(const fs::path& output, const ConvertOptions& options) {
  std::error_code error;  // what cannot be looked at is reported when it is written
  if (fs::equivalent(options.input, output, error)) {
    throw_error("{} would be replaced by its own conversion; choose another -o", in_quotes(output));
  }
  if (!options.overwrite && fs::exists(output, error)) {
    throw_error("{} is already there; replace it with --overwrite, or choose another -o", in_quotes(output));
  }
}

void run_convert(const ConvertOptions& options) {
  const fs::path input = options.input, output = options.output;
  require_free(output, options);
  const OpenedFile file = open_tensors(input);
  const ResNetTeacher teacher(NamedTensors(*file.tensors, WeightOrder::oihw), DType::f32, Device{});
  const char* depth = name_of(teacher.depth());
  const bool folded = file.tensors->find("bn1.weight") == nullptr;
  std::printf("read   %s (%s): %zu tensors, a %s %s\n", in_quotes(input).c_str(), file.format.c_str(),
              file.tensors->tensors().size(), depth,
              folded ? "whose BatchNorms are folded already" : "with its BatchNorms");

  const DType type = options.precision == "bf16" ? DType::bf16 : DType::f32;
  const auto tensors = teacher.folded_tensors(type);
  write_tensors(output, tensors, {{"teacher", fmt::format("{} up to layer3, BatchNorm folded", depth)}});
  std::printf("wrote  %s: stem and layers 1 to 3, %zu convolutions with BatchNorm folded in, %s, %.1f MB\n",
              in_quotes(output).c_str(), tensors.size() / 2, name_of(type),
              static_cast<double>(fs::file_size(output)) / 1e6);
  std::printf("use    ddpmts train PICTURES -o RUN --teacher %s\n", in_quotes(output).c_str());
}

}  // namespace

void add_convert(CLI::App& app) {
  const auto options = std::make_shared<ConvertOptions>();
  CLI::App* command = app.add_subcommand(
      "convert",
      "Make a teacher of a pretrained ResNet-18 or ResNet-34 (torchvision, timm; safetensors or .pth).");
  command->add_option("file", options->input, "Weights with torchvision's names")->required();
  command->add_option("-o,--output", options->output, "Teacher's file, safetensors")->required();
  command
      ->add_option("--precision", options->precision, "Of the weights: f32, or bf16 (half the size, rounded)")
      ->check(CLI::IsMember({"f32", "bf16"}));
  command->add_flag("--overwrite", options->overwrite, "Replace a file that is there");
  command->callback([options] { run_convert(*options); });
}

}  // namespace ddpmts::app
