#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "data/resize.h"
#include "generated/test_paths.h"
#include "tests/engine/files_scratch.h"

namespace ddpmts {
namespace {

/// The picture that tests/golden/make_resize.py draws.
Image noise(int width, int height) {
  Image image(width, height);
  std::uint32_t state = 1;
  for (std::uint8_t& value : image.rgb) {
    state = 1664525u * state + 1013904223u;
    value = static_cast<std::uint8_t>(state >> 24);
  }
  return image;
}

TEST(ImageResize, AntialiasedAgreesWithPillow) {
  const auto cases =
      nlohmann::json::parse(testing::get(std::filesystem::path(DDPMTS_GOLDEN_DIR) / "resize.json"));
  ASSERT_EQ(cases.size(), 9u);
  for (const auto& entry : cases) {
    const Image out =
        resize_antialiased(noise(entry["from"][0], entry["from"][1]), entry["to"][0], entry["to"][1]);
    const auto expected = entry["rgb"].get<std::vector<int>>();
    ASSERT_EQ(out.rgb.size(), expected.size());
    for (std::size_t i = 0; i < expected.size(); ++i)
      ASSERT_NEAR(out.rgb[i], expected[i], 1) << entry["from"] << entry["to"] << i;
  }
}

/// The formula in double precision, one output pixel at a time.
double slow_antialiased(const Image& image, int x, int y, int c, int width, int height) {
  const auto weight = [](int k, int i, int from, int to) {
    const double scale = static_cast<double>(from) / to;
    return std::max(0.0, 1.0 - std::abs(k + 0.5 - (i + 0.5) * scale) / std::max(scale, 1.0));
  };
  double sum = 0, total = 0;
  for (int v = 0; v < image.height; ++v) {
    for (int u = 0; u < image.width; ++u) {
      const double w = weight(u, x, image.width, width) * weight(v, y, image.height, height);
      sum += w * image.pixel(u, v)[c];
      total += w;
    }
  }
  return sum / total;
}

TEST(ImageResize, AntialiasedAgreesWithItsFormula) {
  const Image image = noise(37, 23);
  for (const auto& [width, height] : {std::pair{8, 8}, {37, 5}, {50, 23}, {64, 64}, {1, 1}, {36, 24}}) {
    const Image out = resize_antialiased(image, width, height);
    for (int y = 0; y < height; ++y) {
      for (int x = 0; x < width; ++x) {
        for (int c = 0; c < 3; ++c) {
          ASSERT_NEAR(out.pixel(x, y)[c], slow_antialiased(image, x, y, c, width, height), 1.01)
              << x << " " << y;
        }
      }
    }
  }
}

TEST(ImageResize, KeepsSizeAndFlatColours) {
  const Image image = noise(20, 10);
  EXPECT_EQ(resize_antialiased(image, 20, 10), image);
  Image white(33, 21);
  std::ranges::fill(white.rgb, std::uint8_t{255});
  for (const std::uint8_t value : resize_antialiased(white, 7, 50).rgb) EXPECT_EQ(value, 255);
}

TEST(ImageResize, BilinearAgreesWithItsFormula) {
  FloatMap map(5, 4);
  testing::TestRandom random(9);
  for (float& value : map.value) value = static_cast<float>(random.below(1000)) / 100.0f - 3.0f;
  for (const auto& [width, height] : {std::pair{16, 16}, {5, 4}, {3, 2}, {1, 1}, {10, 3}}) {
    const FloatMap out = resize_bilinear(map, width, height);
    for (int y = 0; y < height; ++y) {
      for (int x = 0; x < width; ++x) {
        const double px = std::clamp((x + 0.5) * 5 / width - 0.5, 0.0, 4.0);
        const double py = std::clamp((y + 0.5) * 4 / height - 0.5, 0.0, 3.0);
        double expected = 0;
        for (int v = 0; v < 4; ++v) {
          for (int u = 0; u < 5; ++u) {
            expected +=
                std::max(0.0, 1 - std::abs(px - u)) * std::max(0.0, 1 - std::abs(py - v)) * map.at(u, v);
          }
        }
        ASSERT_NEAR(out.at(x, y), expected, 1e-5) << width << " x " << height << ": " << x << " " << y;
      }
    }
  }
}

TEST(ImageResize, MaskIsCutAtHalf) {
  Mask mask(4, 1);
  mask.value = {0, 0, 255, 255};
  EXPECT_EQ(resize_mask(mask, 4, 1).value, (std::vector<std::uint8_t>{0, 0, 1, 1}));
  EXPECT_EQ(resize_mask(mask, 2, 1).value, (std::vector<std::uint8_t>{0, 1}));
  EXPECT_EQ(resize_mask(mask, 8, 2).value,
            (std::vector<std::uint8_t>{0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1}));
  Mask half(2, 1);
  half.value = {127, 128};
  EXPECT_EQ(resize_mask(half, 2, 1).value, (std::vector<std::uint8_t>{0, 1}));
  half.value = {0, 255};  // exactly one half counts as defect
  EXPECT_EQ(resize_mask(half, 1, 1).value, (std::vector<std::uint8_t>{1}));
}

TEST(ImageResize, RefusesEmptySides) {
  EXPECT_THROW(resize_antialiased(Image(), 4, 4), std::invalid_argument);
  EXPECT_THROW(resize_antialiased(noise(4, 4), 0, 4), std::invalid_argument);
  EXPECT_THROW(resize_bilinear(FloatMap(2, 2), 4, -1), std::invalid_argument);
  EXPECT_THROW(resize_mask(Mask(), 4, 4), std::invalid_argument);
}

}  // namespace
}  // namespace ddpmts
