// Draws views of made-up scenes, from which a teacher learns without any picture from outside: surfaces of layered
// textures under overlapping shapes, in the manner of dead leaves (Lee, Mumford, Huang, IJCV 2001), with fractals among the
// textures (formula-driven pretraining: arXiv 2101.08515; random drawing programs: arXiv 2211.16412). What is drawn is this
// project's own.
// Layout: pictures NHWC u8 RGB.
// Bytes moved: writes 3 a pixel; reads recipes alone. Time goes into arithmetic: four samples a pixel.
// Variants: none; everything random is drawn beforehand into recipes, and what is left is a pure function of them, the same
//   to the last bit on every instruction set.
#pragma once

#include <stdexcept>

#include "kernels/triplet.h"

namespace ddpmts::kernels {

constexpr int kMaxMaterials = 6;
constexpr int kMaxShapes = 24;
constexpr int kMaxSides = 8;
constexpr int kPaletteColours = 4;
constexpr int kMaxSceneBlur = 4;  ///< pixels that a blur reaches

/// The scalar fields that textures are made of, about [0, 1] each, over (u, v) in the field's own units: one cell, one stripe.
enum class FieldKind : std::uint8_t {
  clouds,   ///< three octaves of gradient noise
  ridges,   ///< their zero lines
  stripes,  ///< along v, uneven by q
  checks,
  rings,    ///< about the field's origin
  waves,    ///< three plane waves: u, (p, q), (r, s)
  cells,    ///< distance to scattered points
  borders,  ///< between the nearest point's region and the next
  patches,  ///< one value a region
  dots,     ///< in a share p of all cells, of radii up to q
  fibres,   ///< short strokes, one a cell, p: how much their directions differ, q: how thin
  bricks,   ///< rows moved by p against each other, joints of width q
  weave,    ///< p: tone of what goes below; q > 1/2: twill
  grain,    ///< one value a square
  folds,    ///< the plane folded about (p, q) and turned by (r, s), five times: fractals with mirrors in them
  julia,    ///< z² + (p, q) from (u, v): nearest approach to 0 (r ≤ 1/2) or to the axes
};
constexpr int kFieldKinds = 16;

struct FieldRecipe {
  FieldKind kind = FieldKind::clouds;
  Affine place;                        ///< from the scene to the field's units
  float warp = 0.0f;                   ///< units by which slow noise displaces the place
  float detail = 0.5f;                 ///< clouds, ridges: weight of each finer octave, [0, 1]
  float p = 0, q = 0, r = 0, s = 0;    ///< as the kind says
  float middle = 0.5f, sharpness = 1;  ///< value = clamp((raw − middle)·sharpness + 1/2)
};

/// How the two fields a, b of a material become one value.
enum class FieldBlend : std::uint8_t {
  first,  ///< a
  mean,
  product,
  larger,
  smaller,
  difference,  ///< |a − b|
  choice,      ///< b in the upper half of the colours where a > 1/2, in the lower half elsewhere
  push,        ///< b at a place that a displaces
};
constexpr int kFieldBlends = 8;

struct MaterialRecipe {
  FieldRecipe field[2];
  FieldBlend blend = FieldBlend::first;
  float push = 0.0f;                   ///< units of field 1
  float colour[kPaletteColours][3]{};  ///< at 0, 1/3, 2/3, 1; levels
  float relief = 0.0f;  ///< light gained per value that the surface rises towards the light; 0: flat
  float relief_x = 0,
        relief_y = 0;  ///< scene units: towards the light, about as long as the surface's features
};

enum class ShapeKind : std::uint8_t { ellipse, box, polygon, ring, band, half_plane, flower, cross };
constexpr int kShapeKinds = 8;

/// One leaf. Its units: the outline lies where |(u, v)| is about 1.
struct ShapeRecipe {
  ShapeKind kind = ShapeKind::ellipse;
  std::int32_t material = 0;
  std::int32_t sides = 3;  ///< flower: petals, 2 to kMaxSides
  Affine place;            ///< from the scene to the shape's units
  float p = 0.3f;          ///< box: corner radius; ring: half width; flower: depth; cross: half width
  float
      normal_x[kMaxSides]{};  ///< polygon: inside where every normal·(u, v) < 1; sides not needed repeat one
  float normal_y[kMaxSides]{};
  float ragged = 0.0f;  ///< units by which noise moves the outline
  float ragged_frequency = 4.0f;
  float shift_x = 0, shift_y = 0;   ///< scene units: every leaf is cut from another part of its material
  float gain[3] = {1, 1, 1};        ///< of the material's colours
  float rim = 0, rim_width = 0.1f;  ///< light gained at the outline, fading inwards
  float dome = 0;                   ///< light gained per unit inwards
  float slope_u = 0, slope_v = 0;   ///< light gained per unit along u and v
  float shadow = 0,
        shadow_width = 0.1f;  ///< share of light taken from what lies below, at the outline, fading outwards
};

/// A scene about the origin, of half-side about 1. Plain data: it is copied to the device as it is.
struct SceneRecipe {
  std::uint64_t seed = 0, step = 0;  ///< Philox coordinates of its noise table
  std::int32_t shapes = 0;           ///< used, topmost first
  ShapeRecipe shape[kMaxShapes];
  MaterialRecipe material[kMaxMaterials];  ///< 0: the ground
  float period_x = 0, period_y = 0;        ///< shapes repeat at this distance; 0: they do not
  float wobble = 0, wobble_frequency = 1;  ///< scene units by which slow noise displaces everything
  float light_x = 0, light_y = 0;          ///< light gained per scene unit
  float spot = 0, spot_x = 0, spot_y = 0, spot_radius = 1;  ///< light gained about a place
};
static_assert(std::is_trivially_copyable_v<SceneRecipe>);

/// One look at a scene.
struct SceneViewRecipe {
  std::int32_t scene = 0;  ///< which of the scenes
  Affine place;            ///< from pixels, centres at integers, to the scene
  float blur = 0.0f;       ///< standard deviation in pixels, 0 to kMaxSceneBlur/2
  ColourMap colour;
  float light_x = 0, light_y = 0;  ///< light gained per pixel from the picture's centre
  float noise_sigma = 0.0f;        ///< levels
  std::uint32_t noise_step = 0;    ///< the scene's step and this key the noise
  bool noise_is_grey = true;       ///< the same noise in all channels
};
static_assert(std::is_trivially_copyable_v<SceneViewRecipe>);

struct SceneViewsArgs {
  std::int64_t n = 0, h = 0, w = 0;
  std::int64_t scene_count = 0;
  const SceneRecipe* scenes = nullptr;     ///< [scene_count], in memory of the launcher's device
  const SceneViewRecipe* views = nullptr;  ///< [n], likewise
  std::uint8_t* pictures = nullptr;        ///< [n, h, w, 3] out
};

/// Throws std::invalid_argument for sizes that do not fit: what every launcher does first.
inline __attribute__((always_inline)) void check(const SceneViewsArgs& args) {
  if (args.n < 0 || args.h < 1 || args.w < 1 || args.h > 4096 || args.w > 4096) {
    throw std::invalid_argument("scene_views: height and width must lie in 1..4096");
  }
}

/// The CPU also throws std::invalid_argument for counts, indices and blurs in the recipes, which a CUDA launcher cannot read:
/// there they must fit. Beside the pictures, the CPU takes four arrays of one picture's size a thread, CUDA three a picture, f32.
DDPMTS_KERNEL(scene_views, SceneViewsArgs)

}  // namespace ddpmts::kernels
