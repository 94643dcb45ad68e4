// The options that say what defects are made of, where they go, and how good pictures are turned.
#pragma once

#include <string>

#include "data/defect_recipe.h"

namespace ddpmts::app {

/// "self=0.6,texture=0.4", "diffusion": weights of the defect sources; as set_weights.
/// Throws UsageError naming the sources that there are.
void set_sources(SynthesisConfig& synthesis, const std::string& text);
/// The same for the masks' kinds: "perlin", "perlin=0.5,stroke=0.5".
void set_masks(SynthesisConfig& synthesis, const std::string& text);
inline constexpr const char* kMasksHelp =
    "Weights of the masks' kinds: perlin, blob, stroke, rectangle, smooth";
/// "none", "horizontal", "vertical", "both".
void set_flips(SynthesisConfig& synthesis, const std::string& text);

/// What set_sources and set_masks would set the weights from; kinds of weight 0 are left out.
std::string sources_text(const SynthesisConfig& synthesis);
std::string masks_text(const SynthesisConfig& synthesis);

}  // namespace ddpmts::app
