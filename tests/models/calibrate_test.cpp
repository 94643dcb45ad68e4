// What is set after training: map calibration, and scores of many pictures in batches.
#include "models/calibrate.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "tests/models/model_test.h"

namespace ddpmts::test {
namespace {

/// Mean of the k largest values of each picture's map, by sorting.
std::vector<double> top_means(const Tensor& maps, std::int64_t k) {
  const std::vector<float> values = maps.to_floats();
  const auto pixels = maps.count() / maps.dim(0);
  std::vector<double> means;
  for (std::int64_t n = 0; n < maps.dim(0); ++n) {
    std::vector<float> one(values.begin() + n * pixels, values.begin() + (n + 1) * pixels);
    std::sort(one.begin(), one.end(), std::greater<>());
    double sum = 0;
    for (std::int64_t i = 0; i < k; ++i) sum += one[static_cast<std::size_t>(i)];
    means.push_back(sum / static_cast<double>(k));
  }
  return means;
}

/// The head's last bias: what decides how sure an untrained head is.
void set_head_bias(const Detector& detector, float bias) {
  for (const ParameterPtr& p : detector.parameters()) {
    if (p->name() == "head.classifier.conv2.bias") return set_values(*p, {bias});
  }
  FAIL() << "the head has no last bias";
}

class Calibrate : public ::testing::Test {
 protected:
  TeacherFile teacher_;
  std::unique_ptr<Detector> detector_ = teacher_.detector(small_config());
  Tensor pictures_ = part_pictures(7, 64, 5);
};

TEST_F(Calibrate, ScoresInBatchesEqualScoresOneByOne) {
  std::vector<float> one_by_one;
  for (std::int64_t i = 0; i < 7; ++i) {
    const std::vector<float> score = detector_->inspect(pictures_.slice(i, 1)).scores;
    ASSERT_EQ(score.size(), 1u);
    one_by_one.push_back(score[0]);
  }
  EXPECT_NE(one_by_one[0], one_by_one[1]);  // pictures that differ do not score alike
  for (const std::int64_t batch : {1, 3, 7, 20}) {
    expect_close(scores_of(*detector_, pictures_, batch), doubles(one_by_one), 1e-5,
                 "scores in batches of " + std::to_string(batch));
  }
}

struct Spread {
  double mean = 0, deviation = 0;
};
Spread spread(const std::vector<double>& values) {
  Spread s;
  for (const double v : values) s.mean += v / static_cast<double>(values.size());
  for (const double v : values) s.deviation += (v - s.mean) * (v - s.mean);
  s.deviation = std::sqrt(s.deviation / static_cast<double>(values.size() - 1));
  return s;
}

/// The combined map that the calibration asks for.
Doubles combined(const Inspection& inspection, const MapCalibration& maps) {
  Doubles sum(static_cast<std::size_t>(inspection.anomaly.count()));
  const auto add = [&](const Tensor& map, const MapUnit& unit) {
    const std::vector<float> values = map.to_floats();
    for (std::size_t i = 0; i < sum.size(); ++i) {
      sum[i] += (static_cast<double>(values[i]) - static_cast<double>(unit.offset)) *
                static_cast<double>(unit.scale);
    }
  };
  add(inspection.distance, maps.distance);
  add(inspection.segmentation, maps.segmentation);
  if (inspection.memory) add(inspection.memory, maps.memory);
  return sum;
}

TEST_F(Calibrate, MapsCountInDeviationsOfGoodPictures) {
  set_head_bias(*detector_, 0.0f);
  FeatureMemoryConfig memory;
  memory.vectors = memory.candidates = 60;
  detector_->remember(part_pictures(5, 64, 9), memory, 1, 2);
  calibrate_maps(*detector_, pictures_, 3);
  const MapCalibration& maps = detector_->calibration();
  const Inspection inspection = detector_->inspect(pictures_);
  const std::int64_t k = detector_->config().top_k;
  const auto expect_unit = [k](const Tensor& map, const MapUnit& unit, double weight, double least,
                               const char* what) {
    const Spread good = spread(top_means(map, k));
    EXPECT_NEAR(unit.offset, good.mean, 1e-4 * std::abs(good.mean)) << what;
    const double expected = weight / std::max({good.deviation, 0.05 * good.mean, least});
    EXPECT_NEAR(unit.scale, expected, 1e-2 * expected) << what;
  };
  expect_unit(inspection.distance, maps.distance, 0.25, 1e-6, "distance");
  expect_unit(inspection.segmentation, maps.segmentation, 0.5, 0.02, "segmentation");
  expect_unit(inspection.memory, maps.memory, 1.0, 1e-6, "memory");
  expect_close(inspection.anomaly, combined(inspection, maps), 1e-4, "anomaly map");
  expect_close(inspection.scores, top_means(inspection.anomaly, k), 1e-5, "scores");
}

TEST_F(Calibrate, HeadThatIsSureOfGoodPicturesIsNotMagnified) {
  set_head_bias(*detector_, -60.0f);
  calibrate_maps(*detector_, pictures_, 4);
  EXPECT_FLOAT_EQ(detector_->calibration().segmentation.scale, 25.0f);  // a half by the floor of 0.02
}

TEST_F(Calibrate, OnePictureIsEnough) {
  calibrate_maps(*detector_, pictures_.slice(0, 1), 1);
  const MapUnit& distance = detector_->calibration().distance;
  EXPECT_NEAR(distance.scale, 0.25 / (0.05 * distance.offset), 1e-3 * distance.scale);
}

TEST_F(Calibrate, DoesNotDependOnWhatWasSetBefore) {
  calibrate_maps(*detector_, pictures_, 7);
  const MapCalibration first = detector_->calibration();
  detector_->set_calibration({{1.0f, 2.0f}, {3.0f, 4.0f}, {5.0f, 6.0f}});
  calibrate_maps(*detector_, pictures_, 7);
  EXPECT_EQ(detector_->calibration().distance.scale, first.distance.scale);
  EXPECT_EQ(detector_->calibration().segmentation.scale, first.segmentation.scale);
}

TEST_F(Calibrate, OffsetsAreSubtractedBeforeScaling) {
  const MapCalibration maps{{0.25f, 3.0f}, {0.125f, 2.0f}, {}};
  detector_->set_calibration(maps);
  const Inspection inspection = detector_->inspect(pictures_);
  EXPECT_FALSE(inspection.memory);
  expect_close(inspection.anomaly, combined(inspection, maps), 1e-5, "anomaly map");
}

}  // namespace
}  // namespace ddpmts::test
