// Starting values: reproducible, of the right distribution, and only where they belong.
#include "layers/initialize.h"

#include "tests/engine/engine_test.h"

namespace ddpmts::test {
namespace {

ParameterList make_list() {
  ParameterList list;
  const auto add = [&](const char* name, const Shape& shape) {
    list.push_back(std::make_shared<Parameter>(name, shape, true, Device{}));
  };
  add("conv1.weight", {64, 3, 3, 64});
  add("bn.weight", {64});
  add("conv2.weight", {64, 3, 3, 64});
  add("stem.weight", {16, 7, 7, 3});
  add("odd.weight", {3, 1, 1, 1});
  fill(*list[1], 1.0f);
  return list;
}

std::vector<float> values_of(const ParameterList& list, std::size_t i) {
  return list[i]->value().to_floats();
}

TEST(Initialize, TheSameSeedGivesTheSameValues) {
  const ParameterList a = make_list(), b = make_list(), c = make_list();
  initialize_convolutions(a, 7);
  initialize_convolutions(b, 7);
  initialize_convolutions(c, 8);
  for (std::size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(values_of(a, i), values_of(b, i));
    if (i == 1) continue;  // a vector
    EXPECT_NE(values_of(a, i), values_of(c, i));
  }
  EXPECT_NE(values_of(a, 0), values_of(a, 2)) << "equal shapes at different places get different numbers";
  EXPECT_EQ(values_of(a, 1), std::vector<float>(64, 1.0f)) << "vectors keep what they have";
}

TEST(Initialize, IsNormalWithVarianceTwoOverFanOut) {
  const ParameterList list = make_list();
  initialize_convolutions(list, 3);
  for (const std::size_t i : {std::size_t{0}, std::size_t{3}}) {
    const std::vector<float> values = values_of(list, i);
    const Shape& shape = list[i]->shape();
    const double deviation = std::sqrt(2.0 / static_cast<double>(shape[0] * shape[1] * shape[2]));
    const double count = static_cast<double>(values.size());
    double mean = 0, square = 0, fourth = 0, within = 0;
    for (const float v : values) {
      const double z = v / deviation;
      mean += z / count;
      square += z * z / count;
      fourth += z * z * z * z / count;
      within += (std::abs(z) < 1 ? 1 : 0) / count;
    }
    // Five standard errors of each moment of N(0, 1).
    EXPECT_NEAR(mean, 0.0, 5 / std::sqrt(count));
    EXPECT_NEAR(square, 1.0, 5 * std::sqrt(2 / count));
    EXPECT_NEAR(fourth, 3.0, 5 * std::sqrt(96 / count));
    EXPECT_NEAR(within, 0.6827, 5 * std::sqrt(0.6827 * 0.3173 / count));
    // Neighbours, which share a Box–Muller pair or a block, are independent.
    for (const std::size_t lag : {std::size_t{1}, std::size_t{2}, std::size_t{4}}) {
      double product = 0;
      for (std::size_t k = lag; k < values.size(); ++k) {
        product += static_cast<double>(values[k]) * values[k - lag] / (deviation * deviation) / count;
      }
      EXPECT_NEAR(product, 0.0, 5 / std::sqrt(count)) << "lag " << lag;
    }
  }
  for (const float v : values_of(list, 4)) {
    EXPECT_TRUE(std::isfinite(v));
    EXPECT_NE(v, 0.0f);
  }
}

TEST(Initialize, RenewsTheRoundedCopyAndTheVersion) {
  const ParameterList list = make_list();
  list[0]->keep_low_precision();
  const std::int64_t version = list[0]->version();
  initialize_convolutions(list, 5);
  EXPECT_GT(list[0]->version(), version);
  EXPECT_EQ(list[0]->low_precision().to_floats(), list[0]->value().cast(DType::bf16).to_floats());
}

TEST(Initialize, FillWritesOneValueEverywhere) {
  Parameter p("bias", {37}, true, {});
  const std::int64_t version = p.version();
  fill(p, 0.25f);
  EXPECT_EQ(p.value().to_floats(), std::vector<float>(37, 0.25f));
  EXPECT_GT(p.version(), version);
}

}  // namespace
}  // namespace ddpmts::test
