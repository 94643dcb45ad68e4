// A run's diffusion model as an inspector, its threshold set by good pictures that it has not seen.
#pragma once

#include <memory>

#include "app/inspect_samples.h"
#include "app/paint_options.h"
#include "models/diffusion_detector.h"

namespace ddpmts::app {

struct DiffusionInspectorOptions {
  std::vector<std::int32_t> timesteps = DiffusionDetectorConfig().timesteps;
  std::int64_t draws = DiffusionDetectorConfig().draws;
  std::int64_t start_timestep = DiffusionDetectorConfig().start_timestep;
};

class DiffusionInspector {
 public:
  /// Loads the model and the good pictures that were held out when it was taught, at most 24 of them, and sets units and
  /// threshold by these. Throws FileError when the run has no diffusion model.
  DiffusionInspector(const RunFolder& run, DiffusionDetectorKind kind,
                     const DiffusionInspectorOptions& options, const std::string& precision,
                     const std::string& device);

  /// Refers to this.
  Inspector inspector() const;

 private:
  PaintSource source_;
  DiffusionDetectorKind kind_;
  std::unique_ptr<DiffusionDetector> detector_;
  eval::Calibration threshold_;
};

}  // namespace ddpmts::app
