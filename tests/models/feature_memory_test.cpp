// The feature memory: its vectors, how they are chosen, and what a detector with one says.
#include "models/feature_memory.h"

#include <set>

#include "models/calibrate.h"
#include "tests/models/model_test.h"

namespace ddpmts::test {
namespace {

// Mean of a window of one channel, zeros outside.
double window_mean(const Tensor& x, std::int64_t channel, std::int64_t top, std::int64_t left,
                   std::int64_t window) {
  const std::vector<float> values = x.to_floats();
  double sum = 0;
  for (std::int64_t i = std::max<std::int64_t>(top, 0); i < std::min(top + window, x.dim(1)); ++i) {
    for (std::int64_t j = std::max<std::int64_t>(left, 0); j < std::min(left + window, x.dim(2)); ++j) {
      sum += static_cast<double>(values[static_cast<std::size_t>((i * x.dim(2) + j) * x.dim(3) + channel)]);
    }
  }
  return sum / static_cast<double>(window * window);
}

TEST(MemoryFeatures, AreNeighbourhoodMeansOfAllLevels) {
  const auto level = [](std::int64_t side, std::int64_t channels, std::uint64_t step) {
    return Tensor::from_host<float>({1, side, side, channels}, random_floats(side * side * channels, step));
  };
  const std::vector<Tensor> features{level(8, 64, 1), level(4, 128, 2), level(2, 256, 3)};
  const Tensor vectors = memory_features(features);
  ASSERT_EQ(vectors.shape(), (Shape{1, 4, 4, kMemoryChannels}));
  const std::vector<float> values = vectors.to_floats();
  const auto at = [&](std::int64_t y, std::int64_t x, std::int64_t c) {
    return values[static_cast<std::size_t>((y * 4 + x) * kMemoryChannels + c)];
  };
  for (const std::int64_t y : {0, 2, 3}) {
    for (const std::int64_t x : {0, 1, 3}) {
      EXPECT_NEAR(at(y, x, 5), window_mean(features[0], 5, 2 * y - 2, 2 * x - 2, 6), 1e-5);
      EXPECT_NEAR(at(y, x, 64 + 7), window_mean(features[1], 7, y - 1, x - 1, 3), 1e-5);
    }
  }
  // A corner of the upsampled layer3 is the corner's own mean.
  EXPECT_NEAR(at(0, 0, 192 + 9), window_mean(features[2], 9, -1, -1, 3), 1e-5);
}

// Features that say which picture and position they are: channel 0 counts.
Tensor counting_features(std::int64_t first_picture, std::int64_t pictures) {
  std::vector<float> values(static_cast<std::size_t>(pictures * 16 * kMemoryChannels), 0.0f);
  for (std::int64_t i = 0; i < pictures * 16; ++i) {
    values[static_cast<std::size_t>(i * kMemoryChannels)] = static_cast<float>(first_picture * 16 + i);
  }
  return Tensor::from_host<float>({pictures, 4, 4, kMemoryChannels}, values);
}

std::set<int> chosen_positions(const FeatureMemoryConfig& config, std::uint64_t seed, std::int64_t batch) {
  MemoryCandidates candidates(config, 6, seed);
  for (std::int64_t first = 0; first < 6; first += batch) candidates.add(counting_features(first, batch));
  const Tensor memory = candidates.choose(Device{});
  std::set<int> positions;
  for (std::int64_t i = 0; i < memory.dim(0); ++i) {
    positions.insert(static_cast<int>(memory.to_floats()[static_cast<std::size_t>(i * kMemoryChannels)]));
  }
  EXPECT_EQ(static_cast<std::int64_t>(positions.size()), memory.dim(0)) << "a vector was kept twice";
  return positions;
}

TEST(MemoryCandidates, AreDrawnEvenlyFromAllPictures) {
  FeatureMemoryConfig config;
  config.vectors = config.candidates = 24;  // four of each picture's sixteen, all kept
  const std::set<int> positions = chosen_positions(config, 1, 2);
  ASSERT_EQ(positions.size(), 24u);
  for (int picture = 0; picture < 6; ++picture) {
    EXPECT_EQ(std::distance(positions.lower_bound(picture * 16), positions.lower_bound(picture * 16 + 16)),
              4);
  }
  EXPECT_EQ(chosen_positions(config, 1, 3), positions) << "the batch size must not matter";
  EXPECT_NE(chosen_positions(config, 2, 2), positions) << "the seed must";
}

TEST(MemoryCandidates, TheKeptOnesCoverTheRange) {
  FeatureMemoryConfig config;
  config.vectors = 9;
  config.candidates = 1000;  // every position is a candidate
  const std::set<int> positions = chosen_positions(config, 1, 2);
  // Greedy k-centre on a line of 96 points leaves no gap above an eighth by much.
  int before = 0;
  for (const int position : positions) {
    EXPECT_LE(position - before, 24);
    before = position;
  }
  EXPECT_GE(before, 95 - 24);
}

TEST(MemoryCandidates, RefuseWhatMakesNoSense) {
  expect_error<Error>([] { MemoryCandidates({0, 10}, 1, 1); }, {"0 vectors"});
  expect_error<Error>([] { MemoryCandidates({20, 10}, 1, 1); }, {"20 vectors", "10 candidates"});
  expect_error<Error>([] { MemoryCandidates({5, 10}, 1, 1).choose(Device{}); }, {"no picture"});
}

TEST(DetectorMemory, KnowsWhatItHasSeenAndNothingElse) {
  for (const Precision precision : {Precision::f32, Precision::bf16}) {
    const TeacherFile teacher;
    const auto detector = teacher.detector(small_config(precision));
    const Tensor seen = part_pictures(4, 64, 5);
    EXPECT_FALSE(detector->inspect(seen).memory) << "no memory, no map";
    FeatureMemoryConfig config;
    config.vectors = config.candidates = 4 * 64;  // 8×8 positions a picture: everything
    detector->remember(seen, config, 1, 3);
    EXPECT_EQ(detector->memory().vectors().dim(0), 4 * 64);

    std::vector<std::uint8_t> damaged = seen.to_host<std::uint8_t>();
    for (std::size_t y = 24; y < 40; ++y) {
      for (std::size_t x = 24 * 3; x < 40 * 3; ++x)
        damaged[y * 64 * 3 + x] = static_cast<std::uint8_t>(x * 37);
    }
    const auto largest = [](const std::vector<float>& map) {
      return *std::max_element(map.begin(), map.end());
    };
    const float known = largest(detector->inspect(seen).memory.to_floats());
    const float unknown =
        largest(detector->inspect(Tensor::from_host<std::uint8_t>(seen.shape(), damaged)).memory.to_floats());
    EXPECT_LT(known, 0.05f * unknown) << name_of(precision);
  }
}

}  // namespace
}  // namespace ddpmts::test
