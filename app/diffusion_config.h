// Everything that decides how a run's diffusion model trains, as one structure that goes to JSON and back.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "data/view.h"
#include "models/detector.h"
#include "models/diffusion_trainer.h"

namespace ddpmts::app {

struct DiffusionRunConfig {
  std::string data;
  std::int64_t steps = 0;           ///< 0: by minutes
  double minutes = 20;              ///< 0: by steps
  std::int64_t picture_size = 256;  ///< pictures are loaded, and later painted, at this size
  double held_out = 0.1;            ///< share of good pictures that the model must not see, as the detector's
  UNetPreset preset = UNetPreset::xs;
  std::int64_t size = 64;  ///< side of what the network sees
  ViewScales views = ViewScales::detail;
  std::int64_t view_count = 4096;  ///< drawn once, with detail; whole shows every picture
  ScheduleKind schedule = ScheduleKind::linear;
  std::int64_t timesteps = 1000;
  Precision precision = Precision::f32;
  DiffusionTrainingConfig training = short_run();

  /// What a run of minutes does differently from the published hundreds of thousands of steps: a rate of 3e-4 that falls to a
  /// tenth, and velocities for prediction; a network of noise that young gives every picture a colour cast (docs/diffusion.md).
  static DiffusionTrainingConfig short_run();
};

nlohmann::ordered_json to_json(const DiffusionRunConfig& config);
/// Reads what to_json wrote; a missing key is an error (json::exception).
DiffusionRunConfig diffusion_config_from_json(const nlohmann::ordered_json& stored);

}  // namespace ddpmts::app
