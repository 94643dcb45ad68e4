// Procedural textures at one point: fractal gradient noise, stripes, cells, checks, colour fields, grain.
// All of them read one periodic table of 32×32 lattice points (16 KB: the stack, or shared memory on a
// device), drawn once a picture. Bit-exact across devices and instruction sets, as perlin_math.h.
#pragma once

#include <math.h>

#include "kernels/perlin_math.h"
#include "kernels/triplet.h"
#include "kernels/unroll.h"

namespace ddpmts::kernels {

constexpr int kNoiseSide = 32;  // a power of two: indices wrap by masking
constexpr int kNoisePoints = kNoiseSide * kNoiseSide;
/// First Philox block of grain in the texture stream; the table's blocks lie below.
constexpr std::uint32_t kGrainBlocks = 0x80000000u;

/// The functions below take any type with these members: on a device the arrays are views of shared memory.
struct NoiseTable {
  float gradient_x[kNoisePoints], gradient_y[kNoisePoints];  ///< unit vectors
  float offset_x[kNoisePoints], offset_y[kNoisePoints];      ///< a feature point in the cell, [0,1)²
};

/// Point p of the table, from block first + p.
template <class Table>
DDPMTS_HD void noise_table_point(Table& table, const Philox& random, std::uint32_t first, int p) {
  const Uint4 bits = random.bits(first + static_cast<std::uint32_t>(p));
  float sine, cosine;
  sincos_turns(uniform01(bits.x), sine, cosine);
  table.gradient_x[p] = cosine;
  table.gradient_y[p] = sine;
  table.offset_x[p] = uniform01(bits.y);
  table.offset_y[p] = uniform01(bits.z);
}

DDPMTS_HD int noise_index(int column, int row) {
  return (row & (kNoiseSide - 1)) * kNoiseSide + (column & (kNoiseSide - 1));
}

/// Gradient noise in [−1, 1], cells of side 1.
template <class Table>
DDPMTS_HD float noise_at(const Table& table, float x, float y) {
  const int column = floor_to_int(x);
  const int row = floor_to_int(y);
  const int p00 = noise_index(column, row), p10 = noise_index(column + 1, row);
  const int p01 = noise_index(column, row + 1), p11 = noise_index(column + 1, row + 1);
  return perlin_cell(x - static_cast<float>(column), y - static_cast<float>(row), table.gradient_x[p00],
                     table.gradient_y[p00], table.gradient_x[p10], table.gradient_y[p10],
                     table.gradient_x[p01], table.gradient_y[p01], table.gradient_x[p11],
                     table.gradient_y[p11]);
}

/// Three octaves, each twice as fine and `detail` as strong as the one before, scaled to stay in [−1, 1].
template <class Table>
DDPMTS_HD float fractal_at(const Table& table, float x, float y, float detail) {
  const float fine = detail * detail;
  const float sum = noise_at(table, x, y) + detail * noise_at(table, 2.0f * x + 11.3f, 2.0f * y + 5.7f) +
                    fine * noise_at(table, 4.0f * x + 23.9f, 4.0f * y + 17.1f);
  return sum / (1.0f + detail + fine);
}

/// 1 at integers, 0 halfway between.
DDPMTS_HD float triangle_wave(float x) {
  return absolute(2.0f * (x - static_cast<float>(floor_to_int(x))) - 1.0f);
}

/// Squared distances to the nearest and the second nearest of the scattered points, and the nearest one's value in [0, 1].
struct NearestTwo {
  float first, second, value;
};
template <class Table>
DDPMTS_HD NearestTwo nearest_two(const Table& table, float u, float v) {
  const int column = floor_to_int(u);
  const int row = floor_to_int(v);
  NearestTwo nearest{8.0f, 8.0f, 0.0f};
  DDPMTS_UNROLL(3)
  for (int dy = -1; dy <= 1; ++dy) {
    DDPMTS_UNROLL(3)
    for (int dx = -1; dx <= 1; ++dx) {
      const int at = noise_index(column + dx, row + dy);
      const float to_x = static_cast<float>(column + dx) + table.offset_x[at] - u;
      const float to_y = static_cast<float>(row + dy) + table.offset_y[at] - v;
      const float squared = to_x * to_x + to_y * to_y;
      const float cell_value = 0.5f + 0.5f * table.gradient_x[at];
      nearest.second = smaller_of(nearest.second, larger_of(nearest.first, squared));
      nearest.value = squared < nearest.first ? cell_value : nearest.value;
      nearest.first = smaller_of(nearest.first, squared);
    }
  }
  return nearest;
}

/// The scalar field before contrast, about [0, 1], at (x, y) in texture units. `shift` moves a colour field's
/// channel.
template <TextureKind kKind, class Table>
DDPMTS_HD float texture_field(const TextureRecipe& texture, const Table& table, const Philox& random, float x,
                              float y, float shift) {
  if constexpr (kKind == TextureKind::clouds || kKind == TextureKind::colour_field) {
    return 0.5f + 0.9f * fractal_at(table, x + shift, y + shift, texture.detail);
  } else if constexpr (kKind == TextureKind::stripes) {
    return triangle_wave(x);
  } else if constexpr (kKind == TextureKind::checks) {
    return 0.5f + 2.0f * (triangle_wave(x) - 0.5f) * (triangle_wave(y) - 0.5f);
  } else if constexpr (kKind == TextureKind::grain) {
    const std::uint32_t cell = (static_cast<std::uint32_t>(floor_to_int(y)) & 0x7fffu) << 16 |
                               (static_cast<std::uint32_t>(floor_to_int(x)) & 0xffffu);
    return uniform01(random.bits(kGrainBlocks | cell).x);
  } else {
    const NearestTwo nearest = nearest_two(table, x, y);
    return kKind == TextureKind::cells ? sqrtf(nearest.first) : nearest.value;
  }
}

/// The texture's three channels at pixel (x, y), in levels; they may lie outside 0–255.
template <TextureKind kKind, class Table>
DDPMTS_HD void texture_at(const TextureRecipe& texture, const Table& table, const Philox& random, float x,
                          float y, float& red, float& green, float& blue) {
  float u = texture.place.xx * x + texture.place.xy * y + texture.place.x0;
  float v = texture.place.yx * x + texture.place.yy * y + texture.place.y0;
  if constexpr (kKind != TextureKind::clouds && kKind != TextureKind::colour_field &&
                kKind != TextureKind::grain) {
    // One slow field displaces both coordinates, in different places of it.
    const float push_u = texture.warp * noise_at(table, 0.37f * u + 3.1f, 0.37f * v + 8.2f);
    const float push_v = texture.warp * noise_at(table, 0.37f * u + 19.4f, 0.37f * v + 27.6f);
    u += push_u;
    v += push_v;
  }
  float level[3];
  float field = 0.0f;
  DDPMTS_UNROLL(3)
  for (int c = 0; c < 3; ++c) {
    if (c == 0 || kKind == TextureKind::colour_field) {
      const float raw =
          texture_field<kKind>(texture, table, random, u, v, static_cast<float>(c) * texture.channel_shift);
      field = clamp_to((raw - 0.5f) * texture.sharpness + 0.5f, 0.0f, 1.0f);
    }
    const float lower = lerp_to(texture.colour[0][c], texture.colour[1][c], 2.0f * field);
    const float upper = lerp_to(texture.colour[1][c], texture.colour[2][c], 2.0f * field - 1.0f);
    level[c] = field < 0.5f ? lower : upper;
  }
  red = level[0];
  green = level[1];
  blue = level[2];
}

}  // namespace ddpmts::kernels
