// Perlin gradient noise at one point: the formula of perlin_mask.h, and the few elementary functions that
// drawing kernels need. Everything here is additions, multiplications and comparisons in a fixed order, so
// that host, device and every instruction set agree to the last bit (compile with -ffp-contract=off, on CUDA
// --fmad=false).
#pragma once

#include "kernels/perlin_mask.h"

namespace ddpmts::kernels {

constexpr int kPerlinMaxCells = 32;
constexpr int kPerlinLatticePoints = (kPerlinMaxCells + 1) * (kPerlinMaxCells + 1);
/// Blocks of the Philox stream that one attempt owns: block 0 draws the lattice's shape, block 1 + p/4 point
/// p.
constexpr std::uint32_t kPerlinBlocksPerAttempt = 512;

DDPMTS_HD int floor_to_int(float x) {
  const int truncated = static_cast<int>(x);
  return truncated - (x < static_cast<float>(truncated) ? 1 : 0);
}
DDPMTS_HD float clamp_to(float x, float low, float high) {
  const float at_least = x < low ? low : x;
  return at_least > high ? high : at_least;
}
DDPMTS_HD float smaller_of(float a, float b) { return a < b ? a : b; }
DDPMTS_HD float larger_of(float a, float b) { return a > b ? a : b; }
DDPMTS_HD float absolute(float x) { return x < 0.0f ? -x : x; }
DDPMTS_HD float lerp_to(float a, float b, float t) { return a + t * (b - a); }

/// Sine and cosine of 2π·turns, |turns| < 2^20, within 3e-7. Quarter turns are folded away, so the two
/// polynomials (Taylor, degrees 9 and 8) are only asked for angles within ±π/4.
DDPMTS_HD void sincos_turns(float turns, float& sine, float& cosine) {
  const int quarter = floor_to_int(4.0f * turns + 0.5f);
  const float a = (turns - 0.25f * static_cast<float>(quarter)) * 6.28318530718f;
  const float q = a * a;
  const float s =
      a * (1.0f + q * (-1.66666667e-1f + q * (8.33333333e-3f + q * (-1.98412698e-4f + q * 2.75573192e-6f))));
  const float c = 1.0f + q * (-0.5f + q * (4.16666667e-2f + q * (-1.38888889e-3f + q * 2.48015873e-5f)));
  const float swapped_s = (quarter & 1) != 0 ? c : s;
  const float swapped_c = (quarter & 1) != 0 ? s : c;
  sine = (quarter & 2) != 0 ? -swapped_s : swapped_s;
  cosine = ((quarter + 1) & 2) != 0 ? -swapped_c : swapped_c;
}

/// 6t⁵ − 15t⁴ + 10t³
DDPMTS_HD float perlin_fade(float t) { return t * t * t * (t * (t * 6.0f - 15.0f) + 10.0f); }

/// √2 · the smooth interpolation of four corner gradients' projections; (u, v) in [0,1]² is the place in the
/// cell. In [−1, 1] for unit gradients.
DDPMTS_HD float perlin_cell(float u, float v, float x00, float y00, float x10, float y10, float x01,
                            float y01, float x11, float y11) {
  const float n00 = u * x00 + v * y00;
  const float n10 = (u - 1.0f) * x10 + v * y10;
  const float n01 = u * x01 + (v - 1.0f) * y01;
  const float n11 = (u - 1.0f) * x11 + (v - 1.0f) * y11;
  const float fu = perlin_fade(u);
  return 1.41421356f * lerp_to(lerp_to(n00, n10, fu), lerp_to(n01, n11, fu), perlin_fade(v));
}

/// What one attempt draws besides the gradients.
struct PerlinShape {
  int cells_x, cells_y;
  float cosine, sine;  ///< of the rotation
};

struct PerlinLattice {
  PerlinShape shape;
  float gradient_x[kPerlinLatticePoints];  ///< row-major, (cells_x + 1) points a row
  float gradient_y[kPerlinLatticePoints];
};

DDPMTS_HD PerlinShape perlin_shape(const Philox& random, std::uint32_t attempt, const PerlinConfig& config) {
  const Uint4 bits = random.bits(attempt * kPerlinBlocksPerAttempt);
  const std::uint32_t exponents = static_cast<std::uint32_t>(config.max_exponent - config.min_exponent + 1);
  PerlinShape shape;
  shape.cells_x = 1 << (config.min_exponent + static_cast<int>(uniform_index(bits.x, exponents)));
  shape.cells_y = 1 << (config.min_exponent + static_cast<int>(uniform_index(bits.y, exponents)));
  sincos_turns(uniform(bits.z, -config.max_rotation, config.max_rotation) * (1.0f / 360.0f), shape.sine,
               shape.cosine);
  return shape;
}

/// Draws the four lattice points from 4·block on. On a device blocks are shared out among threads, and the lattice lies in
/// shared memory: hence any type with PerlinLattice's members.
template <class Lattice>
DDPMTS_HD void perlin_fill_block(Lattice& lattice, const Philox& random, std::uint32_t attempt, int block) {
  const int points = (lattice.shape.cells_x + 1) * (lattice.shape.cells_y + 1);
  const Uint4 bits = random.bits(attempt * kPerlinBlocksPerAttempt + 1u + static_cast<std::uint32_t>(block));
  for (int lane = 0; lane < 4; ++lane) {
    const int p = block * 4 + lane;
    if (p >= points) return;
    const std::uint32_t word = lane == 0 ? bits.x : lane == 1 ? bits.y : lane == 2 ? bits.z : bits.w;
    float sine, cosine;
    sincos_turns(uniform01(word), sine, cosine);
    lattice.gradient_x[p] = cosine;
    lattice.gradient_y[p] = sine;
  }
}

/// Fills one attempt's lattice.
DDPMTS_HD void perlin_fill(PerlinLattice& lattice, const Philox& random, std::uint32_t attempt,
                           const PerlinConfig& config) {
  lattice.shape = perlin_shape(random, attempt, config);
  const int points = (lattice.shape.cells_x + 1) * (lattice.shape.cells_y + 1);
  for (int block = 0; block * 4 < points; ++block) perlin_fill_block(lattice, random, attempt, block);
}

/// The noise at pixel (x, y) of an h×w picture: the pixel's centre is turned about the picture's centre and
/// looked up in the lattice, which spans the picture; 0 where it falls outside.
template <class Lattice>
DDPMTS_HD float perlin_at_pixel(const Lattice& lattice, float x, float y, float w, float h) {
  const float from_x = x + 0.5f - 0.5f * w;
  const float from_y = y + 0.5f - 0.5f * h;
  const float unit_x = (lattice.shape.cosine * from_x - lattice.shape.sine * from_y) / w + 0.5f;
  const float unit_y = (lattice.shape.sine * from_x + lattice.shape.cosine * from_y) / h + 0.5f;
  const bool inside = (unit_x >= 0.0f) & (unit_x < 1.0f) & (unit_y >= 0.0f) & (unit_y < 1.0f);
  const float keep = inside ? 1.0f : 0.0f;  // a product, not a branch: it keeps the loop in vector lanes
  const float u = unit_x * keep * static_cast<float>(lattice.shape.cells_x);
  const float v = unit_y * keep * static_cast<float>(lattice.shape.cells_y);
  const int column = static_cast<int>(u);
  const int row = static_cast<int>(v);
  const int stride = lattice.shape.cells_x + 1;
  const int p = row * stride + column;
  const int below = p + stride;
  const float noise = perlin_cell(
      u - static_cast<float>(column), v - static_cast<float>(row), lattice.gradient_x[p],
      lattice.gradient_y[p], lattice.gradient_x[p + 1], lattice.gradient_y[p + 1], lattice.gradient_x[below],
      lattice.gradient_y[below], lattice.gradient_x[below + 1], lattice.gradient_y[below + 1]);
  return noise * keep + 0.0f;  // + 0: outside it is +0 on every compiler, never −0
}

}  // namespace ddpmts::kernels
