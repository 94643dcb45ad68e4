#include "eval/components.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

namespace ddpmts::eval {
namespace {

void require_size(const char* what, std::size_t held, int height, int width) {
  const auto limit = static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max());
  const bool sane = height > 0 && width > 0;
  const std::size_t pixels = sane ? static_cast<std::size_t>(height) * static_cast<std::size_t>(width) : 0;
  if (!sane || held != pixels || pixels >= limit) {
    throw std::invalid_argument(fmt::format(
        "connected components: the {} holds {} values for a picture of {} x {}; the sizes must agree and "
        "stay below 2^31 pixels",
        what, held, height, width));
  }
}

/// Provisional labels that turned out to belong together, as a forest whose roots are the lowest labels.
class Equivalences {
 public:
  std::int32_t add() {
    const auto label = static_cast<std::int32_t>(parent_.size());
    parent_.push_back(label);
    return label;
  }
  std::int32_t root(std::int32_t label) {
    while (parent_[label] != label) {
      parent_[label] = parent_[parent_[label]];
      label = parent_[label];
    }
    return label;
  }
  std::int32_t join(std::int32_t a, std::int32_t b) {
    const std::int32_t root_a = root(a);
    const std::int32_t root_b = root(b);
    const std::int32_t low = std::min(root_a, root_b);
    parent_[std::max(root_a, root_b)] = low;
    return low;
  }
  std::size_t size() const { return parent_.size(); }

 private:
  std::vector<std::int32_t> parent_ = {0};
};

}  // namespace

Components label_components(std::span<const std::uint8_t> mask, int height, int width) {
  require_size("mask", mask.size(), height, width);
  Components result{std::vector<std::int32_t>(mask.size(), 0), 0, height, width};
  std::vector<std::int32_t>& labels = result.labels;
  Equivalences equivalences;
  const auto row = static_cast<std::size_t>(width);
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      const std::size_t here = static_cast<std::size_t>(y) * row + static_cast<std::size_t>(x);
      if (mask[here] == 0) continue;
      std::int32_t label = 0;
      const auto touch = [&](std::int32_t neighbour) {
        if (neighbour == 0) return;
        label = label == 0 ? neighbour : equivalences.join(label, neighbour);
      };
      if (x > 0) touch(labels[here - 1]);
      if (y > 0) {
        if (x > 0) touch(labels[here - row - 1]);
        touch(labels[here - row]);
        if (x + 1 < width) touch(labels[here - row + 1]);
      }
      labels[here] = label != 0 ? label : equivalences.add();
    }
  }
  // A root is the lowest label of its component, so walking labels upwards meets each root before its
  // members.
  std::vector<std::int32_t> final_label(equivalences.size(), 0);
  for (std::int32_t label = 1; label < static_cast<std::int32_t>(equivalences.size()); ++label) {
    const std::int32_t root = equivalences.root(label);
    final_label[label] = root == label ? ++result.count : final_label[root];
  }
  for (std::int32_t& label : labels) label = final_label[label];
  return result;
}

std::vector<std::int64_t> component_areas(const Components& components) {
  std::vector<std::int64_t> areas(static_cast<std::size_t>(components.count) + 1, 0);
  for (const std::int32_t label : components.labels) ++areas[label];
  return areas;
}

std::vector<Blob> measure_components(const Components& components, std::span<const float> map) {
  require_size("map", map.size(), components.height, components.width);
  std::vector<Blob> blobs(static_cast<std::size_t>(components.count));
  std::size_t here = 0;
  for (int y = 0; y < components.height; ++y) {
    for (int x = 0; x < components.width; ++x, ++here) {
      const std::int32_t label = components.labels[here];
      if (label == 0) continue;
      Blob& blob = blobs[label - 1];
      if (blob.area == 0) {
        blob = {x, y, 1, 1, 0, map[here], 0.0};
      }
      const int right = std::max(blob.x + blob.width, x + 1);
      blob.x = std::min(blob.x, x);
      blob.width = right - blob.x;
      blob.height = y + 1 - blob.y;
      blob.max_value = std::max(blob.max_value, map[here]);
      blob.mean_value += static_cast<double>(map[here]);  // a sum until the end
      ++blob.area;
    }
  }
  for (Blob& blob : blobs) blob.mean_value /= static_cast<double>(blob.area);
  return blobs;
}

std::vector<Blob> find_blobs(std::span<const float> map, int height, int width, double threshold,
                             std::int64_t min_area) {
  require_size("map", map.size(), height, width);
  std::vector<std::uint8_t> mask(map.size());
  for (std::size_t i = 0; i < map.size(); ++i) {
    if (std::isnan(map[i])) {
      throw std::invalid_argument(
          fmt::format("connected components: the map is NaN at pixel {}; the model's output is broken", i));
    }
    mask[i] = static_cast<double>(map[i]) >= threshold ? 1 : 0;
  }
  std::vector<Blob> blobs = measure_components(label_components(mask, height, width), map);
  std::erase_if(blobs, [&](const Blob& blob) { return blob.area < min_area; });
  std::stable_sort(blobs.begin(), blobs.end(), [](const Blob& a, const Blob& b) {
    return a.area != b.area ? a.area > b.area : a.max_value > b.max_value;
  });
  return blobs;
}

}  // namespace ddpmts::eval
