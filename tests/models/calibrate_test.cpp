// What is set after training: map calibration, and scores of many pictures in batches.
#include "models/calibrate.h"

#include <algorithm>
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

double mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
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

TEST_F(Calibrate, SlicesAreRows) {
  const std::vector<std::uint8_t> all = pictures_.to_host<std::uint8_t>();
  const std::size_t row = all.size() / 7;
  const Tensor slice = slice_pictures(pictures_, 2, 3);
  EXPECT_EQ(slice.shape(), (Shape{3, 64, 64, 3}));
  EXPECT_EQ(slice.to_host<std::uint8_t>(),
            std::vector<std::uint8_t>(all.begin() + static_cast<std::ptrdiff_t>(2 * row),
                                      all.begin() + static_cast<std::ptrdiff_t>(5 * row)));
}

TEST_F(Calibrate, ScoresInBatchesEqualScoresOneByOne) {
  std::vector<float> one_by_one;
  for (std::int64_t i = 0; i < 7; ++i) {
    const std::vector<float> score = detector_->inspect(slice_pictures(pictures_, i, 1)).scores;
    ASSERT_EQ(score.size(), 1u);
    one_by_one.push_back(score[0]);
  }
  EXPECT_NE(one_by_one[0], one_by_one[1]);  // pictures that differ do not score alike
  for (const std::int64_t batch : {1, 3, 7, 20}) {
    expect_close(scores_of(*detector_, pictures_, batch), doubles(one_by_one), 1e-5,
                 "scores in batches of " + std::to_string(batch));
  }
}

TEST_F(Calibrate, GoodPicturesMeasureOneOnEachMap) {
  set_head_bias(*detector_, 0.0f);
  calibrate_maps(*detector_, pictures_, 3);
  const MapCalibration& maps = detector_->calibration();
  const Inspection inspection = detector_->inspect(pictures_);
  const std::int64_t k = detector_->config().top_k;
  ASSERT_GT(mean(top_means(inspection.segmentation, k)), 0.02);  // above the floor
  EXPECT_NEAR(mean(top_means(inspection.distance, k)) * maps.distance_scale, 1.0, 1e-4);
  EXPECT_NEAR(mean(top_means(inspection.segmentation, k)) * maps.segmentation_scale, 1.0, 1e-4);
  EXPECT_EQ(maps.distance_offset, 0.0f);
  EXPECT_EQ(maps.segmentation_offset, 0.0f);

  // The combined map is the sum of the two so measured, and its top pixels are the score.
  const std::vector<float> distance = inspection.distance.to_floats();
  const std::vector<float> segmentation = inspection.segmentation.to_floats();
  Doubles sum;
  for (std::size_t i = 0; i < distance.size(); ++i) {
    sum.push_back(static_cast<double>(distance[i]) * maps.distance_scale +
                  static_cast<double>(segmentation[i]) * maps.segmentation_scale);
  }
  expect_close(inspection.anomaly, sum, 1e-5, "anomaly map");
  expect_close(inspection.scores, top_means(inspection.anomaly, k), 1e-5, "scores");
}

TEST_F(Calibrate, HeadThatIsSureOfGoodPicturesIsNotMagnified) {
  set_head_bias(*detector_, -60.0f);
  calibrate_maps(*detector_, pictures_, 4);
  EXPECT_FLOAT_EQ(detector_->calibration().segmentation_scale, 50.0f);  // 1 / the floor of 0.02
  const Inspection inspection = detector_->inspect(pictures_);
  EXPECT_LT(mean(top_means(inspection.segmentation, 20)), 0.02);
}

TEST_F(Calibrate, DoesNotDependOnWhatWasSetBefore) {
  calibrate_maps(*detector_, pictures_, 7);
  const MapCalibration first = detector_->calibration();
  detector_->set_calibration({1.0f, 2.0f, 3.0f, 4.0f});
  calibrate_maps(*detector_, pictures_, 7);
  EXPECT_EQ(detector_->calibration().distance_scale, first.distance_scale);
  EXPECT_EQ(detector_->calibration().segmentation_scale, first.segmentation_scale);
}

TEST_F(Calibrate, OffsetsAreSubtractedBeforeScaling) {
  const MapCalibration maps{0.25f, 3.0f, 0.125f, 2.0f};
  detector_->set_calibration(maps);
  const Inspection inspection = detector_->inspect(pictures_);
  const std::vector<float> distance = inspection.distance.to_floats();
  const std::vector<float> segmentation = inspection.segmentation.to_floats();
  Doubles sum;
  for (std::size_t i = 0; i < distance.size(); ++i) {
    sum.push_back((distance[i] - 0.25) * 3.0 + (segmentation[i] - 0.125) * 2.0);
  }
  expect_close(inspection.anomaly, sum, 1e-5, "anomaly map");
}

}  // namespace
}  // namespace ddpmts::test
