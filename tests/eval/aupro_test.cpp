// AUPRO and pixel metrics against numpy's numbers, and AUPRO against a twin that tries every threshold.
#include "eval/aupro.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>
#include <set>
#include <stdexcept>
#include <vector>

#include "eval/components.h"
#include "eval/metrics.h"
#include "generated/test_paths.h"

namespace ddpmts::eval {
namespace {

struct Picture {
  std::vector<float> map;
  std::vector<std::uint8_t> mask;
  int height = 0;
  int width = 0;
};

std::vector<PictureMap> views(const std::vector<Picture>& pictures) {
  std::vector<PictureMap> result;
  for (const Picture& picture : pictures) {
    result.push_back({picture.map, picture.mask, picture.height, picture.width, "drawn"});
  }
  return result;
}

/// Straight from the definition; regions by label, thresholds one by one.
double slow_aupro(const std::vector<Picture>& pictures, double limit) {
  std::set<float, std::greater<>> thresholds;
  for (const Picture& picture : pictures) thresholds.insert(picture.map.begin(), picture.map.end());
  double area = 0;
  double previous_rate = 0;
  double previous_overlap = 0;
  for (const float threshold : thresholds) {
    double false_pixels = 0;
    double background = 0;
    double recalls = 0;
    double regions = 0;
    for (const Picture& picture : pictures) {
      const Components components = label_components(picture.mask, picture.height, picture.width);
      std::vector<double> held(components.count + 1, 0.0);
      std::vector<double> called(components.count + 1, 0.0);
      for (std::size_t i = 0; i < picture.map.size(); ++i) {
        held[components.labels[i]] += 1;
        called[components.labels[i]] += picture.map[i] >= threshold ? 1 : 0;
      }
      false_pixels += called[0];
      background += held[0];
      regions += components.count;
      for (int label = 1; label <= components.count; ++label) recalls += called[label] / held[label];
    }
    const double rate = false_pixels / background;
    const double overlap = recalls / regions;
    const double end = std::min(rate, limit);
    if (rate > previous_rate) {
      const double share = (end - previous_rate) / (rate - previous_rate);
      area += (end - previous_rate) * (previous_overlap + 0.5 * share * (overlap - previous_overlap));
    }
    previous_rate = rate;
    previous_overlap = overlap;
    if (rate >= limit) break;
  }
  return area / limit;
}

Picture random_picture(std::mt19937& random, int levels) {
  Picture picture;
  picture.height = 3 + static_cast<int>(random() % 12);
  picture.width = 3 + static_cast<int>(random() % 12);
  std::normal_distribution<float> normal;
  for (int i = 0; i < picture.height * picture.width; ++i) {
    const bool defect = random() % 5 == 0;
    float value = normal(random) + (defect ? 1.0f : 0.0f);
    if (levels > 0) value = std::round(value * static_cast<float>(levels)) / static_cast<float>(levels);
    picture.map.push_back(value);
    picture.mask.push_back(defect ? 255 : 0);
  }
  return picture;
}

TEST(Aupro, AgreesWithNumpyAndScikitImage) {
  std::ifstream file(DDPMTS_GOLDEN_DIR "/metrics.json");
  ASSERT_TRUE(file);
  const nlohmann::json cases = nlohmann::json::parse(file).at("pictures");
  ASSERT_GE(cases.size(), 6u);
  for (const auto& entry : cases) {
    SCOPED_TRACE(entry.at("name").get<std::string>());
    std::vector<Picture> pictures;
    int regions = 0;
    for (const auto& picture : entry.at("pictures")) {
      pictures.push_back({picture.at("map").get<std::vector<float>>(),
                          picture.at("mask").get<std::vector<std::uint8_t>>(),
                          picture.at("height").get<int>(), picture.at("width").get<int>()});
      regions += label_components(pictures.back().mask, pictures.back().height, pictures.back().width).count;
    }
    EXPECT_EQ(regions, entry.at("regions").get<int>());
    const auto limits = entry.at("limits").get<std::vector<double>>();
    for (std::size_t i = 0; i < limits.size(); ++i) {
      EXPECT_NEAR(aupro(views(pictures), limits[i]).value(), entry.at("aupro").at(i).get<double>(), 1e-12);
    }
    const RankedScores pixels(views(pictures));
    EXPECT_NEAR(auroc(pixels).value(), entry.at("pixel_auroc").get<double>(), 1e-12);
    EXPECT_NEAR(average_precision(pixels).value(), entry.at("pixel_ap").get<double>(), 1e-12);
  }
}

TEST(Aupro, AgreesWithEveryThreshold) {
  std::mt19937 random(2);
  for (int round = 0; round < 60; ++round) {
    std::vector<Picture> pictures;
    for (int i = 0; i < 1 + round % 4; ++i) pictures.push_back(random_picture(random, round % 3));
    pictures.front().mask.front() = 1;
    pictures.front().mask.back() = 0;
    for (const double limit : {0.05, 0.3, 1.0}) {
      EXPECT_NEAR(aupro(views(pictures), limit).value(), slow_aupro(pictures, limit), 1e-12) << round;
    }
  }
}

// A missed small region must weigh as much as a missed large one.
TEST(Aupro, CountsRegionsNotPixels) {
  Picture picture{std::vector<float>(100, 0.0f), std::vector<std::uint8_t>(100, 0), 10, 10};
  for (int i = 0; i < 50; ++i) picture.mask[i] = 1;  // five whole rows, found
  for (int i = 0; i < 50; ++i) picture.map[i] = 1.0f;
  picture.mask[99] = 1;  // one pixel, missed: no higher than the background
  // Up from PRO 0.5 at FPR 0 to 1 at FPR 1 in a straight line: 0.5 + 0.5 * 0.15 on average up to 0.3.
  EXPECT_NEAR(aupro(views({picture})).value(), 0.575, 1e-12);
}

TEST(Aupro, EmptyMaskMeansGood) {
  std::mt19937 random(9);
  std::vector<Picture> pictures = {random_picture(random, 0), random_picture(random, 0)};
  pictures[1].mask.assign(pictures[1].mask.size(), 0);
  const double with_zeros = aupro(views(pictures)).value();
  const double pixel_with_zeros = auroc(RankedScores(views(pictures))).value();
  pictures[1].mask.clear();
  EXPECT_EQ(aupro(views(pictures)).value(), with_zeros);
  EXPECT_EQ(auroc(RankedScores(views(pictures))).value(), pixel_with_zeros);
}

TEST(Aupro, EmptyWithoutRegionsOrBackground) {
  EXPECT_FALSE(aupro({}).has_value());
  Picture picture{std::vector<float>(4, 0.5f), std::vector<std::uint8_t>(4, 0), 2, 2};
  EXPECT_FALSE(aupro(views({picture})).has_value());
  picture.mask.assign(4, 1);
  EXPECT_FALSE(aupro(views({picture})).has_value());
}

TEST(Aupro, RefusesWhatIsWrongAndNamesThePicture) {
  Picture picture{std::vector<float>(4, 0.5f), {0, 1, 0, 1}, 2, 2};
  EXPECT_THROW(aupro(views({picture}), 0.0), std::invalid_argument);
  EXPECT_THROW(aupro(views({picture}), 1.5), std::invalid_argument);
  EXPECT_THROW(aupro(views({picture}), std::numeric_limits<double>::quiet_NaN()), std::invalid_argument);
  Picture broken = picture;
  broken.map[2] = std::numeric_limits<float>::quiet_NaN();
  Picture small_mask = picture;
  small_mask.mask.pop_back();
  Picture negative = picture;
  negative.height = negative.width = -2;
  for (const Picture& wrong : {broken, small_mask, negative}) {
    try {
      aupro(views({wrong}));
      ADD_FAILURE() << "accepted";
    } catch (const std::invalid_argument& error) {
      EXPECT_NE(std::string(error.what()).find("'drawn'"), std::string::npos) << error.what();
    }
    EXPECT_THROW(RankedScores{views({wrong})}, std::invalid_argument);
  }
}

}  // namespace
}  // namespace ddpmts::eval
