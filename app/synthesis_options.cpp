#include "app/synthesis_options.h"

#include <utility>
#include <vector>

#include "app/weights_option.h"

namespace ddpmts::app {
namespace {

using Weights = std::vector<std::pair<const char*, float*>>;

Weights sources_of(SynthesisConfig& c) {
  return {{"self", &c.self_weight},
          {"texture", &c.texture_weight},
          {"folder", &c.folder_weight},
          {"diffusion", &c.diffusion_weight}};
}

Weights masks_of(SynthesisConfig& c) {
  return {{"perlin", &c.perlin_weight},
          {"blob", &c.blob_weight},
          {"stroke", &c.stroke_weight},
          {"rectangle", &c.rectangle_weight},
          {"smooth", &c.smooth_noise_weight}};
}

}  // namespace

void set_sources(SynthesisConfig& synthesis, const std::string& text) {
  set_weights("--source", sources_of(synthesis), text);
}

void set_masks(SynthesisConfig& synthesis, const std::string& text) {
  set_weights("--masks", masks_of(synthesis), text);
}

void set_flips(SynthesisConfig& synthesis, const std::string& text) {
  synthesis.flip_horizontal = text == "horizontal" || text == "both";
  synthesis.flip_vertical = text == "vertical" || text == "both";
}

std::string sources_text(const SynthesisConfig& synthesis) {
  SynthesisConfig copy = synthesis;
  return weights_text(sources_of(copy));
}

std::string masks_text(const SynthesisConfig& synthesis) {
  SynthesisConfig copy = synthesis;
  return weights_text(masks_of(copy));
}

}  // namespace ddpmts::app
