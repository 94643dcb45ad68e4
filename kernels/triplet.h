// One call makes a batch of training triplets (arXiv 2604.19240 Sec. 3.1–3.2): a normal picture I, the same
// picture with a synthetic defect I_a, and the defect's mask M:   I_a = (1−M)·I + M·[(1−β)·I + β·A].
//   A is another place of a training picture (`self`), a procedural texture, or a picture of the user's
//   (`folder`), or the same place of a picture with a painted defect, whose mask is then M (`painted`).
// Layout: pictures NHWC u8 RGB; normal and defective NHWC f32 or bf16, (u8/255 − mean)/std, zero in padding
// channels;
//   mask [N, H, W] u8.
// Bytes moved: reads up to four taps of three bytes a pixel, writes 2·channels·size_of(type) + 1 a pixel;
// sources are
//   computed under the mask only.
// Variants: everything random is drawn beforehand into a TripletRecipe; what is left is a pure function of
// it, the
//   same to the last bit on every instruction set.
#pragma once

#include <type_traits>

#include "kernels/launch.h"
#include "kernels/perlin_mask.h"

namespace ddpmts::kernels {

/// What a picture shows beyond its border: mirrored (the edge pixel twice), the edge pixel, grey level 114
/// (the ancestor's fill, arXiv 2211.11317), or itself again.
enum class BorderRule : std::uint8_t { reflect, replicate, constant, wrap };
enum class SourceKind : std::uint8_t { self, texture, folder, painted };
enum class MaskKind : std::uint8_t { none, perlin, blob, stroke, rectangle, smooth_noise, painted };
enum class TextureKind : std::uint8_t { clouds, stripes, cells, patches, checks, colour_field, grain };

constexpr float kBorderLevel = 114.0f;
constexpr int kMaxCentres = 8;

/// From output pixel (x, y) to a place in pixels: (xx·x + xy·y + x0, yx·x + yy·y + y0); pixel centres at
/// integers. Places must stay within ±2^20.
struct Affine {
  float xx = 1.0f, xy = 0.0f, x0 = 0.0f;
  float yx = 0.0f, yy = 1.0f, y0 = 0.0f;
};

/// level'[c] = Σ_k mix[c][k]·level[k] + offset[c], in levels 0–255: recolour, contrast, invert, grey, swap
/// channels.
struct ColourMap {
  float mix[3][3] = {{1.0f, 0.0f, 0.0f}, {0.0f, 1.0f, 0.0f}, {0.0f, 0.0f, 1.0f}};
  float offset[3] = {0.0f, 0.0f, 0.0f};
};

/// A procedural texture: a scalar field in [0,1] through three colours.
struct TextureRecipe {
  TextureKind kind = TextureKind::clouds;
  Affine place;                ///< from pixels to the texture's own units (one cell, one stripe)
  float warp = 0.0f;           ///< units by which noise displaces the place
  float detail = 0.5f;         ///< weight of each finer octave against the one before, [0, 1]
  float sharpness = 1.0f;      ///< contrast about 1/2; large values give hard edges
  float channel_shift = 0.0f;  ///< colour_field: units between the fields of neighbouring channels
  float colour[3][3] = {};     ///< [at 0, 1/2, 1][channel], levels
  float keep = 0.0f;           ///< A = keep·I + colour: 1 lays the texture over the part, 0 replaces it
};

/// Where the defect goes; nothing but `kind` counts for a painted one. The centre is the one of a few candidates about which the normal picture varies most: with
/// more than one, defects land on the part rather than on a plain background. (u, v) are pixels from the centre, turned
/// by the angle.
struct MaskRecipe {
  MaskKind kind = MaskKind::none;
  PerlinConfig perlin;  ///< kind perlin: as kernels::perlin_mask. max_tries counts for smooth_noise as well
  int centres = 1;      ///< candidates, 1 to kMaxCentres
  float centre_x[kMaxCentres] = {}, centre_y[kMaxCentres] = {};  ///< pixels, in the picture
  float look_step = 2.0f;            ///< pixels between the 5×5 samples that are compared about a candidate
  float cosine = 1.0f, sine = 0.0f;  ///< of the angle
  /// blob: radii; stroke: half length, half width; rectangle: half sides; smooth_noise: sides of a noise cell. > 0.
  float radius_u = 8.0f, radius_v = 8.0f;
  float window_radius =
      0.0f;  ///< perlin, smooth_noise: pixels from the centre at which they fade out; 0: nowhere
  float frequency = 1.0f;    ///< blob and stroke: noise cells per radius_u
  float detail = 0.5f;       ///< weight of each finer octave, [0, 1]
  float roughness = 0.0f;    ///< blob: outline, in radii; stroke: share of the width that varies, [0, 1]
  float bend = 0.0f;         ///< stroke: pixels that the ends lie off the middle's tangent
  float wobble = 0.0f;       ///< stroke: pixels by which noise displaces the curve
  float threshold = 0.3f;    ///< smooth_noise: mask = noise > threshold, noise in [−1, 1]
  bool never_empty = true;   ///< an empty mask becomes a disc about the centre
  float disc_radius = 2.0f;  ///< pixels, ≥ 1
};

/// Everything that one triplet depends on. Plain data: it is copied to the device as it is.
struct TripletRecipe {
  std::uint64_t seed = 0,
                step = 0;  ///< Philox coordinates of lattices, textures and pixel noise; step = sample index
  std::int64_t picture = 0;  ///< the normal picture
  Affine affine;
  BorderRule border = BorderRule::reflect;
  float gain[3] = {1.0f, 1.0f, 1.0f};    ///< the part's lighting: in I, and under the defect
  float offset[3] = {0.0f, 0.0f, 0.0f};  ///< levels

  MaskRecipe mask;

  SourceKind source = SourceKind::self;
  std::int64_t source_picture =
      0;  ///< in pictures (self), folder_pictures (folder) or painted_pictures (painted)
  /// Where A comes from: the place itself, or (displaced) an affine about the mask's centre, after which `affine` leads
  /// to the picture: the part's own neighbourhood, bent.
  Affine source_affine;
  bool displaced = false;
  BorderRule source_border = BorderRule::wrap;
  float blur_step = 0.0f;  ///< A is the mean of 3×3 samples this many pixels apart; 0: one sample
  ColourMap colour;        ///< of pictures
  TextureRecipe texture;
  float noise_sigma = 0.0f;   ///< levels, added to A
  bool noise_is_grey = true;  ///< the same noise in all channels
  float opacity = 1.0f;       ///< β
  /// Levels; 0: off. The mask is cleared where no channel of I_a − I reaches it at any mask pixel of the 5×5 around.
  float min_visible_change = 0.0f;
};
static_assert(std::is_trivially_copyable_v<TripletRecipe>);

struct TripletArgs {
  DType type = DType::f32;  ///< of normal and defective: f32 or bf16
  std::int64_t n = 0, h = 0, w = 0;
  std::int64_t channels = 3;                       ///< of normal and defective, ≥ 3
  const std::uint8_t* pictures = nullptr;          ///< [count, h, w, 3]
  const std::uint8_t* folder_pictures = nullptr;   ///< [count2, h, w, 3]; null where no recipe says folder
  const std::uint8_t* painted_pictures = nullptr;  ///< [count3, h, w, 3]; null where no recipe says painted
  /// [count3, h, w], 0 or 1: read at the nearest pixel; 0 outside.
  const std::uint8_t* painted_masks = nullptr;
  /// [n], in memory of the launcher's device; picture indices must lie in the arrays above.
  const TripletRecipe* recipes = nullptr;
  void* normal = nullptr;                    ///< [n, h, w, channels] out
  void* defective = nullptr;                 ///< [n, h, w, channels] out
  std::uint8_t* mask = nullptr;              ///< [n, h, w] out, 0 or 1
  float mean[3] = {0.485f, 0.456f, 0.406f};  ///< ImageNet's, the teacher's
  float std[3] = {0.229f, 0.224f, 0.225f};
};

/// Throws std::invalid_argument for sizes or an element type that do not fit.
DDPMTS_KERNEL(triplet, TripletArgs)

}  // namespace ddpmts::kernels
