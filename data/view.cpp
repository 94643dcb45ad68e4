#include "data/view.h"

#include <algorithm>

#include "data/resize.h"
#include "engine/error.h"
#include "kernels/philox.h"

namespace ddpmts {

const char* name_of(ViewScales scales) { return scales == ViewScales::whole ? "whole" : "detail"; }

ViewScales parse_view_scales(const std::string& text) {
  if (text == "whole") return ViewScales::whole;
  if (text == "detail") return ViewScales::detail;
  throw_error("unknown views '{}': expected whole or detail", text);
}

std::vector<int> view_sides(ViewScales scales, int size, int picture_side) {
  if (size < 1 || picture_side < size) {
    throw_error("views of {} pixels need pictures of as many or more, not {}", size, picture_side);
  }
  std::vector<int> sides;
  for (int side = size; scales == ViewScales::detail && side < picture_side; side *= 2) sides.push_back(side);
  sides.push_back(picture_side);
  return sides;
}

View draw_view(std::uint64_t seed, std::uint64_t index, std::span<const int> sides, int picture_side) {
  const kernels::Philox random{seed, kernels::RandomStream::view, index};
  const kernels::Uint4 bits = random.bits(0);
  const int side = sides[kernels::uniform_index(bits.x, static_cast<std::uint32_t>(sides.size()))];
  const auto places = static_cast<std::uint32_t>(picture_side - side + 1);
  return {static_cast<int>(kernels::uniform_index(bits.y, places)),
          static_cast<int>(kernels::uniform_index(bits.z, places)), side};
}

View view_around(int left, int top, int right, int bottom, std::span<const int> sides, int picture_side) {
  const int extent = std::max(right - left, bottom - top) + 1;
  const auto fits = [&](int side) { return extent <= side - side / 4; };
  const auto found = std::ranges::find_if(sides, fits);
  const int side = found == sides.end() ? picture_side : *found;
  const auto begin = [&](int first, int last) {
    return std::clamp((first + last + 1 - side) / 2, 0, picture_side - side);
  };
  return {begin(left, right), begin(top, bottom), side};
}

std::vector<View> view_tiles(int side, int picture_side) {
  std::vector<View> tiles;
  for (int y = 0; y < picture_side; y += side) {
    for (int x = 0; x < picture_side; x += side) {
      tiles.push_back({std::min(x, picture_side - side), std::min(y, picture_side - side), side});
    }
  }
  return tiles;
}

Image take_view(const std::uint8_t* picture, int picture_side, const View& view, int size) {
  Image part(view.side, view.side);
  for (int y = 0; y < view.side; ++y) {
    const std::uint8_t* row =
        picture + (static_cast<std::ptrdiff_t>(view.y + y) * picture_side + view.x) * std::ptrdiff_t{3};
    std::copy_n(row, view.side * 3, part.pixel(0, y));
  }
  return view.side == size ? part : resize_antialiased(part, size, size);
}

}  // namespace ddpmts
