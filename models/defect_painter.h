// Paints defects on pictures of good parts with a diffusion model that has seen good parts only (arXiv 2604.19240 Sec. 3.1):
// a chain that is disturbed on purpose, put in place by a mask that is also the label.
//
// A chain works on a view of the picture (data/view.h). Where it started from that view, or kept what lies around the mask, its
// *change* is brought back to the picture, I_a = I + M·β·up(painted − view), so that sharpness that the view lacks is kept; a
// chain from pure noise knows nothing of the picture and is blended in, I_a = I + M·β·(up(painted) − I).
#pragma once

#include <string>
#include <vector>

#include "data/defect_recipe.h"
#include "models/diffusion_file.h"
#include "models/painted_defects.h"
#include "models/sampler.h"

namespace ddpmts {

/// How the chain is disturbed, and where it starts.
enum class PaintForm {
  h1,        ///< from noise; every variance times 1 + s, s in 0.1 … 0.2 (arXiv 2403.05897)
  constant,  ///< H1′: from noise; the same variance δ² more at every step (arXiv 2604.19240, read literally)
  h3,  ///< from the picture, diffused to a timestep t0 and back (arXiv 2108.01073), with a variance δ² more
  inpaint,  ///< from noise inside of the mask, the picture around it (arXiv 2201.09865), with H1's variance
};
const char* name_of(PaintForm form);
/// Throws Error on anything but "h1", "constant", "h3", "inpaint".
PaintForm parse_paint_form(const std::string& text);

struct PaintConfig {
  PaintForm form = PaintForm::h3;
  SamplerConfig sampler;           ///< of the form; its seed is the bank's
  SynthesisConfig masks;           ///< which masks: perlin_weight … smooth_noise_weight, and where they go
  FloatRange opacity{0.5f, 1.0f};  ///< β (arXiv 2403.05897)
  /// A painting that changes its mask's pixels by less than this many levels on average is painted again, up to `tries` times;
  /// the strongest stays.
  float least_change = 6.0f;
  int tries = 4;
  bool foreground_only = false;  ///< masks are cut to what differs from a plain ground (data/foreground.h)
  bool grey = false;             ///< changes are grey, for pictures without colour
  ViewScales views = ViewScales::detail;
};

/// A form with its usual numbers.
PaintConfig paint_config(PaintForm form);

class DefectPainter {
 public:
  /// good: u8 [count,side,side,3]. Keeps a reference to the model's network. Throws Error when the pictures are smaller than the
  /// network's, or the configuration makes no sense.
  DefectPainter(const DiffusionModel& model, Tensor good, const PaintConfig& config, DType type);

  /// Paintings first … first + count − 1 of the seed: painting j depends on (seed, j), the network and the pictures alone. On the host.
  PaintedDefects paint(std::uint64_t first, std::int64_t count) const;

 private:
  PaintedDefects attempt(const std::vector<std::uint64_t>& draws) const;
  Tensor draw_masks(const std::vector<std::uint64_t>& draws, PaintedDefects& painted) const;

  Tensor good_;
  PaintConfig config_;
  int size_, side_;
  std::vector<int> sides_;
  Sampler sampler_;
  Device device_;
};

}  // namespace ddpmts
