// What lies where in a run: the folder that `train` makes and the other commands read.
#pragma once

#include <filesystem>

#include "models/model_file.h"

namespace ddpmts::app {

struct RunFolder {
  std::filesystem::path root;

  std::filesystem::path model() const { return root / "model.safetensors"; }
  std::filesystem::path checkpoint() const { return root / "checkpoint.safetensors"; }
  std::filesystem::path config() const { return root / "config.json"; }
  std::filesystem::path random_teacher() const { return root / "random_teacher.safetensors"; }
  std::filesystem::path log() const { return root / "training.jsonl"; }
  std::filesystem::path results() const { return root / "results.json"; }
  std::filesystem::path table() const { return root / "results.csv"; }
  std::filesystem::path report() const { return root / "report.html"; }
  /// Where a run that is being replaced keeps what it had, until the new model is there.
  std::filesystem::path previous() const { return root / "previous"; }

  std::filesystem::path diffusion_model() const { return root / "diffusion.safetensors"; }
  std::filesystem::path diffusion_checkpoint() const { return root / "diffusion_checkpoint.safetensors"; }
  std::filesystem::path diffusion_config() const { return root / "diffusion.json"; }
  std::filesystem::path diffusion_log() const { return root / "diffusion.jsonl"; }
  std::filesystem::path samples() const { return root / "samples"; }
  std::filesystem::path defect_bank() const { return root / "defects"; }
};

/// "cpu" or "cuda[:index]". Throws UsageError on anything else, DeviceError for a GPU that cannot be used.
Device parse_device(const std::string& text);

/// The model of a run folder, or a model file itself. Throws FileError saying what a run is when there is none.
Model open_model(const std::filesystem::path& run_or_file, const std::string& precision,
                 const std::string& device);

/// Makes the folder and its parents; throws FileError.
void make_folder(const std::filesystem::path& folder);

}  // namespace ddpmts::app
