// One picture's anomaly map beside its true mask, as plain arrays.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace ddpmts::eval {

/// map: [height, width] row by row, any finite or infinite number, higher = more likely defective; NaN is
/// refused. mask: [height, width], 0 = background, anything else = defect. An empty mask says that the
/// picture is good, that is, all background; leave defective pictures that have no mask out of the list.
/// name: what an error message calls the picture.
struct PictureMap {
  std::span<const float> map;
  std::span<const std::uint8_t> mask;
  int height = 0;
  int width = 0;
  std::string_view name = {};
};

/// Throws std::invalid_argument, naming the picture, when sizes disagree.
void check_sizes(const PictureMap& picture);

}  // namespace ddpmts::eval
