// Connected components of a mask (8-connectivity) and what can be measured of each.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace ddpmts::eval {

/// labels: [height, width]; 0 = background, 1..count = the component, numbered in the order in which their
/// first pixels are met row by row.
struct Components {
  std::vector<std::int32_t> labels;
  int count = 0;
  int height = 0;
  int width = 0;
};

/// mask: [height, width], 0 = background, anything else = inside. Pixels that touch at an edge or a corner
/// belong together. Two passes with a union-find forest (Rosenfeld & Pfaltz 1966). Throws
/// std::invalid_argument when the sizes disagree or the picture has 2^31 pixels or more.
Components label_components(std::span<const std::uint8_t> mask, int height, int width);

/// Pixels of each component: areas[label], with areas[0] the background's.
std::vector<std::int64_t> component_areas(const Components& components);

/// One connected region above a threshold. x, y: left and top pixel of its bounding box; width, height, area
/// in pixels.
struct Blob {
  int x = 0;
  int y = 0;
  int width = 0;
  int height = 0;
  std::int64_t area = 0;
  float max_value = 0;
  double mean_value = 0;
};

/// Box, area, largest and mean value of each component over map: [height, width]; result [label - 1].
std::vector<Blob> measure_components(const Components& components, std::span<const float> map);

/// The regions of map: [height, width] at or above threshold with at least min_area pixels, largest area
/// first, equal areas by their largest value. NaN pixels are an error (std::invalid_argument).
std::vector<Blob> find_blobs(std::span<const float> map, int height, int width, double threshold,
                             std::int64_t min_area = 1);

}  // namespace ddpmts::eval
