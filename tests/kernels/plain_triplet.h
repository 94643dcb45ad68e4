// The plain twin of kernels/triplet.h: double precision, one pixel at a time, no shared arithmetic.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <vector>

#include "tests/kernels/triplet_scene.h"

namespace ddpmts::kernels {

struct Levels {
  double c[3];
};
struct Place {
  double x, y;
};

inline Place moved(const Affine& a, Place p) {
  return {static_cast<double>(a.xx) * p.x + static_cast<double>(a.xy) * p.y + static_cast<double>(a.x0),
          static_cast<double>(a.yx) * p.x + static_cast<double>(a.yy) * p.y + static_cast<double>(a.y0)};
}

inline int plain_border(int i, int n, BorderRule rule) {
  if (i >= 0 && i < n) return i;
  switch (rule) {
    case BorderRule::constant:
      return -1;
    case BorderRule::replicate:
      return i < 0 ? 0 : n - 1;
    case BorderRule::wrap:
      return ((i % n) + n) % n;
    case BorderRule::reflect:
      break;
  }
  while (i < 0 || i >= n) i = i < 0 ? -1 - i : 2 * n - 1 - i;
  return i;
}

inline double plain_clamp(double x) { return std::clamp(x, 0.0, 255.0); }

inline Levels plain_sample(const std::uint8_t* picture, int h, int w, Place p, BorderRule rule) {
  const double column = std::floor(p.x), row = std::floor(p.y);
  Levels sum{};
  for (int tap = 0; tap < 4; ++tap) {
    const int right = tap % 2, down = tap / 2;
    const int x = plain_border(static_cast<int>(column) + right, w, rule);
    const int y = plain_border(static_cast<int>(row) + down, h, rule);
    const double weight =
        (right == 1 ? p.x - column : 1 - p.x + column) * (down == 1 ? p.y - row : 1 - p.y + row);
    for (int c = 0; c < 3; ++c) {
      sum.c[c] += weight * (x < 0 || y < 0 ? 114.0 : static_cast<double>(picture[(y * w + x) * 3 + c]));
    }
  }
  return sum;
}

inline Levels plain_lit(const TripletRecipe& r, Levels levels) {
  for (int c = 0; c < 3; ++c) {
    levels.c[c] =
        plain_clamp(levels.c[c] * static_cast<double>(r.gain[c]) + static_cast<double>(r.offset[c]));
  }
  return levels;
}

struct PlainTable {
  double gx[32][32], gy[32][32], ox[32][32], oy[32][32];  // [row][column]
  PlainTable(const Philox& random, std::uint32_t first) {
    for (std::uint32_t p = 0; p < 1024; ++p) {
      const Uint4 bits = random.bits(first + p);
      const double a = 2 * std::numbers::pi * static_cast<double>(uniform01(bits.x));
      gx[p / 32][p % 32] = std::cos(a);
      gy[p / 32][p % 32] = std::sin(a);
      ox[p / 32][p % 32] = static_cast<double>(uniform01(bits.y));
      oy[p / 32][p % 32] = static_cast<double>(uniform01(bits.z));
    }
  }
  double noise(double x, double y) const {
    const int column = static_cast<int>(std::floor(x)), row = static_cast<int>(std::floor(y));
    const double u = x - column, v = y - row;
    const auto corner = [&](int right, int down) {
      const int i = (row + down) & 31, j = (column + right) & 31;
      return (u - right) * gx[i][j] + (v - down) * gy[i][j];
    };
    const auto fade = [](double t) { return t * t * t * (t * (t * 6 - 15) + 10); };
    return std::numbers::sqrt2 * std::lerp(std::lerp(corner(0, 0), corner(1, 0), fade(u)),
                                           std::lerp(corner(0, 1), corner(1, 1), fade(u)), fade(v));
  }
  double fractal(double x, double y, double detail) const {
    return (noise(x, y) + detail * noise(2 * x + 11.3, 2 * y + 5.7) +
            detail * detail * noise(4 * x + 23.9, 4 * y + 17.1)) /
           (1 + detail + detail * detail);
  }
};

inline Levels plain_texture(const TripletRecipe& r, const PlainTable& table, int x, int y) {
  const TextureRecipe& t = r.texture;
  Place p = moved(t.place, {static_cast<double>(x), static_cast<double>(y)});
  const bool field_kind = t.kind == TextureKind::clouds || t.kind == TextureKind::colour_field;
  if (!field_kind && t.kind != TextureKind::grain) {
    const double warp = static_cast<double>(t.warp);
    p = {p.x + warp * table.noise(0.37 * p.x + 3.1, 0.37 * p.y + 8.2),
         p.y + warp * table.noise(0.37 * p.x + 19.4, 0.37 * p.y + 27.6)};
  }
  const auto wave = [](double s) { return std::abs(2 * (s - std::floor(s)) - 1); };
  Levels out{};
  for (int c = 0; c < 3; ++c) {
    double field = 0;
    if (field_kind) {
      const double shift = t.kind == TextureKind::colour_field ? c * static_cast<double>(t.channel_shift) : 0;
      field = 0.5 + 0.9 * table.fractal(p.x + shift, p.y + shift, static_cast<double>(t.detail));
    } else if (t.kind == TextureKind::stripes) {
      field = wave(p.x);
    } else if (t.kind == TextureKind::checks) {
      field = 0.5 + 2 * (wave(p.x) - 0.5) * (wave(p.y) - 0.5);
    } else if (t.kind == TextureKind::grain) {
      const auto i = static_cast<std::uint32_t>(static_cast<int>(std::floor(p.y))) & 0x7fffu;
      const auto j = static_cast<std::uint32_t>(static_cast<int>(std::floor(p.x))) & 0xffffu;
      const Philox random{r.seed, RandomStream::texture, r.step};
      field = static_cast<double>(uniform01(random.bits(0x80000000u | i << 16 | j).x));
    } else {
      double nearest = 1e9;
      for (int i = static_cast<int>(std::floor(p.y)) - 1, rows = 0; rows < 3; ++i, ++rows) {
        for (int j = static_cast<int>(std::floor(p.x)) - 1, columns = 0; columns < 3; ++j, ++columns) {
          const double d = std::hypot(j + table.ox[i & 31][j & 31] - p.x, i + table.oy[i & 31][j & 31] - p.y);
          if (d >= nearest) continue;
          nearest = d;
          field = t.kind == TextureKind::cells ? d : 0.5 + 0.5 * table.gx[i & 31][j & 31];
        }
      }
    }
    field = std::clamp((field - 0.5) * static_cast<double>(t.sharpness) + 0.5, 0.0, 1.0);
    const int stop = field < 0.5 ? 0 : 1;
    out.c[c] = std::lerp(static_cast<double>(t.colour[stop][c]), static_cast<double>(t.colour[stop + 1][c]),
                         2 * field - stop);
  }
  return out;
}

inline Place plain_centre(const TripletRecipe& r, const std::uint8_t* picture, int h, int w) {
  double most = -1;
  Place best{};
  for (int i = 0; i < r.mask.centres; ++i) {
    const Place centre{static_cast<double>(r.mask.centre_x[i]), static_cast<double>(r.mask.centre_y[i])};
    std::vector<double> sums;
    for (int dy = -2; dy <= 2; ++dy) {
      for (int dx = -2; dx <= 2; ++dx) {
        const double step = static_cast<double>(r.mask.look_step);
        const Levels l = plain_sample(
            picture, h, w, moved(r.affine, {centre.x + dx * step, centre.y + dy * step}), r.border);
        sums.push_back(l.c[0] + l.c[1] + l.c[2]);
      }
    }
    double mean = 0, deviation = 0;
    for (const double s : sums) mean += s / 25;
    for (const double s : sums) deviation += std::abs(s - mean);
    if (deviation > most) {
      most = deviation;
      best = centre;
    }
  }
  return best;
}

struct PlainPixel {
  Levels normal, defective;
};

inline PlainPixel plain_pixel(const Scene& scene, const TripletRecipe& r, const PlainTable& table,
                              Place centre, int x, int y, bool in_mask) {
  const int h = scene.h, w = scene.w;
  const std::size_t pixels = static_cast<std::size_t>(h * w) * 3;
  const std::uint8_t* picture = scene.pictures.data() + static_cast<std::size_t>(r.picture) * pixels;
  const Place here{static_cast<double>(x), static_cast<double>(y)};
  PlainPixel out;
  out.normal = out.defective = plain_lit(r, plain_sample(picture, h, w, moved(r.affine, here), r.border));
  if (!in_mask) return out;
  Levels a{};
  if (r.source == SourceKind::texture) {
    a = plain_texture(r, table, x, y);
    for (int c = 0; c < 3; ++c) a.c[c] += static_cast<double>(r.texture.keep) * out.normal.c[c];
  } else {
    const auto& pool = r.source == SourceKind::folder    ? scene.folder
                       : r.source == SourceKind::painted ? scene.painted
                                                         : scene.pictures;
    const std::uint8_t* source = pool.data() + static_cast<std::size_t>(r.source_picture) * pixels;
    const int reach = r.blur_step > 0 ? 1 : 0;
    const double share = reach == 1 ? 1.0 / 9 : 1.0;
    Levels mean{};
    for (int i = -reach; i <= reach; ++i) {
      for (int j = -reach; j <= reach; ++j) {
        Place p{x + j * static_cast<double>(r.blur_step), y + i * static_cast<double>(r.blur_step)};
        if (r.displaced) {
          p = moved(r.source_affine, {p.x - centre.x, p.y - centre.y});
          p = moved(r.affine, {p.x + centre.x, p.y + centre.y});
        } else {
          p = moved(r.source_affine, p);
        }
        const Levels one = plain_sample(source, h, w, p, r.source_border);
        for (int c = 0; c < 3; ++c) mean.c[c] += share * one.c[c];
      }
    }
    mean = plain_lit(r, mean);
    for (int c = 0; c < 3; ++c) {
      a.c[c] = static_cast<double>(r.colour.offset[c]);
      for (int k = 0; k < 3; ++k) a.c[c] += static_cast<double>(r.colour.mix[c][k]) * mean.c[k];
    }
  }
  for (int c = 0; c < 3; ++c) {
    const double beta = static_cast<double>(r.opacity);
    out.defective.c[c] = (1 - beta) * out.normal.c[c] + beta * plain_clamp(a.c[c]);
  }
  return out;
}

}  // namespace ddpmts::kernels
