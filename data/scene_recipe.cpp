#include "data/scene_recipe.h"

#include <algorithm>
#include <cmath>

#include "data/draws.h"

namespace ddpmts {
namespace {

using kernels::Affine;
using kernels::FieldBlend;
using kernels::FieldKind;
using kernels::FieldRecipe;
using kernels::MaterialRecipe;
using kernels::Philox;
using kernels::RandomStream;
using kernels::SceneRecipe;
using kernels::SceneViewRecipe;
using kernels::ShapeKind;
using kernels::ShapeRecipe;

/// First blocks of what is drawn; each material has its own.
enum class Part : std::uint32_t {
  plan = 0,
  place = 64,
  looks = 128,
  layout = 256,
  light = 2048,
  views = 3072,
  colours = 4096,
  fields = 8192,
  flaws = 16384
};
constexpr std::uint32_t kBlocksPerMaterial = 64;

/// Steps of the stream: those of a scene's own draws and those that its family shares.
constexpr std::uint64_t kFamilySteps = std::uint64_t{1} << 62;

Draws draws_for(const Philox& random, Part part, int material = 0) {
  return {random,
          static_cast<std::uint32_t>(part) + kBlocksPerMaterial * static_cast<std::uint32_t>(material)};
}

/// (x, y) → turned by −turns, stretched: unit lengths are 1/scale_x and 1/scale_y.
Affine turned(float turns, float scale_x, float scale_y, float x0, float y0) {
  float sine, cosine;
  kernels::sincos_turns(turns, sine, cosine);
  return {cosine * scale_x, sine * scale_x, x0, -sine * scale_y, cosine * scale_y, y0};
}

// ---- materials ----

FieldRecipe draw_field(Draws& draws) {
  FieldRecipe field;
  field.kind = static_cast<FieldKind>(draws.index(kernels::kFieldKinds));
  float octaves = draws.between(0.5f, 4.5f);  // cells a scene unit
  // What needs room to show its form is drawn larger.
  if (field.kind == FieldKind::folds || field.kind == FieldKind::julia) octaves = 0.4f * octaves;
  if (field.kind == FieldKind::fibres || field.kind == FieldKind::dots || field.kind == FieldKind::weave)
    octaves = std::min(octaves, 4.0f);
  const float scale = kernels::exp2_of(octaves);
  const bool is_long = draws.chance(0.35f);
  const float stretch = draws.power_of_two(0.0f, 2.5f);
  const bool is_straight = draws.chance(0.4f);
  const float any_turn = draws.between(0.0f, 1.0f);
  const float turns = is_straight ? 0.25f * std::floor(4.0f * any_turn) : any_turn;
  const float x0 = draws.around(6.0f), y0 = draws.around(6.0f);
  const bool centred =
      field.kind == FieldKind::rings || field.kind == FieldKind::folds || field.kind == FieldKind::julia;
  field.place = turned(turns, is_long ? scale / stretch : scale, scale, centred ? 0.2f * x0 : x0,
                       centred ? 0.2f * y0 : y0);
  const bool is_warped = draws.chance(0.35f);
  const float warp = draws.power_of_two(-3.0f, 1.3f);
  field.warp = is_warped ? warp : 0.0f;
  field.detail = draws.between(0.2f, 0.95f);
  const float a = draws.between(0.0f, 1.0f), b = draws.between(0.0f, 1.0f), c = draws.between(0.0f, 1.0f),
              d = draws.between(0.0f, 1.0f);
  float sine, cosine;
  kernels::sincos_turns(a, sine, cosine);
  switch (field.kind) {
    case FieldKind::stripes:
      field.q = b < 0.5f ? 0.0f : 0.8f * c;
      break;
    case FieldKind::waves:
      field.p = (0.6f + b) * cosine;
      field.q = (0.6f + b) * sine;
      kernels::sincos_turns(c, sine, cosine);
      field.r = (0.4f + 1.4f * d) * cosine;
      field.s = (0.4f + 1.4f * d) * sine;
      break;
    case FieldKind::dots:
      field.p = 0.15f + 0.85f * b;
      field.q = 0.25f + 0.6f * c;
      break;
    case FieldKind::fibres:
      field.p = 1.2f * b;
      field.q = 1.5f + 8.0f * c * c;
      break;
    case FieldKind::bricks:
      field.p = b < 0.3f ? 0.0f : b < 0.7f ? 0.5f : b;
      field.q = 0.03f + 0.15f * c * c;
      break;
    case FieldKind::weave:
      field.p = 0.35f + 0.65f * b;
      field.q = c;
      break;
    case FieldKind::folds:
      field.p = 0.2f + 0.6f * b;
      field.q = 0.1f + 0.6f * c;
      kernels::sincos_turns(d, field.s, field.r);
      break;
    case FieldKind::julia: {
      // On a circle around the main cardioid's, where sets are neither full discs nor dust.
      const float radius = 0.65f + 0.25f * b;
      field.p = radius * cosine - 0.1f;
      field.q = radius * sine;
      field.r = c;
      break;
    }
    default:
      break;
  }
  const bool is_hard = draws.chance(0.3f);
  const float sharpness = draws.power_of_two(-0.3f, 1.3f);
  const float hardness = draws.power_of_two(2.0f, 4.0f);
  field.sharpness = is_hard ? hardness : sharpness;
  field.middle = draws.between(0.3f, 0.7f);
  return field;
}

void draw_fields(Draws draws, MaterialRecipe& material) {
  material.blend = static_cast<FieldBlend>(draws.index(kernels::kFieldBlends));
  if (draws.chance(0.2f)) material.blend = FieldBlend::first;
  material.push = draws.sign() * draws.power_of_two(-2.0f, 1.5f);
  for (FieldRecipe& field : material.field) field = draw_field(draws);
  const bool has_relief = draws.chance(0.35f);
  const float relief = draws.power_of_two(-0.5f, 2.0f);
  material.relief = has_relief ? relief : 0.0f;
  float sine, cosine;
  kernels::sincos_turns(draws.between(0.0f, 1.0f), sine, cosine);
  const float reach = draws.power_of_two(-6.0f, -4.0f);
  material.relief_x = reach * cosine;
  material.relief_y = reach * sine;
}

/// Grey, one hue, or any colours; from faint to full contrast.
void draw_palette(Draws draws, MaterialRecipe& material) {
  const float base = draws.between(45.0f, 210.0f);
  const float contrast = draws.power_of_two(4.0f, 7.3f);
  const int scheme = draws.pick({0.3f, 0.4f, 0.3f});
  const float hue = draws.between(0.0f, 1.0f);
  const float saturation = draws.between(0.05f, 0.7f);
  const bool is_ramp = draws.chance(0.5f);
  const float sign = draws.sign();
  for (int k = 0; k < kernels::kPaletteColours; ++k) {
    const float step = is_ramp ? sign * (static_cast<float>(k) - 1.5f) / 1.5f : draws.around(1.0f);
    const float level = base + contrast * (0.8f * step + draws.around(0.2f));
    const float turn = scheme == 2 ? draws.between(0.0f, 1.0f) : hue + draws.around(0.06f);
    for (int c = 0; c < 3; ++c) {
      float sine, cosine;
      kernels::sincos_turns(turn + static_cast<float>(c) / 3.0f, sine, cosine);
      const float chroma = scheme == 0 ? 0.04f : saturation;
      material.colour[k][c] = std::clamp(level * (1.0f + chroma * cosine), 0.0f, 255.0f);
    }
  }
}

// ---- shapes ----

void draw_polygon(Draws& draws, ShapeRecipe& shape) {
  const auto sides = static_cast<int>(3 + draws.index(6));
  const bool is_regular = draws.chance(0.5f);
  for (int k = 0; k < kernels::kMaxSides; ++k) {
    const float off = draws.around(0.3f), far = draws.between(0.7f, 1.2f);
    if (k >= sides) {
      shape.normal_x[k] = shape.normal_x[0];
      shape.normal_y[k] = shape.normal_y[0];
      continue;
    }
    float sine, cosine;
    const float turn = (static_cast<float>(k) + (is_regular ? 0.0f : off)) / static_cast<float>(sides);
    kernels::sincos_turns(turn, sine, cosine);
    const float distance = is_regular ? 0.85f : far;
    shape.normal_x[k] = cosine / distance;
    shape.normal_y[k] = sine / distance;
  }
}

struct Layout {
  int count = 0;
  float largest = -0.15f, smallest = -3.3f;  ///< radii, octaves of a scene unit
  bool concentric = false;
  bool alike = false;  ///< all of one kind, size and direction
  bool straight = false;
};

ShapeRecipe draw_shape(Draws& draws, const Layout& layout, int number, const ShapeRecipe* model) {
  ShapeRecipe shape;
  shape.kind = static_cast<ShapeKind>(draws.pick({0.22f, 0.2f, 0.2f, 0.1f, 0.08f, 0.05f, 0.1f, 0.05f}));
  shape.material = static_cast<std::int32_t>(1 + draws.index(kernels::kMaxMaterials - 1));
  shape.sides = static_cast<std::int32_t>(2 + draws.index(7));
  float radius = draws.power_of_two(layout.smallest, layout.largest);
  if (layout.concentric) {
    radius = 0.9f * static_cast<float>(number + 1) / static_cast<float>(layout.count) + draws.around(0.05f);
    radius = std::max(radius, 0.05f);
  }
  const bool is_long = draws.chance(0.4f);
  const float stretch = draws.power_of_two(0.0f, 2.0f);
  const float any_turn = draws.between(0.0f, 1.0f);
  const float turns = layout.straight ? 0.25f * std::floor(4.0f * any_turn) : any_turn;
  const float at_x = layout.concentric ? 0.0f : draws.around(1.2f);
  const float at_y = layout.concentric ? 0.0f : draws.around(1.2f);
  const float height = shape.kind == ShapeKind::band ? 0.3f * radius : is_long ? radius / stretch : radius;
  shape.place = turned(turns, 1.0f / radius, 1.0f / height, 0.0f, 0.0f);
  shape.p = draws.between(0.03f, 0.6f);
  if (shape.kind == ShapeKind::ring) shape.p = 0.05f + 0.5f * shape.p;
  draw_polygon(draws, shape);
  if (layout.alike && model != nullptr) {
    const ShapeRecipe own = shape;
    shape = *model;
    shape.material = own.material;
  }
  shape.place.x0 = -(shape.place.xx * at_x + shape.place.xy * at_y);
  shape.place.y0 = -(shape.place.yx * at_x + shape.place.yy * at_y);
  const bool is_ragged = draws.chance(0.25f);
  const float ragged = draws.power_of_two(-4.5f, -1.3f);
  shape.ragged = is_ragged ? ragged : 0.0f;
  shape.ragged_frequency = draws.power_of_two(0.0f, 3.0f);
  shape.shift_x = draws.around(4.0f);
  shape.shift_y = draws.around(4.0f);
  const float gain = draws.between(0.6f, 1.4f);
  for (float& channel : shape.gain) channel = gain * draws.between(0.85f, 1.15f);
  const bool has_rim = draws.chance(0.4f);
  const float rim = draws.around(0.8f);
  shape.rim = has_rim ? rim : 0.0f;
  shape.rim_width = draws.power_of_two(-4.5f, -1.5f);
  const bool has_dome = draws.chance(0.35f);
  const float dome = draws.around(0.7f);
  shape.dome = has_dome ? dome : 0.0f;
  const bool has_slope = draws.chance(0.35f);
  const float slope_u = draws.around(0.45f), slope_v = draws.around(0.45f);
  shape.slope_u = has_slope ? slope_u : 0.0f;
  shape.slope_v = has_slope ? slope_v : 0.0f;
  const bool has_shadow = draws.chance(0.4f);
  const float shadow = draws.between(0.1f, 0.7f);
  shape.shadow = has_shadow ? shadow : 0.0f;
  shape.shadow_width = draws.power_of_two(-4.0f, -0.8f);
  return shape;
}

void draw_layout(Draws draws, int least_shapes, SceneRecipe& scene) {
  Layout layout;
  const int crowd = draws.pick({0.25f, 0.27f, 0.28f, 0.2f});
  constexpr int kLow[] = {0, 1, 4, 11}, kHigh[] = {0, 3, 10, kernels::kMaxShapes};
  layout.count = kLow[crowd] + static_cast<int>(draws.index(kHigh[crowd] - kLow[crowd] + 1));
  layout.count = std::max(layout.count, least_shapes);
  layout.largest = crowd == 3 ? -1.1f : -0.15f;
  layout.smallest = crowd == 3 ? -4.0f : -3.3f;
  layout.concentric = draws.chance(0.12f) && layout.count <= 8;
  layout.alike = draws.chance(0.15f);
  layout.straight = draws.chance(0.35f);
  scene.shapes = layout.count;
  for (int k = 0; k < layout.count; ++k) {
    scene.shape[k] = draw_shape(draws, layout, k, k > 0 ? &scene.shape[0] : nullptr);
  }
  const bool repeats = draws.chance(0.15f) && layout.count <= 6;
  const float period_x = draws.between(0.3f, 0.9f), period_y = draws.between(0.3f, 0.9f);
  scene.period_x = repeats ? period_x : 0.0f;
  scene.period_y = repeats ? period_y : 0.0f;
  if (repeats) {
    // A grid of a few small shapes about its knots.
    for (int k = 0; k < layout.count; ++k) {
      Affine& place = scene.shape[k].place;
      for (float* scale : {&place.xx, &place.xy, &place.yx, &place.yy}) *scale *= 2.0f;
      place.x0 *= 0.5f;
      place.y0 *= 0.5f;
    }
  }
}

void draw_light(Draws draws, SceneRecipe& scene) {
  const bool wobbles = draws.chance(0.3f);
  const float wobble = draws.power_of_two(-5.0f, -2.0f);
  scene.wobble = wobbles ? wobble : 0.0f;
  scene.wobble_frequency = draws.power_of_two(-0.5f, 1.8f);
  const bool is_uneven = draws.chance(0.5f);
  const float light_x = draws.around(0.4f), light_y = draws.around(0.4f);
  scene.light_x = is_uneven ? light_x : 0.0f;
  scene.light_y = is_uneven ? light_y : 0.0f;
  const bool has_spot = draws.chance(0.25f);
  const float spot = draws.between(-0.4f, 0.6f);
  scene.spot = has_spot ? spot : 0.0f;
  scene.spot_x = draws.around(1.0f);
  scene.spot_y = draws.around(1.0f);
  scene.spot_radius = draws.between(0.3f, 1.5f);
}

// ---- views ----

/// Contrast and brightness, a little of hue and saturation; some views are grey.
void draw_colour(Draws& draws, kernels::ColourMap& map) {
  const float contrast = draws.power_of_two(-0.6f, 0.5f);
  const float brightness = draws.around(20.0f);
  const bool is_grey = draws.chance(0.15f);
  const float any_saturation = draws.between(0.3f, 1.4f);
  const float saturation = is_grey ? 0.0f : any_saturation;
  const float swing = draws.around(0.06f);
  float sine, cosine;
  kernels::sincos_turns(swing, sine, cosine);
  // A turn of the colour circle about the grey axis (Rodrigues), then less or more of what differs from grey.
  const float third = (1.0f - cosine) / 3.0f, root = sine * 0.57735027f;
  const float turn[3][3] = {{cosine + third, third - root, third + root},
                            {third + root, cosine + third, third - root},
                            {third - root, third + root, cosine + third}};
  constexpr float kGrey[3] = {0.299f, 0.587f, 0.114f};
  for (int c = 0; c < 3; ++c) {
    const float gain = contrast * (is_grey ? 1.0f : 1.0f + draws.around(0.12f));
    for (int k = 0; k < 3; ++k) {
      map.mix[c][k] = gain * (saturation * turn[c][k] + (1.0f - saturation) * kGrey[k]);
    }
    map.offset[c] = 127.5f * (1.0f - contrast) + brightness;
  }
}

SceneViewRecipe draw_view(Draws& draws, float width, float centre_x, float centre_y, float turns,
                          std::int64_t size) {
  SceneViewRecipe view;
  const auto side = static_cast<float>(size);
  const float scale = width / side, middle = 0.5f * (side - 1.0f);
  const float aspect = draws.power_of_two(-0.15f, 0.15f);
  float sine, cosine;
  kernels::sincos_turns(turns, sine, cosine);
  Affine& a = view.place;
  a.xx = cosine * scale * aspect;
  a.xy = -sine * scale / aspect;
  a.yx = sine * scale * aspect;
  a.yy = cosine * scale / aspect;
  a.x0 = centre_x - (a.xx + a.xy) * middle;
  a.y0 = centre_y - (a.yx + a.yy) * middle;
  draw_colour(draws, view.colour);
  const bool is_blurred = draws.chance(0.4f);
  const float blur = draws.between(0.3f, 1.3f);
  view.blur = is_blurred ? blur : 0.0f;
  const bool is_uneven = draws.chance(0.4f);
  const float light_x = draws.around(0.5f) / side, light_y = draws.around(0.5f) / side;
  view.light_x = is_uneven ? light_x : 0.0f;
  view.light_y = is_uneven ? light_y : 0.0f;
  const bool is_noisy = draws.chance(0.6f);
  const float sigma = draws.power_of_two(0.0f, 3.3f);
  view.noise_sigma = is_noisy ? sigma : 0.0f;
  view.noise_is_grey = draws.chance(0.5f);
  return view;
}

/// What a family shares beside the light.
enum class Kinship { nothing, colours, shapes_too, textures_too, all_but_flaws };

Kinship kinship_of(const Philox& family) {
  return static_cast<Kinship>(draws_for(family, Part::plan).pick({0.12f, 0.32f, 0.16f, 0.2f, 0.2f}));
}

Philox family_of(std::uint64_t seed, std::uint64_t index) {
  return {seed, RandomStream::scene, kFamilySteps + index / kSceneFamily};
}

/// Where a view looks: the middle and the width of what it shows.
struct Look {
  float x, y, width, turns;
};

/// A family that differs by flaws alone looks at one place, lest the place gives them away.
std::array<Look, 2> draw_looks(std::uint64_t seed, std::uint64_t index) {
  const Philox family = family_of(seed, index), own{seed, RandomStream::scene, index};
  Draws place = draws_for(kinship_of(family) == Kinship::all_but_flaws ? family : own, Part::place);
  Draws draws = draws_for(own, Part::looks);
  Look first;
  first.width = place.power_of_two(-0.9f, 0.9f);
  first.x = place.around(0.6f);
  first.y = place.around(0.6f);
  first.turns = place.around(0.04f);
  Look second = first;
  second.width *= draws.power_of_two(-0.8f, 0.8f);
  const float reach = 0.3f * std::max(first.width, second.width);
  second.x += draws.around(reach);
  second.y += draws.around(reach);
  second.turns += draws.around(0.04f);
  return {first, second};
}

/// One or two small shapes on top of everything, where both views see them.
void draw_flaws(Draws draws, const std::array<Look, 2>& looks, SceneRecipe& scene) {
  const bool first_is_small = looks[0].width < looks[1].width;
  const Look &small = looks[first_is_small ? 0 : 1], &large = looks[first_is_small ? 1 : 0];
  const int count = draws.chance(0.4f) ? 2 : 1;
  scene.period_x = scene.period_y = 0.0f;
  scene.shapes = std::min(scene.shapes + count, kernels::kMaxShapes);
  for (int k = scene.shapes - 1; k >= count; --k) scene.shape[k] = scene.shape[k - count];
  for (int k = 0; k < count; ++k) {
    Layout layout;
    layout.smallest = -4.5f;
    layout.largest = -2.5f;
    ShapeRecipe shape = draw_shape(draws, layout, k, nullptr);
    if (shape.kind == ShapeKind::half_plane || shape.kind == ShapeKind::band) shape.kind = ShapeKind::ellipse;
    if (draws.chance(0.4f)) shape.material = 0;  // a stain, or a patch cut from elsewhere
    const float x = kernels::lerp_to(small.x, large.x, 0.4f) + draws.around(0.2f * small.width);
    const float y = kernels::lerp_to(small.y, large.y, 0.4f) + draws.around(0.2f * small.width);
    Affine& place = shape.place;
    for (float* scale : {&place.xx, &place.xy, &place.yx, &place.yy}) *scale /= small.width;
    place.x0 = -(place.xx * x + place.xy * y);
    place.y0 = -(place.yx * x + place.yy * y);
    scene.shape[k] = shape;
  }
}

}  // namespace

SceneRecipe draw_scene(std::uint64_t seed, std::uint64_t index) {
  const Philox own{seed, RandomStream::scene, index}, family = family_of(seed, index);
  const Kinship kinship = kinship_of(family);
  const bool all = kinship == Kinship::all_but_flaws;
  const Philox& shapes = all || kinship == Kinship::shapes_too ? family : own;
  const Philox& textures = all || kinship == Kinship::textures_too ? family : own;
  const Philox& colours = kinship == Kinship::nothing ? own : family;
  SceneRecipe scene;
  scene.seed = seed;
  scene.step = all ? index - index % kSceneFamily : index;
  draw_light(draws_for(family, Part::light), scene);
  draw_layout(draws_for(shapes, Part::layout), kinship == Kinship::textures_too ? 3 : 0, scene);
  for (int m = 0; m < kernels::kMaxMaterials; ++m) {
    draw_fields(draws_for(textures, Part::fields, m), scene.material[m]);
    draw_palette(draws_for(colours, Part::colours, m), scene.material[m]);
  }
  if (all) draw_flaws(draws_for(own, Part::flaws), draw_looks(seed, index), scene);
  return scene;
}

std::array<SceneViewRecipe, 2> draw_scene_views(std::uint64_t seed, std::uint64_t index, std::int64_t size) {
  Draws draws = draws_for(Philox{seed, RandomStream::scene, index}, Part::views);
  const std::array<Look, 2> looks = draw_looks(seed, index);
  std::array<SceneViewRecipe, 2> views;
  for (std::uint32_t k = 0; k < 2; ++k) {
    const Look& look = looks[k];
    views[k] = draw_view(draws, look.width, look.x, look.y, look.turns, size);
    views[k].noise_step = 2 * static_cast<std::uint32_t>(index % kSceneFamily) + k;
  }
  return views;
}

}  // namespace ddpmts
