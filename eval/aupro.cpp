#include "eval/aupro.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <vector>

#include "eval/components.h"
#include "eval/ranking.h"

namespace ddpmts::eval {
namespace {

/// One pixel of a true region: sort key in the upper half, region in the lower.
using RegionPixel = std::uint64_t;

constexpr auto key_of_region_pixel = [](RegionPixel pixel) {
  return static_cast<std::uint32_t>(pixel >> 32);
};
constexpr auto same = [](std::uint32_t key) { return key; };

struct SortedPixels {
  std::vector<RegionPixel> regions;
  std::vector<std::uint32_t> background;
  std::vector<double> weights;  // [region] 1 / area
};

void add_picture(const PictureMap& picture, SortedPixels& pixels) {
  const std::size_t first_region = pixels.weights.size();
  Components components;
  if (!picture.mask.empty()) {
    components = label_components(picture.mask, picture.height, picture.width);
    const std::vector<std::int64_t> areas = component_areas(components);
    for (std::size_t label = 1; label < areas.size(); ++label) {
      pixels.weights.push_back(1.0 / static_cast<double>(areas[label]));
    }
    if (pixels.weights.size() > std::numeric_limits<std::uint32_t>::max()) {
      throw std::invalid_argument("AUPRO: more than 2^32 - 1 regions; evaluate fewer pictures at a time");
    }
  }
  for (std::size_t i = 0; i < picture.map.size(); ++i) {
    if (std::isnan(picture.map[i])) {
      throw std::invalid_argument(fmt::format(
          "AUPRO: the anomaly map of picture '{}' is NaN at pixel {}; the model's output is broken",
          picture.name, i));
    }
    const std::uint32_t key = descending_key(picture.map[i]);
    const std::int32_t label = components.labels.empty() ? 0 : components.labels[i];
    if (label == 0) {
      pixels.background.push_back(key);
    } else {
      const std::uint64_t region = first_region + static_cast<std::uint64_t>(label) - 1;
      pixels.regions.push_back((static_cast<std::uint64_t>(key) << 32) | region);
    }
  }
}

}  // namespace

std::optional<double> aupro(std::span<const PictureMap> pictures, double fpr_limit) {
  if (!(fpr_limit > 0 && fpr_limit <= 1)) {
    throw std::invalid_argument(fmt::format(
        "AUPRO: the false-positive-rate limit is {}, it must lie in (0, 1]; 0.3 is usual", fpr_limit));
  }
  SortedPixels pixels;
  std::size_t total = 0;
  for (const PictureMap& picture : pictures) {
    check_sizes(picture);
    total += picture.map.size();
  }
  pixels.background.reserve(total);
  for (const PictureMap& picture : pictures) add_picture(picture, pixels);
  if (pixels.weights.empty() || pixels.background.empty()) return std::nullopt;
  sort_by_key(pixels.regions, key_of_region_pixel);
  sort_by_key(pixels.background, same);

  const double regions = static_cast<double>(pixels.weights.size());
  const double backgrounds = static_cast<double>(pixels.background.size());
  double area = 0;
  double weight = 0;  // sum over the regions of their recall
  std::size_t weighed = 0;
  double previous_rate = 0;
  double previous_overlap = 0;
  walk_thresholds(std::span<const RegionPixel>(pixels.regions),
                  std::span<const std::uint32_t>(pixels.background), key_of_region_pixel, same,
                  [&](std::uint32_t, std::size_t region_pixels, std::size_t false_positives) {
                    for (; weighed < region_pixels; ++weighed) {
                      weight += pixels.weights[static_cast<std::uint32_t>(pixels.regions[weighed])];
                    }
                    const double rate = static_cast<double>(false_positives) / backgrounds;
                    const double overlap = weight / regions;
                    if (rate >= fpr_limit) {
                      const double share = (fpr_limit - previous_rate) / (rate - previous_rate);
                      const double overlap_at_limit = previous_overlap + share * (overlap - previous_overlap);
                      area += (fpr_limit - previous_rate) * 0.5 * (previous_overlap + overlap_at_limit);
                      return false;
                    }
                    area += (rate - previous_rate) * 0.5 * (previous_overlap + overlap);
                    previous_rate = rate;
                    previous_overlap = overlap;
                    return true;
                  });
  return std::min(area / fpr_limit, 1.0);  // rounding may carry a perfect map past 1
}

}  // namespace ddpmts::eval
