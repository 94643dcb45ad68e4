// Finds defects with a diffusion model alone: no teacher, no synthetic defects.
//
// score (arXiv 2211.16092): a defect lies where the learned density of good parts is low, and there the predicted noise is
// wrong. The residual of the prediction, r = ε − ε_θ(√ᾱ_t·x + √(1−ᾱ_t)·ε, t), which is the score up to a factor (and for a network
// of velocities v − v_θ, another factor), is looked at
// for a handful of noise scales t, several draws of ε each: all (view, scale, draw) of a picture are one batch.
// reconstruct: the picture is diffused to a timestep and denoised (DDIM); what does not come back as it was is a defect.
//
// A model of small views (data/view.h) looks at every place through views of every side that it learned; each side and scale
// counts in units of what good pictures show there.
#pragma once

#include <string>
#include <vector>

#include "data/view.h"
#include "models/diffusion_file.h"
#include "models/sampler.h"

namespace ddpmts {

enum class DiffusionDetectorKind { score, reconstruct };
const char* name_of(DiffusionDetectorKind kind);
/// Throws Error on anything but "score", "reconstruct".
DiffusionDetectorKind parse_diffusion_detector_kind(const std::string& text);

struct DiffusionDetectorConfig {
  DiffusionDetectorKind kind = DiffusionDetectorKind::score;
  std::vector<std::int32_t> timesteps = {5, 10, 25, 50, 100, 200};  ///< score: the noise scales
  std::int64_t draws = 2;                                           ///< score: of ε per view and scale
  std::int64_t start_timestep = 250;                                ///< reconstruct
  std::int64_t steps = 20;                                          ///< reconstruct: of a whole DDIM chain
  ViewScales views = ViewScales::detail;
  float blur = 4.0f;         ///< σ of the Gaussian over the map, pixels of 256
  std::int64_t top_k = 328;  ///< pixels whose mean is the picture's score
  std::uint64_t seed = 0;
};

class DiffusionDetector {
 public:
  /// For square pictures of `side` pixels. Keeps a reference to the model. Throws Error when the configuration makes no sense.
  DiffusionDetector(const DiffusionModel& model, std::int64_t side, const DiffusionDetectorConfig& config,
                    DType type);

  /// Sets the units: what each view side and noise scale shows on average on good pictures [N,side,side,3] u8.
  void calibrate(const Tensor& good);

  struct Result {
    Tensor anomaly;             ///< [N,side,side] f32, about 1 on good parts, higher is more defective
    std::vector<float> scores;  ///< mean of the top_k pixels
  };
  /// pictures [N,side,side,3] u8. A picture's result depends on no other picture.
  Result inspect(const Tensor& pictures) const;

  std::int64_t side() const { return side_; }

 private:
  /// Raw maps of one picture: [channel][side·side], one channel a (view side, noise scale).
  std::vector<std::vector<float>> maps_of(const std::uint8_t* picture) const;
  /// Residuals of views u8 [V,size,size,3]: [scale][V·size·size].
  std::vector<std::vector<float>> residuals(const Tensor& views, std::uint64_t first_view) const;
  std::int64_t scales() const;

  const DiffusionModel& model_;
  DiffusionDetectorConfig config_;
  DType type_;
  std::int64_t side_;
  int size_;
  std::vector<int> sides_;
  DiffusionTables tables_;
  std::vector<double> units_;  // one a channel
};

}  // namespace ddpmts
