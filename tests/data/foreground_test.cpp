#include "data/foreground.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/kernels/kernel_test.h"

namespace ddpmts {
namespace {

/// A plain picture of one colour.
struct Canvas {
  Canvas(int side_, int red, int green, int blue) : side(side_) {
    for (int p = 0; p < side * side; ++p) {
      for (const int level : {red, green, blue}) rgb.push_back(static_cast<std::uint8_t>(level));
    }
  }
  void fill(int left, int top, int right, int bottom, int channel, int level) {
    for (int y = top; y <= bottom; ++y) {
      for (int x = left; x <= right; ++x) {
        rgb[static_cast<std::size_t>((y * side + x) * 3 + channel)] = static_cast<std::uint8_t>(level);
      }
    }
  }
  Mask part(int levels = 24) const { return foreground(rgb.data(), side, levels); }
  int count(int levels = 24) const {
    const Mask mask = part(levels);
    return static_cast<int>(std::count(mask.value.begin(), mask.value.end(), 1));
  }
  int side;
  std::vector<std::uint8_t> rgb;
};

TEST(Foreground, IsWhatDiffersFromTheGround) {
  Canvas canvas(40, 200, 30, 90);
  EXPECT_EQ(canvas.count(), 0);
  canvas.fill(10, 12, 29, 31, 1, 130);
  const Mask mask = canvas.part();
  ASSERT_EQ(mask.width, 40);
  ASSERT_EQ(mask.height, 40);
  for (int y = 0; y < 40; ++y) {
    for (int x = 0; x < 40; ++x) {
      // The vote takes the three outermost pixels of each corner and leaves the sides where they are.
      const bool inside = x >= 10 && x <= 29 && y >= 12 && y <= 31;
      const int from_side = std::min(x - 10, 29 - x) + std::min(y - 12, 31 - y);
      ASSERT_EQ(mask.at(x, y), inside && from_side > 1 ? 1 : 0) << x << "," << y;
    }
  }
}

TEST(Foreground, OneChannelBeyondTheLevelsIsEnough) {
  for (const int channel : {0, 1, 2}) {
    for (const int sign : {-1, 1}) {
      Canvas canvas(30, 100, 100, 100);
      canvas.fill(8, 8, 21, 21, channel, 100 + sign * 24);
      EXPECT_EQ(canvas.count(), 0) << "24 levels are not more than 24";
      EXPECT_GT(canvas.count(23), 0);
      canvas.fill(8, 8, 21, 21, channel, 100 + sign * 25);
      EXPECT_GT(canvas.count(), 0);
    }
  }
}

TEST(Foreground, SpecksGoAndPinholesFill) {
  Canvas canvas(40, 20, 20, 20);
  canvas.fill(3, 3, 5, 5, 0, 220);  // nine of twenty-five votes
  canvas.fill(20, 10, 35, 30, 0, 220);
  canvas.fill(26, 18, 28, 20, 0, 20);  // a hole of nine
  const Mask mask = canvas.part();
  EXPECT_EQ(mask.at(4, 4), 0);
  EXPECT_EQ(mask.at(27, 19), 1);
  EXPECT_EQ(mask.at(22, 12), 1);
}

TEST(Foreground, PartsMayReachTheBorder) {
  Canvas canvas(40, 20, 20, 20);
  canvas.fill(0, 5, 39, 20, 2, 200);  // over the left and the right border, 32 of its 160 pixels
  const Mask mask = canvas.part();
  EXPECT_EQ(mask.at(0, 12), 1);
  EXPECT_EQ(mask.at(39, 12), 1);
  EXPECT_EQ(mask.at(20, 0), 0);
  EXPECT_EQ(mask.at(20, 39), 0);
}

/// The definition, one pixel at a time.
Mask plain_foreground(const std::vector<std::uint8_t>& rgb, int side, int levels) {
  const auto level = [&](int x, int y, int c) {
    return static_cast<int>(rgb[static_cast<std::size_t>((y * side + x) * 3 + c)]);
  };
  int ground[3];
  for (int c = 0; c < 3; ++c) {
    std::vector<int> border;  // corners twice
    for (int i = 0; i < side; ++i) border.insert(border.end(), {level(i, 0, c), level(0, i, c)});
    for (int i = 0; i < side; ++i)
      border.insert(border.end(), {level(i, side - 1, c), level(side - 1, i, c)});
    std::sort(border.begin(), border.end());
    ground[c] = border[border.size() / 2];
  }
  Mask mask(side, side);
  for (int y = 0; y < side; ++y) {
    for (int x = 0; x < side; ++x) {
      int votes = 0, voters = 0;
      for (int dy = -2; dy <= 2; ++dy) {
        for (int dx = -2; dx <= 2; ++dx) {
          const int u = x + dx, v = y + dy;
          if (u < 0 || v < 0 || u >= side || v >= side) continue;
          ++voters;
          int largest = 0;
          for (int c = 0; c < 3; ++c) largest = std::max(largest, std::abs(level(u, v, c) - ground[c]));
          votes += largest > levels ? 1 : 0;
        }
      }
      mask.at(x, y) = votes * 2 > voters ? 1 : 0;
    }
  }
  return mask;
}

TEST(Foreground, AgreesWithItsDefinition) {
  for (const int side : {1, 2, 5, 33}) {
    std::vector<std::uint8_t> rgb;
    for (const float level :
         kernels::test::random_floats(static_cast<std::int64_t>(side) * side * 3, 31, 0, 256)) {
      rgb.push_back(static_cast<std::uint8_t>(level));
    }
    for (const int levels : {90, 102, 110}) {
      const Mask mask = foreground(rgb.data(), side, levels);
      EXPECT_EQ(mask, plain_foreground(rgb, side, levels)) << side;
      if (side == 33 && levels == 102) {  // noise near the threshold: both answers occur
        EXPECT_GT(std::count(mask.value.begin(), mask.value.end(), 0), 50);
        EXPECT_GT(std::count(mask.value.begin(), mask.value.end(), 1), 50);
      }
    }
  }
}

}  // namespace
}  // namespace ddpmts
