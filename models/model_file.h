// A trained detector in one safetensors file: weights (teacher included), configuration, preprocessing, map calibration,
// decision threshold, and a few probe pictures with the scores they had when the file was written.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "engine/files/safetensors.h"
#include "eval/threshold.h"
#include "models/detector.h"

namespace ddpmts {

struct Model {
  std::unique_ptr<Detector> detector;
  eval::Calibration threshold;
  std::string run_configuration;    ///< JSON: how it was trained, as `ddpmts info` shows it
  Tensor probe_pictures;            ///< [P,size,size,3] u8, on the CPU; may be empty
  std::vector<float> probe_scores;  ///< raw scores that these had at training
};

/// Writes atomically. Throws FileError.
void save_model(const std::filesystem::path& path, const Model& model);

/// Throws FileError, SafetensorsError or Error naming what the file lacks. `precision`: "auto" takes what the model was
/// trained with where the device has it in hardware, else f32.
Model load_model(const std::filesystem::path& path, const std::string& precision, Device device);

/// Inspects the probe pictures again: the largest difference of their scores, on the scale from 0 to 1, from the stored
/// ones. 0 without probes; infinity when one cannot be scored.
double probe_deviation(const Model& model);

/// Tensors that keep their bytes alive while a safetensors file is written from them.
void write_tensors(const std::filesystem::path& path,
                   const std::vector<std::pair<std::string, Tensor>>& tensors, const Metadata& metadata);

}  // namespace ddpmts
