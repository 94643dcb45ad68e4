// Drawn parts: the same bytes for the same arguments, masks that say exactly where the defect is, good parts that vary.
#include "data/drawn_parts.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <stdexcept>
#include <string>

#include "data/canvas.h"

namespace ddpmts {
namespace {

constexpr int kSize = 128;

std::size_t mask_area(const DrawnPart& part) {
  std::size_t area = 0;
  for (const std::uint8_t m : part.mask.value) area += m;
  return area;
}

bool pixels_equal(const Image& a, const Image& b, std::size_t pixel) {
  return a.rgb[3 * pixel] == b.rgb[3 * pixel] && a.rgb[3 * pixel + 1] == b.rgb[3 * pixel + 1] &&
         a.rgb[3 * pixel + 2] == b.rgb[3 * pixel + 2];
}

/// FNV-1a over a picture's bytes.
std::uint64_t digest(const Image& image) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  for (const std::uint8_t byte : image.rgb) hash = (hash ^ byte) * 0x100000001b3u;
  return hash;
}

class DrawnParts : public ::testing::TestWithParam<PartKind> {};

TEST_P(DrawnParts, SameArgumentsGiveSameBytes) {
  for (const DefectKind defect : {DefectKind::none, DefectKind::stain}) {
    const DrawnPart a = draw_part(GetParam(), defect, 5, 77, kSize),
                    b = draw_part(GetParam(), defect, 5, 77, kSize);
    EXPECT_EQ(a.image, b.image);
    EXPECT_EQ(a.mask, b.mask);
  }
}

TEST_P(DrawnParts, SeedAndIndexChangeAGoodPart) {
  const Image first = draw_part(GetParam(), DefectKind::none, 5, 0, kSize).image;
  for (const auto& [seed, index] :
       {std::pair<std::uint64_t, std::uint64_t>{5, 1}, {5, 2}, {6, 0}, {5, 1ull << 40}}) {
    const Image other = draw_part(GetParam(), DefectKind::none, seed, index, kSize).image;
    std::size_t different = 0;
    for (std::size_t i = 0; i < first.rgb.size() / 3; ++i) different += !pixels_equal(first, other, i);
    EXPECT_GT(different, first.rgb.size() / 3 * 8 / 10) << "seed " << seed << ", index " << index;
  }
}

TEST_P(DrawnParts, GoodPartsHaveAnEmptyMaskAndUseTheRangeOfGreys) {
  for (std::uint64_t index = 0; index < 4; ++index) {
    const DrawnPart part = draw_part(GetParam(), DefectKind::none, 1, index, kSize);
    EXPECT_EQ(part.image.width, kSize);
    EXPECT_EQ(part.image.height, kSize);
    EXPECT_EQ(part.mask.width, kSize);
    EXPECT_EQ(part.mask.height, kSize);
    EXPECT_EQ(mask_area(part), 0u);
    double sum = 0, squares = 0;
    std::size_t clipped = 0;
    for (const std::uint8_t v : part.image.rgb) {
      sum += v;
      squares += static_cast<double>(v) * v;
      clipped += v == 255;
    }
    const double n = static_cast<double>(part.image.rgb.size()), mean = sum / n;
    EXPECT_GT(mean, 50);
    EXPECT_LT(mean, 200);
    EXPECT_GT(std::sqrt(squares / n - mean * mean), 20) << "a picture without contrast";
    EXPECT_LT(static_cast<double>(clipped) / n, 0.02) << "overexposed";
  }
}

TEST_P(DrawnParts, MaskIsWhereTheDefectChangedThePicture) {
  for (const DefectKind defect : defects_of(GetParam())) {
    for (std::uint64_t index = 100; index < 104; ++index) {
      SCOPED_TRACE(std::string(name_of(defect)) + " " + std::to_string(index));
      const DrawnPart good = draw_part(GetParam(), DefectKind::none, 9, index, kSize);
      const DrawnPart bad = draw_part(GetParam(), defect, 9, index, kSize);
      const std::size_t area = mask_area(bad);
      EXPECT_GE(area, 4u);
      EXPECT_LT(area, static_cast<std::size_t>(kSize * kSize / 5));
      std::size_t changed_outside = 0, changed_inside = 0;
      for (std::size_t i = 0; i < bad.mask.value.size(); ++i) {
        ASSERT_LE(bad.mask.value[i], 1);
        (bad.mask.value[i] != 0 ? changed_inside : changed_outside) +=
            !pixels_equal(good.image, bad.image, i);
      }
      EXPECT_EQ(changed_outside, 0u);
      EXPECT_GT(changed_inside, area * 85 / 100);
    }
  }
}

TEST_P(DrawnParts, MaskPixelsStandInRegionsNotSpecks) {
  for (const DefectKind defect : defects_of(GetParam())) {
    const DrawnPart bad = draw_part(GetParam(), defect, 3, 50, kSize);
    for (int y = 1; y + 1 < kSize; ++y) {
      for (int x = 1; x + 1 < kSize; ++x) {
        if (bad.mask.at(x, y) == 0) continue;
        int neighbours = -1;
        for (int v = y - 1; v <= y + 1; ++v) {
          for (int u = x - 1; u <= x + 1; ++u) neighbours += bad.mask.at(u, v);
        }
        ASSERT_GT(neighbours, 0) << name_of(defect) << ": a lone pixel at " << x << ", " << y;
      }
    }
  }
}

TEST_P(DrawnParts, EveryDefectCanBeDrawnAtSeveralSizes) {
  for (const DefectKind defect : defects_of(GetParam())) {
    for (const int size : {64, 96, 200}) EXPECT_GT(mask_area(draw_part(GetParam(), defect, 2, 1, size)), 0u);
  }
}

TEST_P(DrawnParts, RefusesWhatCannotBeDrawn) {
  EXPECT_THROW(draw_part(GetParam(), DefectKind::none, 1, 1, 15), std::invalid_argument);
  EXPECT_THROW(draw_part(GetParam(), DefectKind::none, 1, 1, 4097), std::invalid_argument);
  EXPECT_THROW(draw_part(GetParam(), DefectKind::none, 1, 1ull << 48, kSize), std::invalid_argument);
  const DefectKind impossible = GetParam() == PartKind::fabric ? DefectKind::smear : DefectKind::tear;
  EXPECT_THROW(draw_part(GetParam(), impossible, 1, 1, kSize), std::invalid_argument);
}

INSTANTIATE_TEST_SUITE_P(All, DrawnParts, ::testing::ValuesIn(kPartKinds),
                         [](const auto& part) { return std::string(name_of(part.param)); });

// Fails under another compiler setting than ours: fused multiply-add or -ffast-math in data/canvas.cpp, data/drawn_*.cpp.
TEST(DrawnPartsGolden, BytesAreTheSameOnEveryMachine) {
  const auto all_pictures = [](PartKind part) {
    std::uint64_t sum = digest(draw_part(part, DefectKind::none, 9, 100, kSize).image);
    for (const DefectKind defect : defects_of(part))
      sum = 31 * sum + digest(draw_part(part, defect, 9, 100, kSize).image);
    return sum;
  };
  EXPECT_EQ(all_pictures(PartKind::flange), 1406988457254800402u);
  EXPECT_EQ(all_pictures(PartKind::fabric), 13496749006699947021u);
  EXPECT_EQ(all_pictures(PartKind::blister), 5591370077229064387u);
}

TEST(DrawnPartsNames, PartsHaveFiveDefectsOrMoreAndNamesAreDistinct) {
  for (const PartKind part : kPartKinds) {
    const auto defects = defects_of(part);
    EXPECT_GE(defects.size(), 5u);
    for (std::size_t i = 0; i < defects.size(); ++i) {
      EXPECT_NE(name_of(defects[i]), "good");
      for (std::size_t j = 0; j < i; ++j) EXPECT_NE(name_of(defects[i]), name_of(defects[j]));
    }
  }
}

TEST(DrawingMaths, AgreesWithTheLibrary) {
  constexpr double kTurn = 6.283185307179586;
  for (int i = -3000; i <= 3000; ++i) {
    const float turns = static_cast<float>(i) * 0.0007f;
    EXPECT_NEAR(drawing::sine_of_turns(turns), std::sin(kTurn * turns), 5e-6);
    const drawing::Point p = {static_cast<float>(std::cos(kTurn * turns)),
                              static_cast<float>(std::sin(kTurn * turns))};
    EXPECT_NEAR(drawing::turns_of(p), std::atan2(static_cast<double>(p.y), static_cast<double>(p.x)) / kTurn,
                1e-5);
  }
  EXPECT_EQ(drawing::turns_of({0, 0}), 0.0f);
  for (const float x : {-2.0f, -1.5f, -0.25f, 0.0f, 0.75f, 3.0f}) {
    EXPECT_EQ(drawing::floor_to_int(x), static_cast<int>(std::floor(x)));
  }
}

TEST(DrawingNoise, SensorNoiseHasTheStandardDeviationAskedFor) {
  drawing::FloatImage grey(128);
  std::fill(grey.rgb.begin(), grey.rgb.end(), 100.0f);
  const Image image = drawing::digitise(grey, {0.0f, 3.0f}, {4, kernels::RandomStream::drawing, 2});
  double sum = 0, squares = 0;
  for (const std::uint8_t v : image.rgb) {
    sum += v;
    squares += static_cast<double>(v) * v;
  }
  const double n = static_cast<double>(image.rgb.size()), mean = sum / n;
  EXPECT_NEAR(mean, 100.0, 0.1);
  EXPECT_NEAR(std::sqrt(squares / n - mean * mean), 3.0, 0.15);
}

}  // namespace
}  // namespace ddpmts
