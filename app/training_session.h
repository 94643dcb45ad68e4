// A training run from folder to model: data, networks, steps, checkpoints, calibration, the model file.
#pragma once

#include "app/run_config.h"
#include "app/run_folder.h"

namespace ddpmts::app {

enum class SessionEnd { finished, interrupted };

struct SessionOptions {
  bool resume = false;     ///< go on from the run's checkpoint; `config` then comes from there
  bool overwrite = false;  ///< start over where a run already is
  double checkpoint_minutes = 2;
  std::int64_t log_every = 10;  ///< steps
  std::string device = "cpu";
};

/// Trains, showing one progress line and writing training.jsonl; ends with model.safetensors, or, when SIGINT or SIGTERM came,
/// with a checkpoint. Throws Error, FileError, DatasetError.
SessionEnd run_training(RunConfig config, const RunFolder& run, const SessionOptions& options);

}  // namespace ddpmts::app
