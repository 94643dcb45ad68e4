// Connected components against a flood fill, and the measures of blobs.
#include "eval/components.h"

#include <gtest/gtest.h>

#include <limits>
#include <random>
#include <stdexcept>
#include <utility>

namespace ddpmts::eval {
namespace {

/// The slow twin: from each unlabelled pixel in turn, walk to all neighbours.
Components flood_fill(const std::vector<std::uint8_t>& mask, int height, int width) {
  Components result{std::vector<std::int32_t>(mask.size(), 0), 0, height, width};
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      if (mask[y * width + x] == 0 || result.labels[y * width + x] != 0) continue;
      ++result.count;
      std::vector<std::pair<int, int>> open = {{y, x}};
      while (!open.empty()) {
        const auto [row, column] = open.back();
        open.pop_back();
        if (row < 0 || row >= height || column < 0 || column >= width) continue;
        const int here = row * width + column;
        if (mask[here] == 0 || result.labels[here] != 0) continue;
        result.labels[here] = result.count;
        for (int dy = -1; dy <= 1; ++dy) {
          for (int dx = -1; dx <= 1; ++dx) open.push_back({row + dy, column + dx});
        }
      }
    }
  }
  return result;
}

TEST(Components, AgreeWithFloodFill) {
  std::mt19937 random(4);
  for (int round = 0; round < 200; ++round) {
    const int height = 1 + static_cast<int>(random() % 25);
    const int width = 1 + static_cast<int>(random() % 25);
    const double share = 0.1 + 0.8 * (round % 9) / 8.0;
    std::vector<std::uint8_t> mask(height * width);
    for (auto& pixel : mask) pixel = std::bernoulli_distribution(share)(random) ? 200 : 0;
    const Components fast = label_components(mask, height, width);
    const Components slow = flood_fill(mask, height, width);
    ASSERT_EQ(fast.count, slow.count);
    ASSERT_EQ(fast.labels, slow.labels);
    std::vector<std::int64_t> areas(slow.count + 1, 0);
    for (const auto label : slow.labels) ++areas[label];
    EXPECT_EQ(component_areas(fast), areas);
  }
}

// Shapes that make a two-pass labelling join late: a comb closed at the bottom, and a spiral.
TEST(Components, JoinLateMeetings) {
  const std::vector<std::uint8_t> comb = {1, 0, 1, 0, 1, 0, 1,  //
                                          1, 0, 1, 0, 1, 0, 1,  //
                                          1, 1, 1, 1, 1, 1, 1};
  EXPECT_EQ(label_components(comb, 3, 7).count, 1);
  const std::vector<std::uint8_t> spiral = {1, 1, 1, 1, 1, 1,  //
                                            0, 0, 0, 0, 0, 1,  //
                                            1, 1, 1, 1, 0, 1,  //
                                            1, 0, 0, 1, 0, 1,  //
                                            1, 0, 0, 0, 0, 1,  //
                                            1, 1, 1, 1, 1, 1};
  EXPECT_EQ(label_components(spiral, 6, 6).count, 1);
}

TEST(Components, RefuseSizesThatDisagree) {
  const std::vector<std::uint8_t> mask(6, 1);
  EXPECT_THROW(label_components(mask, 2, 2), std::invalid_argument);
  EXPECT_THROW(label_components(mask, -2, -3), std::invalid_argument);
  EXPECT_THROW(label_components({}, 0, 0), std::invalid_argument);
  EXPECT_THROW(measure_components(label_components(mask, 2, 3), std::vector<float>(5)),
               std::invalid_argument);
}

TEST(Blobs, BoxAreaMaximumAndMean) {
  const std::vector<float> map = {0.9f, 0.0f, 0.0f, 0.0f, 0.0f,  //
                                  0.0f, 0.0f, 0.5f, 0.0f, 0.0f,  //
                                  0.0f, 0.6f, 0.0f, 0.7f, 0.0f};
  const std::vector<Blob> blobs = find_blobs(map, 3, 5, 0.5);
  ASSERT_EQ(blobs.size(), 2u);
  EXPECT_EQ(blobs[0].x, 1);
  EXPECT_EQ(blobs[0].y, 1);
  EXPECT_EQ(blobs[0].width, 3);
  EXPECT_EQ(blobs[0].height, 2);
  EXPECT_EQ(blobs[0].area, 3);
  EXPECT_FLOAT_EQ(blobs[0].max_value, 0.7f);
  EXPECT_NEAR(blobs[0].mean_value, 0.6, 1e-6);
  EXPECT_EQ(blobs[1].area, 1);
  EXPECT_EQ(find_blobs(map, 3, 5, 0.5, 2).size(), 1u);
  EXPECT_TRUE(find_blobs(map, 3, 5, 0.95).empty());
}

TEST(Blobs, NegativeValuesKeepTheirMaximum) {
  const std::vector<Blob> blobs = find_blobs(std::vector<float>{-3.0f, -1.0f, -2.0f}, 1, 3, -5.0);
  ASSERT_EQ(blobs.size(), 1u);
  EXPECT_EQ(blobs[0].max_value, -1.0f);
  EXPECT_EQ(blobs[0].mean_value, -2.0);
}

TEST(Blobs, LargestFirstThenHighest) {
  const std::vector<float> map = {0.6f, 0.0f, 0.9f, 0.0f, 0.7f, 0.7f};
  const std::vector<Blob> blobs = find_blobs(map, 1, 6, 0.5);
  ASSERT_EQ(blobs.size(), 3u);
  EXPECT_EQ(blobs[0].area, 2);
  EXPECT_EQ(blobs[1].x, 2);
  EXPECT_EQ(blobs[2].x, 0);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THROW(find_blobs(std::vector<float>{nan}, 1, 1, 0.5), std::invalid_argument);
}

}  // namespace
}  // namespace ddpmts::eval
