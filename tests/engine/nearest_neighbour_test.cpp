// The bank search against a plain one, across its chunk and block borders; the greedy choice.
#include "engine/nearest_neighbour.h"

#include <limits>

#include "tests/engine/engine_test.h"

namespace ddpmts::test {
namespace {

Doubles nearest(const Tensor& queries, const Tensor& bank) {
  const std::vector<float> q = queries.to_floats(), c = bank.to_floats();
  const auto channels = static_cast<std::size_t>(bank.dim(1));
  Doubles distances;
  for (std::size_t i = 0; i < q.size(); i += channels) {
    double least = std::numeric_limits<double>::infinity();
    for (std::size_t j = 0; j < c.size(); j += channels) {
      double sum = 0;
      for (std::size_t k = 0; k < channels; ++k) {
        const double d = static_cast<double>(q[i + k]) - static_cast<double>(c[j + k]);
        sum += d * d;
      }
      least = std::min(least, sum);
    }
    distances.push_back(std::sqrt(least));
  }
  return distances;
}

Tensor vectors(std::int64_t count, std::int64_t channels, std::uint64_t step, DType type) {
  return Tensor::from_host<float>({count, channels}, random_floats(count * channels, step, -1.0f, 1.0f))
      .cast(type);
}

TEST(VectorBank, FindsTheNearestAcrossChunksAndBlocks) {
  for (const DType type : {DType::f32, DType::bf16}) {
    for (const auto& [rows, count] :
         {std::pair<std::int64_t, std::int64_t>{1, 1}, {5, 511}, {3, 513}, {1030, 1100}}) {
      SCOPED_TRACE(::testing::Message() << name_of(type) << " " << rows << " of " << count);
      const Tensor bank = vectors(count, 19, 1, type), queries = vectors(rows, 19, 2, type);
      expect_close(VectorBank(bank).distances(queries), nearest(queries, bank), 1e-4, "distance");
    }
  }
}

// bf16 and a multiple of 32 channels: one pass with AMX where the machine has it, products chunk by chunk where not.
TEST(VectorBank, FindsTheNearestInWholeTiles) {
  for (const std::int64_t channels : {32, 96, 448}) {
    for (const auto& [rows, count] :
         {std::pair<std::int64_t, std::int64_t>{1, 1}, {31, 33}, {32, 32}, {70, 100}, {257, 2048}}) {
      SCOPED_TRACE(::testing::Message() << channels << " channels, " << rows << " of " << count);
      const Tensor bank = vectors(count, channels, 1, DType::bf16),
                   queries = vectors(rows, channels, 2, DType::bf16);
      expect_close(VectorBank(bank).distances(queries), nearest(queries, bank), 1e-4, "distance");
    }
  }
}

TEST(VectorBank, NotANumberIsNearNothing) {
  for (const DType type : {DType::f32, DType::bf16}) {
    const Tensor bank = vectors(40, 64, 1, type);
    std::vector<float> values = vectors(3, 64, 2, type).to_floats();
    values[64 + 5] = std::numeric_limits<float>::quiet_NaN();
    const std::vector<float> distance =
        VectorBank(bank).distances(Tensor::from_host<float>({3, 64}, values).cast(type)).to_floats();
    EXPECT_FALSE(std::isnan(distance[0]));
    EXPECT_TRUE(std::isnan(distance[1]));
    EXPECT_FALSE(std::isnan(distance[2]));
  }
}

TEST(VectorBank, TakesFeatureMapsAndFindsItsOwnVectorsAtZero) {
  const Tensor bank = vectors(12, 8, 3, DType::f32);
  const Tensor map = Tensor::from_host<float>({1, 3, 4, 8}, bank.to_floats());
  for (const float distance : VectorBank(bank).distances(map).to_floats()) EXPECT_NEAR(distance, 0.0f, 2e-3);
}

TEST(VectorBank, RefusesWhatDoesNotFit) {
  const VectorBank bank(vectors(4, 8, 3, DType::f32));
  expect_error<ShapeError>([&] { bank.distances(vectors(2, 7, 1, DType::f32)); }, {"[2, 7]", "[4, 8]"});
  expect_error<ShapeError>([&] { bank.distances(vectors(2, 8, 1, DType::bf16)); }, {"bf16", "f32"});
  expect_error<ShapeError>([] { VectorBank(Tensor::zeros({0, 8}, DType::f32)); }, {"bank", "[0, 8]"});
  expect_error<ShapeError>([] { VectorBank(Tensor::zeros({2, 3, 8}, DType::f32)); }, {"bank", "[2, 3, 8]"});
}

TEST(FarthestPoints, CoverALineFromItsEnds) {
  const Tensor line = Tensor::from_host<float>({5, 1}, std::vector<float>{0, 1, 2, 9, 10});
  EXPECT_EQ(farthest_points(line, 4), (std::vector<std::int32_t>{0, 4, 2, 1}));
  EXPECT_EQ(farthest_points(line, 5).back(), 3);
  EXPECT_EQ(farthest_points(line, 1), (std::vector<std::int32_t>{0}));
  expect_error<ShapeError>([&] { farthest_points(line, 6); }, {"6", "5"});
  expect_error<ShapeError>([&] { farthest_points(line, 0); }, {"0", "5"});
}

}  // namespace
}  // namespace ddpmts::test
