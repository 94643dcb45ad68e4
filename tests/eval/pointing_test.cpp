// Whether a map's peak lies on the defect, or near enough.
#include "eval/pointing.h"

#include <gtest/gtest.h>

#include <stdexcept>
#include <vector>

namespace ddpmts::eval {
namespace {

constexpr int width = 7, height = 5;

// A map whose peak is at (x, y) beside a mask of the one pixel (3, 2).
bool points(int x, int y, int reach) {
  std::vector<float> map(width * height, 0.25f);
  map[static_cast<std::size_t>(y * width + x)] = 0.5f;
  std::vector<std::uint8_t> mask(width * height, 0);
  mask[2 * width + 3] = 255;
  return points_at_defect({map, mask, height, width, "part"}, reach);
}

TEST(Pointing, CountsPixelsWithinReachAlongBothAxes) {
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      for (const int reach : {0, 1, 2, 9}) {
        const bool near = std::abs(x - 3) <= reach && std::abs(y - 2) <= reach;
        EXPECT_EQ(points(x, y, reach), near) << x << ' ' << y << " reach " << reach;
      }
    }
  }
}

TEST(Pointing, RefusesAMaskThatMarksNothing) {
  const std::vector<float> map(4, 0.0f);
  const std::vector<std::uint8_t> nothing(4, 0);
  EXPECT_THROW(points_at_defect({map, nothing, 2, 2, "part"}, 1), std::invalid_argument);
  EXPECT_THROW(points_at_defect({map, {}, 2, 2, "part"}, 1), std::invalid_argument);
  EXPECT_THROW(points_at_defect({map, nothing, 2, 3, "part"}, 1), std::invalid_argument);
}

}  // namespace
}  // namespace ddpmts::eval
