// A diffusion model's training from folder to file: views of good pictures, steps, checkpoints, sample grids.
#pragma once

#include "app/diffusion_config.h"
#include "app/run_folder.h"
#include "app/training_session.h"

namespace ddpmts::app {

/// Trains the run's diffusion model; writes diffusion.json, diffusion.jsonl, samples/<step>.png with every checkpoint, and at
/// the end diffusion.safetensors, or, when SIGINT or SIGTERM came, a checkpoint without samples. Throws Error, FileError, DatasetError.
SessionEnd run_diffusion_training(DiffusionRunConfig config, const RunFolder& run,
                                  const SessionOptions& options);

}  // namespace ddpmts::app
