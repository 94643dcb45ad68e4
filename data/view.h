// Square parts of a picture. A diffusion model of few pixels learns views of a picture at several scales instead of the whole
// squeezed into them: a view of its own size shows the part at full sharpness, larger ones show more of it.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "data/image.h"

namespace ddpmts {

/// Pixels x … x + side − 1, y … y + side − 1.
struct View {
  int x = 0, y = 0, side = 0;
  bool operator==(const View&) const = default;
};

/// whole: the picture. detail: sides of size, 2·size, 4·size, …, and the picture's.
enum class ViewScales : std::uint8_t { whole, detail };
const char* name_of(ViewScales scales);
/// Throws Error on anything but "whole", "detail".
ViewScales parse_view_scales(const std::string& text);

/// Sides, rising, of views that are shown with size×size pixels, in a square picture of `picture_side` ≥ size pixels; the last
/// is the picture's. Throws Error when the picture is smaller.
std::vector<int> view_sides(ViewScales scales, int size, int picture_side);

/// View `index` of a seed: a side drawn evenly from `sides`, then a place drawn evenly.
View draw_view(std::uint64_t seed, std::uint64_t index, std::span<const int> sides, int picture_side);

/// The smallest of `sides` that leaves an eighth of itself free on each side of a box, centred on it and moved into the
/// picture; the picture's when none does. The box is `left` … `right`, `top` … `bottom`, all inside of it.
View view_around(int left, int top, int right, int bottom, std::span<const int> sides, int picture_side);

/// Views of one side, next to each other, that cover the picture; the last of a row or column is moved in where the side does not
/// divide the picture's.
std::vector<View> view_tiles(int side, int picture_side);

/// The view with size×size pixels (resize_antialiased); `picture` [picture_side, picture_side, 3].
Image take_view(const std::uint8_t* picture, int picture_side, const View& view, int size);

}  // namespace ddpmts
