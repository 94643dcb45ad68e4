// What is drawn for a training triplet: which normal picture, how it lies, where the synthetic defect goes and what it
// is made of. A recipe is a pure function of (configuration, seed, sample); kernels/triplet.h turns it into pixels.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "kernels/triplet.h"

namespace ddpmts {

struct FloatRange {
  float low = 0.0f, high = 1.0f;
};

/// How the normal picture is moved before anything is painted on it.
enum class Augmentation : std::uint8_t {
  none,
  small,    ///< ±5°, ±2 % shift and scale
  quarter,  ///< a multiple of 90°, then as small (arXiv 2211.11317)
  rotate,   ///< any angle, then as small: for parts that lie as they fall
};
const char* name_of(Augmentation augmentation);
/// The reverse of name_of. Throws Error for an unknown name.
Augmentation augmentation_named(std::string_view name);

/// Weights need not sum to 1; a weight of 0 switches its choice off. Lengths in "pixels of 256" grow with the picture's
/// shorter side. The weights are choices of this project, tuned by eye on parts of three kinds.
struct SynthesisConfig {
  /// Share of triplets without a defect: mask zero, both pictures equal.
  float no_defect_probability = 0.1f;
  /// All training pictures are grey. Defects are then grey as well: any colour would give them away.
  bool grey_pictures = false;

  // What defects are made of.
  float self_weight = 0.6f;             ///< training pictures
  float texture_weight = 0.4f;          ///< procedural textures
  float folder_weight = 0.0f;           ///< pictures of the user's
  float diffusion_weight = 0.0f;        ///< defects that a diffusion model painted, with masks of their own
  FloatRange self_opacity{0.2f, 1.0f};  ///< β, arXiv 2211.11317's code
  FloatRange texture_opacity{0.2f, 1.0f};
  FloatRange folder_opacity{0.2f, 1.0f};
  FloatRange diffusion_opacity{0.5f, 1.0f};

  // What `self` takes from training pictures.
  float elsewhere_weight = 0.5f;   ///< any place of any picture: turned, scaled, recoloured, inverted, noised
  float displaced_weight = 0.25f;  ///< the same place, shifted and turned a little: deformed parts
  float stained_weight = 0.15f;    ///< the same place, darker, brighter or tinted
  float smoothed_weight = 0.1f;    ///< the same place, blurred

  // Where defects go.
  float perlin_weight = 0.3f;        ///< thresholded Perlin noise over the whole picture (the papers')
  float blob_weight = 0.3f;          ///< one spot with a ragged outline, radius 3 to 73 pixels of 256
  float stroke_weight = 0.2f;        ///< a scratch or crack, 1 to 6 pixels of 256 wide
  float rectangle_weight = 0.1f;     ///< patches and thin scars (CutPaste, CVPR 2021)
  float smooth_noise_weight = 0.1f;  ///< thresholded slow noise: large stains
  kernels::PerlinConfig perlin{0, 5, 0.5f, 90.0f, 20};
  bool never_empty = true;
  /// How often a defect's centre is the busiest of eight places, so that it lies on the part, not beside it. Displaced
  /// and smoothed ones always do: on a plain ground they would not show.
  float on_part_probability = 0.6f;
  /// How often Perlin and smooth noise are confined to one spot, radius 16 to 90 pixels of 256.
  float window_probability = 0.5f;

  /// Clear the mask where nothing around changed by `unchanged_below` levels (triplet.h). Off: the label is the mask,
  /// as in the papers.
  bool relabel_unchanged = false;
  float unchanged_below = 8.0f;

  // The normal picture.
  Augmentation augmentation = Augmentation::small;
  bool flip_horizontal = false, flip_vertical = false;
  kernels::BorderRule border = kernels::BorderRule::replicate;
  /// Lighting: common gain 1 ± this, each channel's own gain ± a quarter of it, offset ± 255·this/4 levels.
  float lighting = 0.04f;
};

/// Throws Error if a weight, range or probability makes no sense, a source has weight and no pictures, or a painted defect's base
/// is no training picture. painted_bases: for each painted defect the training picture that it was painted on.
void check(const SynthesisConfig& config, std::int64_t picture_count, std::int64_t folder_count,
           std::span<const std::int64_t> painted_bases = {});

/// Position `position` of epoch `epoch`'s order: a bijection on [0, count), by a four-round Feistel network on the
/// next even number of bits and cycle walking (Black, Rogaway, "Ciphers with arbitrary finite domains", 2002).
std::int64_t shuffled_index(std::uint64_t seed, std::uint64_t epoch, std::int64_t position,
                            std::int64_t count);

/// The recipe of sample `sample` for h×w pictures. Samples e·picture_count … (e+1)·picture_count − 1 are epoch e and
/// show every picture once, but where a painted defect brings its own. The same arguments give the same bits on every machine.
/// Throws as check().
kernels::TripletRecipe draw_recipe(const SynthesisConfig& config, std::uint64_t seed, std::uint64_t sample,
                                   std::int64_t picture_count, std::int64_t folder_count, std::int64_t h,
                                   std::int64_t w, std::span<const std::int64_t> painted_bases = {});

}  // namespace ddpmts
