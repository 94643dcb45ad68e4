// Everything that decides how a run trains, as one structure that goes to JSON and back.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "models/detector_trainer.h"

namespace ddpmts::app {

struct RunConfig {
  std::string data, teacher;
  std::int64_t steps = 0;  ///< 0: by minutes
  double minutes = 10;     ///< 0: by steps
  std::string folder;      ///< pictures for the `folder` defect source; empty: none
  std::string bank;        ///< painted defects for the `diffusion` source; empty: none
  double held_out = 0.1;   ///< share of good pictures that only set calibration and threshold
  double false_alarm_rate = 0.01;
  DetectorConfig detector;
  DetectorTrainingConfig training;
  FeatureMemoryConfig memory;
};

nlohmann::ordered_json to_json(const RunConfig& config);
/// Reads what to_json wrote; a missing key is an error (json::exception), an unknown choice too (Error).
RunConfig run_config_from_json(const nlohmann::ordered_json& stored);

}  // namespace ddpmts::app
