#include "app/overlay.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "data/resize.h"

namespace ddpmts::app {
namespace {

using Colour = std::array<float, 3>;

// Violet, magenta, orange, yellow: lightness rises steadily.
Colour heat_colour(float value) {
  static constexpr std::array<Colour, 4> kStops = {
      {{70, 10, 120}, {190, 40, 110}, {245, 130, 40}, {252, 240, 120}}};
  const float place = std::clamp(value, 0.0f, 1.0f) * 3.0f;
  const std::size_t low = std::min<std::size_t>(static_cast<std::size_t>(place), 2);
  const float share = place - static_cast<float>(low);
  Colour colour;
  for (std::size_t c = 0; c < 3; ++c)
    colour[c] = kStops[low][c] * (1.0f - share) + kStops[low + 1][c] * share;
  return colour;
}

// Opacity of the heat: nothing below 0.3, full view of the part kept everywhere.
float heat_opacity(float value) { return std::clamp((value - 0.3f) / 0.3f, 0.0f, 1.0f) * 0.6f; }

// True where (x, y) is inside and a pixel within `reach` steps is outside.
template <class Inside>
bool on_edge(const Inside& inside, int x, int y, int width, int height, int reach) {
  if (!inside(x, y)) return false;
  for (int dy = -reach; dy <= reach; ++dy) {
    for (int dx = -reach; dx <= reach; ++dx) {
      const int nx = x + dx, ny = y + dy;
      if (nx < 0 || ny < 0 || nx >= width || ny >= height) continue;
      if (!inside(nx, ny)) return true;
    }
  }
  return false;
}

}  // namespace

FloatMap normalized_map(std::span<const float> anomaly, int width, int height,
                        const eval::Calibration& threshold) {
  FloatMap map(width, height);
  for (std::size_t i = 0; i < anomaly.size(); ++i) {
    map.value[i] = static_cast<float>(threshold.normalize(static_cast<double>(anomaly[i])));
  }
  return map;
}

Image heat_overlay(const Image& picture, const FloatMap& normalized) {
  const FloatMap map = normalized.width == picture.width && normalized.height == picture.height
                           ? normalized
                           : resize_bilinear(normalized, picture.width, picture.height);
  Image result = picture;
  const auto inside = [&map](int x, int y) { return map.at(x, y) >= 0.5f; };
  const int reach = std::max(1, std::max(picture.width, picture.height) / 400);
  for (int y = 0; y < picture.height; ++y) {
    for (int x = 0; x < picture.width; ++x) {
      const float value = map.at(x, y);
      const float opacity = heat_opacity(value);
      const Colour heat = heat_colour((value - 0.3f) / 0.7f);
      const bool edge = on_edge(inside, x, y, picture.width, picture.height, reach);
      std::uint8_t* pixel = result.pixel(x, y);
      for (std::size_t c = 0; c < 3; ++c) {
        const float mixed = static_cast<float>(pixel[c]) * (1.0f - opacity) + heat[c] * opacity;
        pixel[c] = edge ? 255 : static_cast<std::uint8_t>(std::lround(mixed));
      }
    }
  }
  return result;
}

TransparentImage outline(const Mask& mask) {
  TransparentImage image{mask.width, mask.height, std::vector<std::uint8_t>(mask.value.size() * 4)};
  const auto inside = [&mask](int x, int y) { return mask.at(x, y) != 0; };
  std::size_t at = 0;
  for (int y = 0; y < mask.height; ++y) {
    for (int x = 0; x < mask.width; ++x, at += 4) {
      if (!on_edge(inside, x, y, mask.width, mask.height, 1)) continue;
      constexpr std::array<std::uint8_t, 4> kBlue = {0, 160, 255, 255};
      std::copy(kBlue.begin(), kBlue.end(), image.rgba.begin() + static_cast<std::ptrdiff_t>(at));
    }
  }
  return image;
}

Grey16 to_grey16(const FloatMap& normalized) {
  Grey16 map(normalized.width, normalized.height);
  for (std::size_t i = 0; i < map.value.size(); ++i) {
    map.value[i] =
        static_cast<std::uint16_t>(std::lround(std::clamp(normalized.value[i], 0.0f, 1.0f) * 65535.0f));
  }
  return map;
}

}  // namespace ddpmts::app
