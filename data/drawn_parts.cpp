// Names, and the way from a scene to a picture with its exact mask.
#include "data/drawn_parts.h"

#include <fmt/format.h>

#include <array>
#include <stdexcept>

#include "data/drawn_scene.h"

namespace ddpmts {
namespace {

using drawing::Box;
using drawing::Canvas;
using drawing::FloatImage;
using drawing::RandomNumbers;
using drawing::Scene;

constexpr float kVisible = 4.0f;  // 8-bit levels
constexpr float kSmallest =
    1.5e-4f;  // share of the picture that a defect changes at least: 10 pixels of 256 x 256
constexpr int kAttempts = 16;
enum Chapter : std::uint32_t { kAppearance = 0, kTable = 1, kDefect = 16 };

using Pixels = std::vector<std::uint8_t>;  // [size * size], 0 or 1

std::unique_ptr<Scene> make_scene(PartKind part, kernels::Philox philox) {
  const RandomNumbers appearance(philox, kAppearance), table(philox, kTable);
  switch (part) {
    case PartKind::flange:
      return drawing::make_flange(appearance, table);
    case PartKind::fabric:
      return drawing::make_fabric(appearance, table);
    case PartKind::blister:
      return drawing::make_blister(appearance, table);
  }
  throw std::invalid_argument("draw_part: there is no such part");
}

/// 3 x 3 dilation of the pixels equal to `value`.
Pixels grown(const Pixels& mask, int size, std::uint8_t value) {
  Pixels out = mask;
  for (int y = 0; y < size; ++y) {
    for (int x = 0; x < size; ++x) {
      if (mask[static_cast<std::size_t>(y * size + x)] != value) continue;
      for (int v = std::max(y - 1, 0); v <= std::min(y + 1, size - 1); ++v) {
        for (int u = std::max(x - 1, 0); u <= std::min(x + 1, size - 1); ++u) {
          out[static_cast<std::size_t>(v * size + u)] = value;
        }
      }
    }
  }
  return out;
}

/// Clears connected regions (eight neighbours) of fewer than `smallest` pixels; returns how many pixels stay.
int drop_specks(Pixels& mask, int size, int smallest) {
  Pixels seen(mask.size(), 0);
  int kept = 0;
  std::vector<int> region;
  for (int start = 0; start < size * size; ++start) {
    if (mask[static_cast<std::size_t>(start)] == 0 || seen[static_cast<std::size_t>(start)] != 0) continue;
    region.assign(1, start);
    seen[static_cast<std::size_t>(start)] = 1;
    for (std::size_t next = 0; next < region.size(); ++next) {
      const int x = region[next] % size, y = region[next] / size;
      for (int v = std::max(y - 1, 0); v <= std::min(y + 1, size - 1); ++v) {
        for (int u = std::max(x - 1, 0); u <= std::min(x + 1, size - 1); ++u) {
          const int at = v * size + u;
          if (mask[static_cast<std::size_t>(at)] == 0 || seen[static_cast<std::size_t>(at)] != 0) continue;
          seen[static_cast<std::size_t>(at)] = 1;
          region.push_back(at);
        }
      }
    }
    if (static_cast<int>(region.size()) >= smallest) {
      kept += static_cast<int>(region.size());
    } else {
      for (const int at : region) mask[static_cast<std::size_t>(at)] = 0;
    }
  }
  return kept;
}

Pixels changed_pixels(const FloatImage& good, const FloatImage& bad) {
  Pixels mask(good.rgb.size() / 3);
  for (std::size_t i = 0; i < mask.size(); ++i) {
    float most = 0;
    for (std::size_t c = 3 * i; c < 3 * i + 3; ++c)
      most = std::max(most, std::fabs(good.rgb[c] - bad.rgb[c]));
    mask[i] = most >= kVisible;
  }
  return grown(grown(mask, good.size, 1), good.size, 0);
}

}  // namespace

std::string_view name_of(PartKind part) {
  constexpr std::array<std::string_view, 3> names = {"flange", "fabric", "blister"};
  return names.at(static_cast<std::size_t>(part));
}

std::string_view name_of(DefectKind defect) {
  constexpr std::array<std::string_view, 11> names = {
      "good", "scratch", "chip", "stain", "crack", "missing", "misplaced", "tear", "fade", "smear", "fibre"};
  return names.at(static_cast<std::size_t>(defect));
}

std::span<const DefectKind> defects_of(PartKind part) {
  using enum DefectKind;
  static constexpr DefectKind flange[] = {scratch, chip, stain, crack, missing, fade};
  static constexpr DefectKind fabric[] = {stain, missing, misplaced, tear, fade, fibre};
  static constexpr DefectKind blister[] = {chip, stain, crack, missing, misplaced, fade, smear, fibre};
  switch (part) {
    case PartKind::flange:
      return flange;
    case PartKind::fabric:
      return fabric;
    case PartKind::blister:
      return blister;
  }
  throw std::invalid_argument("defects_of: there is no such part");
}

DrawnPart draw_part(PartKind part, DefectKind defect, std::uint64_t seed, std::uint64_t index, int size) {
  const std::span<const DefectKind> possible = defects_of(part);
  if (defect != DefectKind::none && std::find(possible.begin(), possible.end(), defect) == possible.end()) {
    throw std::invalid_argument(
        fmt::format("a {} cannot have the defect '{}'", name_of(part), name_of(defect)));
  }
  if (index >> 48 != 0)
    throw std::invalid_argument(fmt::format("the number of a part must be below 2^48, not {}", index));
  const kernels::Philox philox{seed, kernels::RandomStream::drawing,
                               (static_cast<std::uint64_t>(part) << 48) | index};

  Canvas canvas(size);
  const std::unique_ptr<Scene> good_scene = make_scene(part, philox);
  good_scene->draw(canvas, canvas.everything());
  FloatImage light(size);
  canvas.light(good_scene->lighting(), canvas.everything(), light);
  FloatImage levels = drawing::expose(light, good_scene->camera());
  DrawnPart drawn;
  drawn.mask = Mask(size, size);
  const auto digitise = [&] { return drawing::digitise(levels, good_scene->camera(), philox); };
  if (defect == DefectKind::none) {
    drawn.image = digitise();
    return drawn;
  }

  const int smallest =
      std::max(4, static_cast<int>(kSmallest * static_cast<float>(size) * static_cast<float>(size)));
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const std::unique_ptr<Scene> scene = make_scene(part, philox);
    RandomNumbers random(philox, kDefect + static_cast<std::uint32_t>(defect) * kAttempts +
                                     static_cast<std::uint32_t>(attempt));
    const drawing::Extent extent = scene->spoil(defect, random);
    const Box box = canvas.box(extent.low, extent.high);
    scene->draw(canvas, box);
    FloatImage spoiled_light = light;
    canvas.light(scene->lighting(), box, spoiled_light);
    const FloatImage bad = drawing::expose(std::move(spoiled_light), scene->camera());
    Pixels mask = changed_pixels(levels, bad);
    if (drop_specks(mask, size, smallest) == 0) {  // fell beside the part, or too faint: draw another
      good_scene->draw(canvas, box);
      continue;
    }
    for (std::size_t i = 0; i < levels.rgb.size(); ++i) {
      if (mask[i / 3] != 0) levels.rgb[i] = bad.rgb[i];
    }
    drawn.image = digitise();
    drawn.mask.value = std::move(mask);
    return drawn;
  }
  throw std::runtime_error(
      fmt::format("no visible '{}' on {} {} of seed {} at {} pixels after {} attempts: draw it larger",
                  name_of(defect), name_of(part), index, seed, size, kAttempts));
}

}  // namespace ddpmts
