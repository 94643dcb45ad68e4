// Per-pixel formulas of triplet.h: where a pixel comes from, whether it lies in the mask, pixel noise; and
// 2^x for the code that draws recipes. Bit-exact across devices and instruction sets, as perlin_math.h.
#pragma once

#include <math.h>

#include "kernels/perlin_math.h"
#include "kernels/texture_math.h"
#include "kernels/triplet.h"

namespace ddpmts::kernels {

/// First Philox block of a mask's noise table in the perlin stream, past any lattice attempt; kNoisePoints an
/// attempt.
constexpr std::uint32_t kMaskTableBlocks = 1u << 24;

/// 2^x for |x| ≤ 100, relative error below 3e-7: Taylor to degree 7 on ±1/2, then the exponent by its bits.
DDPMTS_HD float exp2_of(float x) {
  const int whole = floor_to_int(x + 0.5f);
  const float t = (x - static_cast<float>(whole)) * 0.693147181f;
  const float power =
      1.0f +
      t * (1.0f + t * (0.5f + t * (1.66666667e-1f +
                                   t * (4.16666667e-2f +
                                        t * (8.33333333e-3f + t * (1.38888889e-3f + t * 1.98412698e-4f))))));
  const std::uint32_t bits = static_cast<std::uint32_t>(whole + 127) << 23;
  float scale;
  __builtin_memcpy(&scale, &bits, 4);
  return power * scale;
}

/// i modulo n in [0, n), |i| < 2^21, without an integer division (which has no vector form).
DDPMTS_HD int wrap_index(int i, int n) {
  const int r = i - n * floor_to_int(static_cast<float>(i) / static_cast<float>(n));
  const int not_negative = r < 0 ? r + n : r;
  return not_negative >= n ? not_negative - n : not_negative;
}

/// The index that stands in for i beyond [0, n); −1: the border's own level.
template <BorderRule kBorder>
DDPMTS_HD int border_index(int i, int n) {
  if constexpr (kBorder == BorderRule::reflect) {
    const int r = wrap_index(i, 2 * n);
    return r < n ? r : 2 * n - 1 - r;
  } else if constexpr (kBorder == BorderRule::replicate) {
    const int at_least = i < 0 ? 0 : i;
    return at_least < n ? at_least : n - 1;
  } else if constexpr (kBorder == BorderRule::wrap) {
    return wrap_index(i, n);
  } else {
    return (i < 0) | (i >= n) ? -1 : i;
  }
}

/// Four taps of a bilinear sample: byte offsets in a [h, w, 3] picture (−1: border level) and the two
/// weights.
struct Taps {
  int offset00, offset10, offset01, offset11;
  float weight_x, weight_y;
};

template <BorderRule kBorder>
DDPMTS_HD Taps taps_at(const Affine& affine, float x, float y, int h, int w) {
  const float from_x = affine.xx * x + affine.xy * y + affine.x0;
  const float from_y = affine.yx * x + affine.yy * y + affine.y0;
  const int column = floor_to_int(from_x);
  const int row = floor_to_int(from_y);
  const int x0 = border_index<kBorder>(column, w), x1 = border_index<kBorder>(column + 1, w);
  const int y0 = border_index<kBorder>(row, h), y1 = border_index<kBorder>(row + 1, h);
  Taps taps;
  // A negative index makes the OR negative; no other offset is.
  taps.offset00 = (x0 | y0) < 0 ? -1 : 3 * (y0 * w + x0);
  taps.offset10 = (x1 | y0) < 0 ? -1 : 3 * (y0 * w + x1);
  taps.offset01 = (x0 | y1) < 0 ? -1 : 3 * (y1 * w + x0);
  taps.offset11 = (x1 | y1) < 0 ? -1 : 3 * (y1 * w + x1);
  taps.weight_x = from_x - static_cast<float>(column);
  taps.weight_y = from_y - static_cast<float>(row);
  return taps;
}

/// What a window takes off the noise (dx, dy) pixels from its centre: nothing inside, 1 at twice the radius.
DDPMTS_HD float window_penalty(const MaskRecipe& mask, float dx, float dy) {
  const bool open = mask.window_radius <= 0.0f;
  const float beyond = sqrtf(dx * dx + dy * dy) / (open ? 1.0f : mask.window_radius) - 1.0f;
  return open | (beyond < 0.0f) ? 0.0f : beyond;
}

/// Positive inside the mask, (dx, dy) pixels from its centre; for all kinds but none and perlin.
template <MaskKind kKind, class Table>
DDPMTS_HD float mask_value(const MaskRecipe& mask, const Table& table, float dx, float dy) {
  const float u = (mask.cosine * dx + mask.sine * dy) / mask.radius_u;
  const float along_v = mask.cosine * dy - mask.sine * dx;
  if constexpr (kKind == MaskKind::blob) {
    const float v = along_v / mask.radius_v;
    const float noise = fractal_at(table, u * mask.frequency, v * mask.frequency, mask.detail);
    return 1.0f - sqrtf(u * u + v * v) + mask.roughness * noise;
  } else if constexpr (kKind == MaskKind::stroke) {
    // A band about v = bend·u² + wobble·noise(u); the distance across it is the vertical one times the
    // slope's cosine.
    const float at = clamp_to(u, -1.0f, 1.0f);
    const float curve = mask.bend * at * at + mask.wobble * noise_at(table, at * mask.frequency, 0.5f);
    const float slope = 2.0f * mask.bend * at / mask.radius_u;
    const float across = absolute(along_v - curve) / sqrtf(1.0f + slope * slope);
    const float share = 1.0f - mask.roughness * (0.5f + 0.5f * noise_at(table, at * mask.frequency, 9.5f));
    const float taper = 1.0f - at * at * at * at * mask.roughness;
    const float half_width = mask.radius_v * share * taper;
    return absolute(u) > 1.0f ? -1.0f : (half_width < 0.5f ? 0.5f : half_width) - across;
  } else if constexpr (kKind == MaskKind::rectangle) {
    const float inside_u = 1.0f - absolute(u);
    const float inside_v = 1.0f - absolute(along_v) / mask.radius_v;
    return inside_u < inside_v ? inside_u : inside_v;
  } else {
    return fractal_at(table, u, along_v / mask.radius_v, mask.detail) - mask.threshold -
           window_penalty(mask, dx, dy);
  }
}

/// A painted defect's mask [h, w] at the pixel nearest to where output pixel (x, y) comes from; 0 beyond the border.
DDPMTS_HD std::uint8_t painted_mask_at(const std::uint8_t* mask, const Affine& affine, float x, float y,
                                       int h, int w) {
  const int column = floor_to_int(affine.xx * x + affine.xy * y + affine.x0 + 0.5f);
  const int row = floor_to_int(affine.yx * x + affine.yy * y + affine.y0 + 0.5f);
  const bool inside = (column >= 0) & (column < w) & (row >= 0) & (row < h);
  return inside && mask[row * w + column] != 0 ? 1 : 0;
}

/// Where A is taken from; null for a texture.
DDPMTS_HD const std::uint8_t* source_picture_of(const TripletArgs& args, const TripletRecipe& recipe) {
  const std::int64_t offset = recipe.source_picture * args.h * args.w * 3;
  switch (recipe.source) {
    case SourceKind::self:
      return args.pictures + offset;
    case SourceKind::folder:
      return args.folder_pictures + offset;
    case SourceKind::painted:
      return args.painted_pictures + offset;
    case SourceKind::texture:
      break;
  }
  return nullptr;
}

/// outer(inner(x, y))
DDPMTS_HD Affine compose(const Affine& outer, const Affine& inner) {
  Affine a;
  a.xx = outer.xx * inner.xx + outer.xy * inner.yx;
  a.xy = outer.xx * inner.xy + outer.xy * inner.yy;
  a.x0 = outer.xx * inner.x0 + outer.xy * inner.y0 + outer.x0;
  a.yx = outer.yx * inner.xx + outer.yy * inner.yx;
  a.yy = outer.yx * inner.xy + outer.yy * inner.yy;
  a.y0 = outer.yx * inner.x0 + outer.yy * inner.y0 + outer.y0;
  return a;
}

/// From output pixel to source picture, once the mask's centre is known.
DDPMTS_HD Affine source_affine_about(const TripletRecipe& recipe, float centre_x, float centre_y) {
  if (!recipe.displaced) return recipe.source_affine;
  const Affine to_centre{1.0f, 0.0f, -centre_x, 0.0f, 1.0f, -centre_y};
  const Affine back{1.0f, 0.0f, centre_x, 0.0f, 1.0f, centre_y};
  return compose(recipe.affine, compose(back, compose(recipe.source_affine, to_centre)));
}

/// Roughly Gaussian, mean 0, variance 1, |z| ≤ 3.46: the sum of a word's four bytes.
DDPMTS_HD float gaussian_from_bytes(std::uint32_t word) {
  const std::uint32_t sum = (word & 255u) + ((word >> 8) & 255u) + ((word >> 16) & 255u) + (word >> 24);
  return (static_cast<float>(sum) - 510.0f) * (1.0f / 147.8005f);
}

}  // namespace ddpmts::kernels
