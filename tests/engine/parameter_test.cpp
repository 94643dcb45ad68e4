// Parameters: the rounded copy, versions and gradient accumulation.
#include "engine/parameter.h"

#include "tests/engine/engine_test.h"

namespace ddpmts::test {
namespace {

TEST(ParameterTest, StartsAtZeroWithoutCopyOrGradient) {
  Parameter p("layer.weight", {2, 3, 3, 4}, true, {});
  EXPECT_EQ(p.name(), "layer.weight");
  EXPECT_EQ(p.value().to_floats(), std::vector<float>(72));
  EXPECT_FALSE(p.has_low_precision());
  EXPECT_FALSE(p.has_grad());
  EXPECT_TRUE(p.trainable());
  EXPECT_TRUE(p.decays());
  EXPECT_FALSE(Parameter("bias", {4}, false, {}).decays());
  EXPECT_FALSE(Parameter("bias", {4}, false, {}).trainable());
}

TEST(ParameterTest, ComputesInTheTypeOfTheActivations) {
  Parameter p("w", {37, 3}, true, {});
  set_values(p, random_floats(111, 1));
  EXPECT_TRUE(p.compute(DType::f32).is_same(p.value()));
  EXPECT_FALSE(p.has_low_precision()) << "made when first asked for";
  EXPECT_EQ(p.compute(DType::bf16).to_floats(), p.value().cast(DType::bf16).to_floats());
  expect_error<ShapeError>([&] { p.compute(DType::u8); }, {"parameter w", "u8"});

  EXPECT_TRUE(p.has_low_precision());
  const void* memory = p.low_precision().raw();
  p.keep_low_precision();
  set_values(p, random_floats(111, 2));
  EXPECT_EQ(p.compute(DType::bf16).raw(), memory) << "renewed in place";
  EXPECT_EQ(p.compute(DType::bf16).to_floats(), p.value().cast(DType::bf16).to_floats());
}

TEST(ParameterTest, EveryChangeIsANewVersion) {
  Parameter p("w", {4}, true, {});
  const std::int64_t first = p.version();
  p.changed();
  const std::int64_t second = p.version();
  p.changed_with_copy();
  EXPECT_LT(first, second);
  EXPECT_LT(second, p.version());
}

TEST(ParameterTest, GradientsAccumulateUntilCleared) {
  Parameter p("w", {5, 3}, true, {});
  const auto give = [&](std::uint64_t step) {
    const Tensor target = p.grad_target();
    const std::vector<float> values = random_floats(15, step);
    std::copy(values.begin(), values.end(), target.data<float>());
    p.commit_grad(target);
    return values;
  };
  const std::vector<float> first = give(1);
  EXPECT_TRUE(p.has_grad());
  EXPECT_EQ(p.grad().to_floats(), first);
  const void* memory = p.grad().raw();
  const std::vector<float> second = give(2);
  std::vector<float> sum(15);
  for (std::size_t i = 0; i < sum.size(); ++i) sum[i] = first[i] + second[i];
  EXPECT_EQ(p.grad().to_floats(), sum);
  p.clear_grad();
  EXPECT_FALSE(p.has_grad());
  const std::vector<float> third = give(3);
  EXPECT_EQ(p.grad().to_floats(), third) << "nothing is left of what was cleared";
  EXPECT_EQ(p.grad().raw(), memory);
}

}  // namespace
}  // namespace ddpmts::test
