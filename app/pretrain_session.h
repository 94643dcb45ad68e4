// A teacher's training from nothing to file: made-up scenes, steps, checkpoints.
#pragma once

#include <nlohmann/json.hpp>

#include "app/training_session.h"
#include "models/pretrainer.h"

namespace ddpmts::app {

struct PretrainingRunConfig {
  std::int64_t steps = 0;  ///< 0: by minutes
  double minutes = 240;    ///< 0: by steps
  Precision precision = Precision::f32;
  PretrainingConfig training;
};

nlohmann::ordered_json to_json(const PretrainingRunConfig& config);
/// Reads what to_json wrote, and checks it. A missing key is a json::exception.
PretrainingRunConfig pretraining_config_from_json(const nlohmann::ordered_json& stored);

/// Throws Error saying which setting is out of its range.
void check(const PretrainingRunConfig& config);

/// What lies beside a teacher's file while it is trained.
struct TeacherFiles {
  std::filesystem::path teacher;

  std::filesystem::path with(const char* ending) const {
    std::filesystem::path path = teacher;
    return path += ending;
  }
  std::filesystem::path checkpoint() const { return with(".checkpoint"); }
  std::filesystem::path log() const { return with(".jsonl"); }
  std::filesystem::path pictures() const { return with(".png"); }
};

/// Trains a teacher. Writes the file itself with every checkpoint, so that it can be tried at any time; beside it the
/// checkpoint, a log, and a picture of some pairs of views. The file says how it was made: version, commit, command, steps.
/// Throws Error, FileError.
SessionEnd run_pretraining(PretrainingRunConfig config, const TeacherFiles& files,
                           const SessionOptions& options);

}  // namespace ddpmts::app
