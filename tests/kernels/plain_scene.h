// The formulas of scene_views.h once more, in double precision and as textbooks have them: what kernels/scene_math.h is held to.
#pragma once

#include <algorithm>
#include <cmath>
#include <complex>
#include <numbers>

#include "kernels/scene_views.h"
#include "kernels/texture_math.h"

namespace ddpmts::kernels::test {

inline double in_double(float x) { return static_cast<double>(x); }

/// One point of the noise table, which repeats every 32 squares.
struct PlainPoint {
  double gradient_x, gradient_y, offset_x, offset_y;
  double value() const { return (1 + gradient_x) / 2; }
};
inline PlainPoint plain_point(const NoiseTable& table, double column, double row) {
  const auto wrapped = [](double i) { return static_cast<std::size_t>(i - 32 * std::floor(i / 32)); };
  const std::size_t at = wrapped(row) * 32 + wrapped(column);
  return {in_double(table.gradient_x[at]), in_double(table.gradient_y[at]), in_double(table.offset_x[at]),
          in_double(table.offset_y[at])};
}

/// Perlin's gradient noise ("Improving noise", 2002), times √2.
inline double plain_noise(const NoiseTable& table, double x, double y) {
  const double column = std::floor(x), row = std::floor(y);
  const auto fade = [](double t) { return 6 * std::pow(t, 5) - 15 * std::pow(t, 4) + 10 * std::pow(t, 3); };
  double sum = 0;
  for (const double dx : {0.0, 1.0}) {
    for (const double dy : {0.0, 1.0}) {
      const PlainPoint corner = plain_point(table, column + dx, row + dy);
      const double u = x - column - dx, v = y - row - dy;
      sum += fade(1 - std::abs(u)) * fade(1 - std::abs(v)) * (u * corner.gradient_x + v * corner.gradient_y);
    }
  }
  return std::numbers::sqrt2 * sum;
}

inline double plain_fractal(const NoiseTable& table, double x, double y, double detail) {
  const double sum = plain_noise(table, x, y) + detail * plain_noise(table, 2 * x + 11.3, 2 * y + 5.7) +
                     detail * detail * plain_noise(table, 4 * x + 23.9, 4 * y + 17.1);
  return sum / (1 + detail + detail * detail);
}

/// 1 at integers, 0 halfway, straight in between.
inline double plain_triangle(double x) { return 2 * std::abs(x - std::floor(x) - 0.5); }
/// 0 at integers, 1 halfway, a parabola in between.
inline double plain_bump(double x) { return 1 - std::pow(2 * (x - std::floor(x)) - 1, 2); }

/// Calls body(point, x, y) with the scattered points of the nine squares about (u, v); (x, y): from there to the point.
template <class Body>
void for_points_about(const NoiseTable& table, double u, double v, Body body) {
  for (double row = std::floor(v) - 1; row <= std::floor(v) + 1; ++row) {
    for (double column = std::floor(u) - 1; column <= std::floor(u) + 1; ++column) {
      const PlainPoint point = plain_point(table, column, row);
      body(point, column + point.offset_x - u, row + point.offset_y - v);
    }
  }
}

struct PlainNearest {
  double first = HUGE_VAL, second = HUGE_VAL;  ///< distances
  double value = 0;                            ///< of the first
};
inline PlainNearest plain_nearest(const NoiseTable& table, double u, double v) {
  PlainNearest nearest;
  for_points_about(table, u, v, [&](const PlainPoint& point, double x, double y) {
    const double distance = std::hypot(x, y);
    if (distance < nearest.first) {
      nearest = {distance, nearest.first, point.value()};
    } else {
      nearest.second = std::min(nearest.second, distance);
    }
  });
  return nearest;
}

/// A field's value before contrast.
inline double plain_field(const FieldRecipe& field, const NoiseTable& table, double u, double v) {
  const double p = in_double(field.p), q = in_double(field.q), r = in_double(field.r), s = in_double(field.s);
  const double detail = in_double(field.detail);
  switch (field.kind) {
    case FieldKind::clouds:
      return 0.5 + 0.9 * plain_fractal(table, u, v, detail);
    case FieldKind::ridges:
      return 1 - 2.2 * std::abs(plain_fractal(table, u, v, detail));
    case FieldKind::stripes:
      return plain_triangle(u + q * plain_noise(table, 0.7 * u, 0.3 * v));
    case FieldKind::checks:
      return 0.5 + (2 * plain_triangle(u) - 1) * (2 * plain_triangle(v) - 1) / 2;
    case FieldKind::rings:
      return plain_triangle(std::hypot(u, v));
    case FieldKind::waves:
      return (plain_triangle(u) + plain_triangle(p * u + q * v) + plain_triangle(r * u + s * v)) / 3;
    case FieldKind::cells:
      return plain_nearest(table, u, v).first;
    case FieldKind::borders: {
      const PlainNearest nearest = plain_nearest(table, u, v);
      return 1.5 * (nearest.second - nearest.first);
    }
    case FieldKind::patches:
      return plain_nearest(table, u, v).value;
    case FieldKind::dots: {
      double highest = 0;
      for_points_about(table, u, v, [&](const PlainPoint& point, double x, double y) {
        const double radius = q * (0.65 + 0.35 * point.gradient_y);
        if (point.value() < p) highest = std::max(highest, 1 - std::pow(std::hypot(x, y) / radius, 2));
      });
      return highest;
    }
    case FieldKind::fibres: {
      double highest = 0;
      for_points_about(table, u, v, [&](const PlainPoint& point, double x, double y) {
        // The place as the stroke sees it: divided by its direction, a complex number about as long as 1.
        const std::complex<double> direction(1 + p * point.gradient_x, p * point.gradient_y);
        const std::complex<double> seen = std::complex<double>(x, y) * std::conj(direction);
        const double along = std::abs(seen.real()), across = q * std::abs(seen.imag());
        if (along < 1 && across < 1) highest = std::max(highest, (1 - along * along) * (1 - across));
      });
      return highest;
    }
    case FieldKind::bricks: {
      const double row = std::floor(v), along = u + p * row, column = std::floor(along);
      const double to_joint =
          std::min(std::min(along - column, column + 1 - along), std::min(v - row, row + 1 - v));
      return (0.65 + 0.35 * plain_point(table, column, row).gradient_x) *
             std::clamp(to_joint / q - 0.5, 0.0, 1.0);
    }
    case FieldKind::weave: {
      const auto sum = static_cast<long>(std::floor(u) + std::floor(v));
      const bool is_over = q > 0.5 ? (sum % 4 + 4) % 4 < 2 : sum % 2 == 0;
      return is_over ? plain_bump(u) * (0.7 + 0.3 * plain_bump(v))
                     : p * plain_bump(v) * (0.7 + 0.3 * plain_bump(u));
    }
    case FieldKind::grain: {
      auto h = static_cast<std::uint32_t>(static_cast<std::int64_t>(std::floor(u))) * 0x9E3779B1u ^
               static_cast<std::uint32_t>(static_cast<std::int64_t>(std::floor(v))) * 0x85EBCA77u;
      h = (h ^ (h >> 15)) * 0x2C1B3C6Du;
      h = (h ^ (h >> 12)) * 0x297A2D39u;
      return static_cast<double>((h ^ (h >> 15)) >> 8) / 16777216.0;
    }
    case FieldKind::folds: {
      std::complex<double> z(u / 2, v / 2);
      for (int i = 0; i < 5; ++i) {
        z = 1.3 * std::complex<double>(r, s) *
            std::complex<double>(std::abs(z.real()) - p, std::abs(z.imag()) - q);
      }
      return plain_triangle(0.6 * std::abs(z));
    }
    case FieldKind::julia: {
      std::complex<double> z(u, v);
      double to_zero = 4, to_axes = 4;
      for (int k = 0; k < 14; ++k) {
        const std::complex<double> next = z * z + std::complex<double>(p, q);
        if (std::norm(next) < 16) z = next;
        to_zero = std::min(to_zero, std::norm(z));
        to_axes = std::min({to_axes, std::abs(z.real()), std::abs(z.imag())});
      }
      return r > 0.5 ? 1 / (1 + 12 * to_axes) : 1 / (1 + 4 * to_zero);
    }
  }
  return HUGE_VAL;
}

/// How far inside a shape's outline (u, v) lies.
inline double plain_inside(const ShapeRecipe& shape, double u, double v) {
  const double p = in_double(shape.p);
  switch (shape.kind) {
    case ShapeKind::ellipse:
      return 1 - std::hypot(u, v);
    case ShapeKind::box: {
      // From the box without its round corners, p smaller all around: outside of it the distance, inside that to the sides.
      const double x = std::abs(u) - (1 - p), y = std::abs(v) - (1 - p);
      if (x > 0 && y > 0) return p - std::hypot(x, y);
      return p - std::max(x, y);
    }
    case ShapeKind::polygon: {
      double least = HUGE_VAL;
      for (int k = 0; k < kMaxSides; ++k) {
        least = std::min(least, 1 - in_double(shape.normal_x[k]) * u - in_double(shape.normal_y[k]) * v);
      }
      return least;
    }
    case ShapeKind::ring:
      return p - std::abs(std::hypot(u, v) - (1 - p));
    case ShapeKind::band:
      return std::min(1 - v, 1 + v);
    case ShapeKind::half_plane:
      return v;
    case ShapeKind::flower: {
      const double radius = std::hypot(u, v);
      return 1 - radius * (1 + p * std::cos(shape.sides * std::atan2(v, u)));
    }
    case ShapeKind::cross: {
      const auto in_bar = [&](double along, double across) {
        return std::min(1 - std::abs(along), p - std::abs(across));
      };
      return std::max(in_bar(u, v), in_bar(v, u));
    }
  }
  return HUGE_VAL;
}

}  // namespace ddpmts::kernels::test
