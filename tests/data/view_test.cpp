#include "data/view.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "data/resize.h"
#include "engine/error.h"
#include "tests/engine/engine_test.h"

namespace ddpmts::test {
namespace {

using Sides = std::vector<int>;

TEST(View, ScalesHaveNames) {
  for (const ViewScales scales : {ViewScales::whole, ViewScales::detail}) {
    EXPECT_EQ(parse_view_scales(name_of(scales)), scales);
  }
  expect_error<Error>([] { parse_view_scales("half"); }, {"'half'", "whole or detail"});
}

TEST(View, SidesDoubleUpToThePicture) {
  EXPECT_EQ(view_sides(ViewScales::detail, 64, 256), (Sides{64, 128, 256}));
  EXPECT_EQ(view_sides(ViewScales::detail, 64, 300), (Sides{64, 128, 256, 300}));
  EXPECT_EQ(view_sides(ViewScales::detail, 64, 65), (Sides{64, 65}));
  EXPECT_EQ(view_sides(ViewScales::detail, 64, 64), (Sides{64}));
  EXPECT_EQ(view_sides(ViewScales::whole, 64, 256), (Sides{256}));
  EXPECT_EQ(view_sides(ViewScales::whole, 64, 64), (Sides{64}));
  for (const ViewScales scales : {ViewScales::whole, ViewScales::detail}) {
    expect_error<Error>([&] { view_sides(scales, 64, 63); }, {"64 pixels", "63"});
    expect_error<Error>([&] { view_sides(scales, 0, 10); }, {"0 pixels"});
  }
}

TEST(View, DrawsEverySideAndEveryPlaceAlike) {
  const Sides sides{4, 6, 7};
  const int picture = 7, n = 9000;
  std::map<int, int> of_side;
  std::map<std::pair<int, int>, int> of_place;  // of the smallest side: 4×4 places
  for (int i = 0; i < n; ++i) {
    const View view = draw_view(3, static_cast<std::uint64_t>(i), sides, picture);
    ASSERT_GE(std::min(view.x, view.y), 0);
    ASSERT_LE(std::max(view.x, view.y) + view.side, picture);
    ++of_side[view.side];
    if (view.side == 4) ++of_place[{view.x, view.y}];
  }
  ASSERT_EQ(of_side.size(), 3u);
  for (const auto& [side, count] : of_side) EXPECT_NEAR(count, n / 3, 5 * 45) << side;
  ASSERT_EQ(of_place.size(), 16u);
  for (const auto& [place, count] : of_place) {
    EXPECT_NEAR(count, n / 48, 5 * 14) << place.first << "," << place.second;
  }
}

TEST(View, IsAFunctionOfSeedAndIndex) {
  const Sides sides{8, 16};
  int other_index = 0, other_seed = 0;
  for (std::uint64_t i = 0; i < 50; ++i) {
    const View view = draw_view(5, i, sides, 100);
    EXPECT_EQ(draw_view(5, i, sides, 100), view);
    other_index += draw_view(5, i + 1, sides, 100) == view ? 1 : 0;
    other_seed += draw_view(6, i, sides, 100) == view ? 1 : 0;
  }
  EXPECT_LT(other_index, 5);
  EXPECT_LT(other_seed, 5);
}

TEST(View, AroundABoxLeavesAnEighthFree) {
  const Sides sides{64, 128, 256};
  const auto around = [&](int left, int top, int right, int bottom) {
    return view_around(left, top, right, bottom, sides, 256);
  };
  // 48 pixels and 8 on each side are 64; one pixel more needs the next.
  EXPECT_EQ(around(100, 120, 147, 130), (View{92, 93, 64}));
  EXPECT_EQ(around(100, 120, 148, 130).side, 128);
  EXPECT_EQ(around(120, 100, 130, 148).side, 128) << "the height counts as the width does";
  EXPECT_EQ(around(80, 0, 175, 0).side, 128);
  EXPECT_EQ(around(80, 0, 176, 0).side, 256);
  EXPECT_EQ(around(0, 0, 255, 255), (View{0, 0, 256})) << "more than any side leaves room for";
  // At the edges it is moved into the picture.
  EXPECT_EQ(around(0, 250, 5, 255), (View{0, 192, 64}));
  EXPECT_EQ(around(250, 0, 255, 3), (View{192, 0, 64}));
}

TEST(View, AroundABoxAgreesWithASearch) {
  const Sides sides{16, 32, 64, 70};
  const int picture = 70;
  const std::vector<float> numbers = random_floats(4 * 3000, 7, 0, 1);
  std::set<int> chosen;
  for (std::size_t i = 0; i + 3 < numbers.size(); i += 4) {
    const auto two = [&](std::size_t at) {
      const int first = static_cast<int>(numbers[at] * picture);
      const int last =
          std::min(picture - 1, first + static_cast<int>(numbers[at + 1] * numbers[at + 1] * 60));
      return std::pair(first, last);
    };
    const auto [left, right] = two(i);
    const auto [top, bottom] = two(i + 2);
    const View view = view_around(left, top, right, bottom, sides, picture);
    ASSERT_LE(view.x, left);
    ASSERT_LE(view.y, top);
    ASSERT_GE(view.x + view.side, right + 1);
    ASSERT_GE(view.y + view.side, bottom + 1);
    ASSERT_GE(std::min(view.x, view.y), 0);
    ASSERT_LE(std::max(view.x, view.y) + view.side, picture);
    // The smallest with an eighth free on each side, were the picture endless.
    const int extent = std::max(right - left, bottom - top) + 1;
    int smallest = picture;
    for (const int side : {64, 32, 16}) {
      if (8 * extent <= 6 * side) smallest = side;
    }
    ASSERT_EQ(view.side, smallest) << extent;
    chosen.insert(view.side);
    // As much free to the left as to the right, unless the picture ends.
    const int free_left = left - view.x, free_right = view.x + view.side - 1 - right;
    if (view.x > 0 && view.x + view.side < picture) {
      ASSERT_LE(std::abs(free_left - free_right), 1);
    }
  }
  EXPECT_EQ(chosen, (std::set<int>{16, 32, 64, 70}));
}

TEST(View, TilesCoverThePictureOnce) {
  EXPECT_EQ(view_tiles(64, 64), (std::vector<View>{{0, 0, 64}}));
  EXPECT_EQ(view_tiles(64, 128), (std::vector<View>{{0, 0, 64}, {64, 0, 64}, {0, 64, 64}, {64, 64, 64}}));
  // 20 = 8 + 8 + 4: the third begins at 12.
  const std::vector<View> tiles = view_tiles(8, 20);
  ASSERT_EQ(tiles.size(), 9u);
  std::vector<int> times(20 * 20);
  for (const View& tile : tiles) {
    for (int y = tile.y; y < tile.y + tile.side; ++y) {
      for (int x = tile.x; x < tile.x + tile.side; ++x) ++times.at(static_cast<std::size_t>(y * 20 + x));
    }
  }
  EXPECT_EQ(std::ranges::min(times), 1);
  EXPECT_EQ(times[12 * 20 + 12], 4);
  EXPECT_EQ(times[11 * 20 + 11], 1);
}

/// Noise, so that no pixel can be taken for another.
std::vector<std::uint8_t> noise(int side) {
  std::vector<std::uint8_t> picture;
  for (const float level : random_floats(static_cast<std::int64_t>(side) * side * 3, 11, 0, 256)) {
    picture.push_back(static_cast<std::uint8_t>(level));
  }
  return picture;
}

TEST(View, OfItsOwnSizeShowsThePixels) {
  const int side = 37;
  const std::vector<std::uint8_t> picture = noise(side);
  const View view{5, 21, 16};
  const Image taken = take_view(picture.data(), side, view, 16);
  ASSERT_EQ(taken.width, 16);
  ASSERT_EQ(taken.height, 16);
  for (int y = 0; y < 16; ++y) {
    for (int x = 0; x < 16; ++x) {
      for (int c = 0; c < 3; ++c) {
        ASSERT_EQ(taken.pixel(x, y)[c], picture[static_cast<std::size_t>(((y + 21) * side + x + 5) * 3 + c)]);
      }
    }
  }
}

TEST(View, LargerOnesAreShrunk) {
  const int side = 40;
  const std::vector<std::uint8_t> picture = noise(side);
  const Image part = take_view(picture.data(), side, {7, 3, 32}, 32);
  EXPECT_EQ(take_view(picture.data(), side, {7, 3, 32}, 16), resize_antialiased(part, 16, 16));
  Image whole(side, side);
  whole.rgb = picture;
  EXPECT_EQ(take_view(picture.data(), side, {0, 0, side}, 16), resize_antialiased(whole, 16, 16));
}

}  // namespace
}  // namespace ddpmts::test
