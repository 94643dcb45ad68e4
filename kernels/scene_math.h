// Per-sample formulas of scene_views.h: fields, how a material blends them, how far inside a shape a place lies, light, and a
// view's blur. Bit-exact across devices and instruction sets, as perlin_math.h. The noise table is any type with NoiseTable's
// members: on a device its arrays are views of shared memory.
#pragma once

#include <math.h>

#include "kernels/scene_views.h"
#include "kernels/texture_math.h"
#include "kernels/triplet_math.h"

namespace ddpmts::kernels {

/// The four samples of a pixel, in pixels from its centre: a square turned so that no two share a row or column.
constexpr int kSceneTaps = 4;
DDPMTS_HD float scene_tap_x(int tap) {
  return tap == 0 ? -0.375f : tap == 1 ? 0.125f : tap == 2 ? 0.375f : -0.125f;
}
DDPMTS_HD float scene_tap_y(int tap) {
  return tap == 0 ? -0.125f : tap == 1 ? -0.375f : tap == 2 ? 0.125f : 0.375f;
}

DDPMTS_HD float fraction_of(float x) { return x - static_cast<float>(floor_to_int(x)); }
/// Smooth bump over one period: 0 at integers, 1 halfway.
DDPMTS_HD float bump(float x) {
  const float t = 2.0f * fraction_of(x) - 1.0f;
  return 1.0f - t * t;
}

/// A value in [0, 1) for a square of the integer lattice, without a period.
DDPMTS_HD float square_value(int column, int row) {
  std::uint32_t h =
      static_cast<std::uint32_t>(column) * 0x9E3779B1u ^ static_cast<std::uint32_t>(row) * 0x85EBCA77u;
  h = (h ^ (h >> 15)) * 0x2C1B3C6Du;
  h = (h ^ (h >> 12)) * 0x297A2D39u;
  return uniform01(h ^ (h >> 15));
}

template <class Table>
DDPMTS_HD float dots_at(const FieldRecipe& field, const Table& table, float u, float v) {
  const int column = floor_to_int(u);
  const int row = floor_to_int(v);
  float highest = 0.0f;
  DDPMTS_UNROLL(3)
  for (int dy = -1; dy <= 1; ++dy) {
    DDPMTS_UNROLL(3)
    for (int dx = -1; dx <= 1; ++dx) {
      const int at = noise_index(column + dx, row + dy);
      const float to_x = static_cast<float>(column + dx) + table.offset_x[at] - u;
      const float to_y = static_cast<float>(row + dy) + table.offset_y[at] - v;
      const float is_there = 0.5f + 0.5f * table.gradient_x[at] < field.p ? 1.0f : 0.0f;
      const float radius = field.q * (0.65f + 0.35f * table.gradient_y[at]);
      const float height = 1.0f - (to_x * to_x + to_y * to_y) / (radius * radius);
      highest = larger_of(highest, is_there * height);
    }
  }
  return highest;
}

template <class Table>
DDPMTS_HD float fibres_at(const FieldRecipe& field, const Table& table, float u, float v) {
  const int column = floor_to_int(u);
  const int row = floor_to_int(v);
  float highest = 0.0f;
  DDPMTS_UNROLL(3)
  for (int dy = -1; dy <= 1; ++dy) {
    DDPMTS_UNROLL(3)
    for (int dx = -1; dx <= 1; ++dx) {
      const int at = noise_index(column + dx, row + dy);
      const float to_x = static_cast<float>(column + dx) + table.offset_x[at] - u;
      const float to_y = static_cast<float>(row + dy) + table.offset_y[at] - v;
      const float along_x =
          1.0f + field.p * table.gradient_x[at];  // about as long as 1: strokes differ in width
      const float along_y = field.p * table.gradient_y[at];
      const float along = to_x * along_x + to_y * along_y;
      const float across = to_x * along_y - to_y * along_x;
      const float height = (1.0f - along * along) * (1.0f - field.q * absolute(across));
      const bool inside = (along * along < 1.0f) & (field.q * absolute(across) < 1.0f);
      highest = larger_of(highest, inside ? height : 0.0f);
    }
  }
  return highest;
}

template <class Table>
DDPMTS_HD float bricks_at(const FieldRecipe& field, const Table& table, float u, float v) {
  const int row = floor_to_int(v);
  const float along = u + field.p * static_cast<float>(row);
  const int column = floor_to_int(along);
  const float to_side = 0.5f - absolute(along - static_cast<float>(column) - 0.5f);
  const float to_row = 0.5f - absolute(v - static_cast<float>(row) - 0.5f);
  const float tone = 0.65f + 0.35f * table.gradient_x[noise_index(column, row)];
  return tone * clamp_to(smaller_of(to_side, to_row) / field.q - 0.5f, 0.0f, 1.0f);
}

DDPMTS_HD float weave_at(const FieldRecipe& field, float u, float v) {
  const int sum = floor_to_int(u) + floor_to_int(v);
  const bool over = field.q > 0.5f ? (sum & 3) < 2 : (sum & 1) == 0;
  const float warp_thread = bump(u) * (0.7f + 0.3f * bump(v));
  const float weft_thread = field.p * bump(v) * (0.7f + 0.3f * bump(u));
  return over ? warp_thread : weft_thread;
}

DDPMTS_HD float folds_at(const FieldRecipe& field, float u, float v) {
  float x = 0.5f * u, y = 0.5f * v;
  DDPMTS_UNROLL(5)
  for (int i = 0; i < 5; ++i) {
    const float folded_x = absolute(x) - field.p;
    const float folded_y = absolute(y) - field.q;
    x = 1.3f * (field.r * folded_x - field.s * folded_y);
    y = 1.3f * (field.s * folded_x + field.r * folded_y);
  }
  return triangle_wave(0.6f * sqrtf(x * x + y * y));
}

DDPMTS_HD float julia_at(const FieldRecipe& field, float u, float v) {
  float x = u, y = v;
  float to_zero = 4.0f, to_axes = 4.0f;
  DDPMTS_UNROLL(14)
  for (int i = 0; i < 14; ++i) {
    const float next_x = x * x - y * y + field.p;
    const float next_y = 2.0f * x * y + field.q;
    const bool bounded = next_x * next_x + next_y * next_y < 16.0f;  // what has left stays where it was
    x = bounded ? next_x : x;
    y = bounded ? next_y : y;
    to_zero = smaller_of(to_zero, x * x + y * y);
    to_axes = smaller_of(to_axes, smaller_of(absolute(x), absolute(y)));
  }
  return field.r > 0.5f ? 1.0f / (1.0f + 12.0f * to_axes) : 1.0f / (1.0f + 4.0f * to_zero);
}

/// The field before contrast at (u, v) in its own units.
template <FieldKind kKind, class Table>
DDPMTS_HD float raw_field(const FieldRecipe& field, const Table& table, float u, float v) {
  if constexpr (kKind == FieldKind::clouds) {
    return 0.5f + 0.9f * fractal_at(table, u, v, field.detail);
  } else if constexpr (kKind == FieldKind::ridges) {
    return 1.0f - 2.2f * absolute(fractal_at(table, u, v, field.detail));
  } else if constexpr (kKind == FieldKind::stripes) {
    return triangle_wave(u + field.q * noise_at(table, 0.7f * u, 0.3f * v));
  } else if constexpr (kKind == FieldKind::checks) {
    return 0.5f + 2.0f * (triangle_wave(u) - 0.5f) * (triangle_wave(v) - 0.5f);
  } else if constexpr (kKind == FieldKind::rings) {
    return triangle_wave(sqrtf(u * u + v * v));
  } else if constexpr (kKind == FieldKind::waves) {
    return 0.33333333f * (triangle_wave(u) + triangle_wave(field.p * u + field.q * v) +
                          triangle_wave(field.r * u + field.s * v));
  } else if constexpr (kKind == FieldKind::cells) {
    return sqrtf(nearest_two(table, u, v).first);
  } else if constexpr (kKind == FieldKind::borders) {
    const NearestTwo nearest = nearest_two(table, u, v);
    return 1.5f * (sqrtf(nearest.second) - sqrtf(nearest.first));
  } else if constexpr (kKind == FieldKind::patches) {
    return nearest_two(table, u, v).value;
  } else if constexpr (kKind == FieldKind::dots) {
    return dots_at(field, table, u, v);
  } else if constexpr (kKind == FieldKind::fibres) {
    return fibres_at(field, table, u, v);
  } else if constexpr (kKind == FieldKind::bricks) {
    return bricks_at(field, table, u, v);
  } else if constexpr (kKind == FieldKind::weave) {
    return weave_at(field, u, v);
  } else if constexpr (kKind == FieldKind::grain) {
    return square_value(floor_to_int(u), floor_to_int(v));
  } else if constexpr (kKind == FieldKind::folds) {
    return folds_at(field, u, v);
  } else {
    return julia_at(field, u, v);
  }
}

/// How far slow noise displaces a place (u, v) of the field along u and along v.
template <class Table>
DDPMTS_HD float warp_u(const FieldRecipe& field, const Table& table, float u, float v) {
  return field.warp * noise_at(table, 0.37f * u + 3.1f, 0.37f * v + 8.2f);
}
template <class Table>
DDPMTS_HD float warp_v(const FieldRecipe& field, const Table& table, float u, float v) {
  return field.warp * noise_at(table, 0.37f * u + 19.4f, 0.37f * v + 27.6f);
}

/// The field at (u, v) in its own units, in [0, 1].
template <FieldKind kKind, class Table>
DDPMTS_HD float field_at(const FieldRecipe& field, const Table& table, float u, float v) {
  return clamp_to((raw_field<kKind>(field, table, u, v) - field.middle) * field.sharpness + 0.5f, 0.0f, 1.0f);
}

/// Two fields' values as one.
template <FieldBlend kBlend>
DDPMTS_HD float blended(float a, float b) {
  if constexpr (kBlend == FieldBlend::first) {
    return a;
  } else if constexpr (kBlend == FieldBlend::mean) {
    return 0.5f * (a + b);
  } else if constexpr (kBlend == FieldBlend::product) {
    return a * b;
  } else if constexpr (kBlend == FieldBlend::larger) {
    return larger_of(a, b);
  } else if constexpr (kBlend == FieldBlend::smaller) {
    return smaller_of(a, b);
  } else if constexpr (kBlend == FieldBlend::difference) {
    return absolute(a - b);
  } else if constexpr (kBlend == FieldBlend::choice) {
    return 0.5f * b + (a > 0.5f ? 0.5f : 0.0f);
  } else {
    return b;
  }
}

/// Channel c of the palette at value in [0, 1].
DDPMTS_HD float palette_at(const MaterialRecipe& material, int c, float value) {
  const float at = 3.0f * value;
  const float low = lerp_to(material.colour[0][c], material.colour[1][c], at);
  const float middle = lerp_to(material.colour[1][c], material.colour[2][c], at - 1.0f);
  const float high = lerp_to(material.colour[2][c], material.colour[3][c], at - 2.0f);
  return at < 1.0f ? low : at < 2.0f ? middle : high;
}

/// cos(sides·angle of (u, v)), by multiplying unit complex numbers.
DDPMTS_HD float cosine_of_multiple(float u, float v, float radius, int sides) {
  const float unit_x = u / (radius + 1e-6f), unit_y = v / (radius + 1e-6f);
  float x = unit_x, y = unit_y;
  DDPMTS_UNROLL(7)
  for (int i = 2; i <= kMaxSides; ++i) {
    const float next_x = x * unit_x - y * unit_y;
    const float next_y = x * unit_y + y * unit_x;
    x = i <= sides ? next_x : x;
    y = i <= sides ? next_y : y;
  }
  return x;
}

/// How far inside the outline (u, v) lies, in the shape's units: 0 on it, negative outside.
template <ShapeKind kKind>
DDPMTS_HD float inside_shape(const ShapeRecipe& shape, float u, float v) {
  if constexpr (kKind == ShapeKind::ellipse) {
    return 1.0f - sqrtf(u * u + v * v);
  } else if constexpr (kKind == ShapeKind::box) {
    const float over_u = absolute(u) - (1.0f - shape.p);
    const float over_v = absolute(v) - (1.0f - shape.p);
    const float corner_u = larger_of(over_u, 0.0f), corner_v = larger_of(over_v, 0.0f);
    return shape.p - sqrtf(corner_u * corner_u + corner_v * corner_v) -
           smaller_of(larger_of(over_u, over_v), 0.0f);
  } else if constexpr (kKind == ShapeKind::polygon) {
    float farthest = -8.0f;
    DDPMTS_UNROLL(8)
    for (int k = 0; k < kMaxSides; ++k) {
      farthest = larger_of(farthest, shape.normal_x[k] * u + shape.normal_y[k] * v);
    }
    return 1.0f - farthest;
  } else if constexpr (kKind == ShapeKind::ring) {
    return shape.p - absolute(sqrtf(u * u + v * v) - (1.0f - shape.p));
  } else if constexpr (kKind == ShapeKind::band) {
    return 1.0f - absolute(v);
  } else if constexpr (kKind == ShapeKind::half_plane) {
    return v;
  } else if constexpr (kKind == ShapeKind::flower) {
    const float radius = sqrtf(u * u + v * v);
    return 1.0f - radius * (1.0f + shape.p * cosine_of_multiple(u, v, radius, shape.sides));
  } else {
    const float lying = smaller_of(1.0f - absolute(u), shape.p - absolute(v));
    const float standing = smaller_of(1.0f - absolute(v), shape.p - absolute(u));
    return larger_of(lying, standing);
  }
}

/// A leaf's own light at a place `inside` its outline.
DDPMTS_HD float light_on_shape(const ShapeRecipe& shape, float inside, float u, float v) {
  const float rim = clamp_to(1.0f - inside / shape.rim_width, 0.0f, 1.0f);
  return 1.0f + shape.rim * rim + shape.dome * smaller_of(inside, 1.0f) +
         shape.slope_u * clamp_to(u, -1.0f, 1.0f) + shape.slope_v * clamp_to(v, -1.0f, 1.0f);
}
/// The light that a leaf leaves to what lies below it, outside of its outline.
DDPMTS_HD float light_beside_shape(const ShapeRecipe& shape, float inside) {
  return 1.0f - shape.shadow * clamp_to(1.0f + inside / shape.shadow_width, 0.0f, 1.0f);
}

/// The light of the whole scene at a place.
DDPMTS_HD float scene_light(const SceneRecipe& scene, float x, float y) {
  const float to_x = x - scene.spot_x, to_y = y - scene.spot_y;
  const float near =
      larger_of(0.0f, 1.0f - (to_x * to_x + to_y * to_y) / (scene.spot_radius * scene.spot_radius));
  return larger_of(0.05f, 1.0f + scene.light_x * x + scene.light_y * y + scene.spot * near * near);
}

/// x − period·round(x/period); x itself without a period.
DDPMTS_HD float in_period(float x, float period) {
  const float length = period > 0.0f ? period : 1.0f;
  const float wrapped = x - length * static_cast<float>(floor_to_int(x / length + 0.5f));
  return period > 0.0f ? wrapped : x;
}

/// A view's blur: the weights of a pixel and of its neighbours 1 … kMaxSceneBlur on either side.
struct SceneBlur {
  float weight[kMaxSceneBlur + 1];
};
/// sigma in pixels, above 0, however small.
DDPMTS_HD SceneBlur scene_blur(float sigma) {
  SceneBlur blur;
  blur.weight[0] = 1.0f;
  float total = 1.0f;
  DDPMTS_UNROLL(4)
  for (int d = 1; d <= kMaxSceneBlur; ++d) {
    const float exponent = -0.72134752f * static_cast<float>(d * d) / (sigma * sigma);  // −d²/2σ² in octaves
    // exp2_of goes no further down than 2^−100, which beside 1 is nothing; a σ² that rounds to 0 gives −∞.
    blur.weight[d] = exp2_of(larger_of(exponent, -100.0f));
    total += 2.0f * blur.weight[d];
  }
  DDPMTS_UNROLL(5)
  for (int d = 0; d <= kMaxSceneBlur; ++d) blur.weight[d] /= total;
  return blur;
}

}  // namespace ddpmts::kernels
