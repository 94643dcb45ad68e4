#include "eval/picture_map.h"

#include <fmt/format.h>

#include <stdexcept>

namespace ddpmts::eval {

void check_sizes(const PictureMap& picture) {
  const std::size_t pixels =
      picture.height > 0 && picture.width > 0
          ? static_cast<std::size_t>(picture.height) * static_cast<std::size_t>(picture.width)
          : 0;
  const bool mask_fits = picture.mask.empty() || picture.mask.size() == pixels;
  if (pixels == 0 || picture.map.size() != pixels || !mask_fits) {
    throw std::invalid_argument(
        fmt::format("picture '{}': {} x {} pixels, but the anomaly map holds {} values and the mask {}; "
                    "resize the mask to the map's size first",
                    picture.name, picture.height, picture.width, picture.map.size(), picture.mask.size()));
  }
}

}  // namespace ddpmts::eval
