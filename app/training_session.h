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
  /// Settings that the call names, for example "--steps --size": a resumed run says that it does not take them.
  std::string named;
};

/// Says on stderr that a resumed run does not take what the call names, if it names anything.
void note_settings_not_taken(const SessionOptions& options);

/// Trains, showing one progress line and writing training.jsonl; ends with model.safetensors, or, when SIGINT or SIGTERM came,
/// with a checkpoint. Everything is read and checked before anything is written; what a replaced run
/// had lies in its folder `previous` until the new model is there. Throws Error, FileError, DatasetError.
SessionEnd run_training(RunConfig config, const RunFolder& run, const SessionOptions& options);

}  // namespace ddpmts::app
