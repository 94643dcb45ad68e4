// How defects are painted, as options of `paint`, and what they are painted with.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "app/diffusion_config.h"
#include "app/run_folder.h"
#include "app/synthesis_options.h"
#include "app/training_data.h"
#include "models/defect_painter.h"

namespace ddpmts::app {

/// Negative, and an empty s: the form's own value.
struct PaintOptions {
  std::string form = name_of(PaintConfig().form), masks = masks_text(PaintConfig().masks);
  std::uint64_t seed = 0;
  std::int64_t steps = -1, start = -1;
  double delta = -1;
  std::vector<double> s;
  bool foreground = false;
};

void add_paint_options(CLI::App& command, PaintOptions& options);

/// A run's diffusion model and the good pictures it was taught with.
struct PaintSource {
  DiffusionModel model;
  DiffusionRunConfig trained;
  TrainingData data;
};

/// `data_folder`: empty takes the one that the model was trained on. Throws FileError saying what to do when the run has no
/// diffusion model.
PaintSource open_paint_source(const RunFolder& run, const std::string& data_folder, Device device);

/// The form's numbers, with what the options change. Throws Error on unknown names.
PaintConfig paint_config(const PaintOptions& options, const PaintSource& source);

}  // namespace ddpmts::app
