// What every training does around its steps: the clock, the progress line, the log, checkpoints, and ending when asked to.
#pragma once

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "models/training_plan.h"

namespace ddpmts::app {

struct TrainingLoop {
  std::int64_t pictures_per_step = 1;
  double checkpoint_minutes = 2;
  std::filesystem::path log;    ///< JSON lines
  std::int64_t log_every = 10;  ///< steps from one line of the log to the next; the last step has one
  bool append = false;          ///< to the log: the run is resumed

  /// One step at a progress in [0, 1) → its record for the log. Key `finite`: false when the step was skipped.
  std::function<nlohmann::ordered_json(double progress)> step;
  /// The part of a record that the progress line shows.
  std::function<std::string(const nlohmann::ordered_json&)> text;
  /// Writes a checkpoint; called every checkpoint_minutes, and at the end.
  std::function<void()> save;
  /// Peak bytes in use, for display.
  std::function<std::size_t()> peak_memory;

  /// True when the plan is done; false when the program was asked to end (app/interrupt.h).
  bool run(TrainingPlan& plan) const;
};

}  // namespace ddpmts::app
