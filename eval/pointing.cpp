#include "eval/pointing.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

namespace ddpmts::eval {

bool points_at_defect(const PictureMap& picture, int reach) {
  check_sizes(picture);
  const auto is_marked = [](std::uint8_t value) { return value != 0; };
  if (std::none_of(picture.mask.begin(), picture.mask.end(), is_marked)) {
    throw std::invalid_argument(fmt::format("'{}': its mask marks nothing to point at", picture.name));
  }
  const auto peak =
      static_cast<int>(std::max_element(picture.map.begin(), picture.map.end()) - picture.map.begin());
  const int x = peak % picture.width, y = peak / picture.width;
  const int left = std::max(0, x - reach), right = std::min(picture.width - 1, x + reach);
  for (int row = std::max(0, y - reach); row <= std::min(picture.height - 1, y + reach); ++row) {
    const auto begin = picture.mask.begin() + row * picture.width;
    if (std::any_of(begin + left, begin + right + 1, is_marked)) return true;
  }
  return false;
}

}  // namespace ddpmts::eval
