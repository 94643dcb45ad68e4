// A convolution with its BatchNorm folded in.
#include "layers/frozen_conv.h"

#include "tests/layers/layer_test.h"

namespace ddpmts::test {
namespace {

class FrozenConvTest : public EngineTest {
 protected:
  static ConvWithNorm parts(std::int64_t out, std::int64_t kernel, std::int64_t in) {
    ConvWithNorm p;
    p.shape = {out, kernel, kernel, in};
    p.weight = random_floats(p.shape.count(), 1, -0.3f, 0.3f);
    p.gamma = random_floats(out, 2, 0.5f, 1.5f);
    p.beta = random_floats(out, 3);
    p.running_mean = random_floats(out, 4);
    p.running_var = random_floats(out, 5, 0.1f, 2.0f);
    return p;
  }
};
DDPMTS_ON_EVERY_PLACEMENT(FrozenConvTest);

TEST_P(FrozenConvTest, FoldsTheNormExactly) {
  for (const float epsilon : {1e-5f, 1e-3f}) {
    ConvWithNorm p = parts(7, 3, 5);
    p.epsilon = epsilon;
    const FrozenConv conv("conv", p, {2, 1, 1}, type(), device());
    EXPECT_EQ(conv.weight().has_low_precision(), type() == DType::bf16);
    EXPECT_FALSE(conv.weight().trainable());
    const Tensor x = random_tensor({2, 13, 9, 5}, GetParam(), 6);
    const ConvShape s{.n = 2, .h = 13, .w = 9, .c = 5, .k = 7, .r = 3, .s = 3, .stride = 2, .padding = 1};
    Doubles expected =
        normalize(conv_reference(s, doubles(x), doubles(p.weight)), doubles(p.running_mean),
                  doubles(p.running_var), doubles(p.gamma), doubles(p.beta), static_cast<double>(epsilon));
    expect_close(conv.forward(x, false), expected, deep_tolerance(type()), "folded");
    expect_close(conv.forward(x, true), rectified(expected), deep_tolerance(type()), "folded, relu");
    const Tensor residual = random_tensor({2, 7, 5, 7}, GetParam(), 7);
    const Doubles r = doubles(residual);
    for (std::size_t i = 0; i < r.size(); ++i) expected[i] += r[i];
    const Tensor held = residual;
    expect_close(conv.forward(x, true, residual), rectified(expected), deep_tolerance(type()),
                 "with residual");
    EXPECT_EQ(doubles(held), r);
  }
}

TEST_P(FrozenConvTest, TakesAWeightAndABiasAsTheyAre) {
  const std::vector<float> weight = random_floats(7 * 3 * 3 * 5, 8), bias = random_floats(7, 9);
  const FrozenConv conv("conv", {7, 3, 3, 5}, weight, bias, {1, 1, 1}, type(), device());
  EXPECT_EQ(conv.weight().value().to_floats(), weight);
  EXPECT_EQ(conv.bias().to_floats(), bias);
  const ConvShape s{.n = 2, .h = 6, .w = 5, .c = 5, .k = 7, .r = 3, .s = 3, .padding = 1};
  const Tensor x = random_tensor({2, 6, 5, 5}, GetParam(), 10);
  Doubles expected = conv_reference(s, doubles(x), doubles(conv.weight().value().cast(type())));
  for (std::size_t i = 0; i < expected.size(); ++i) expected[i] += bias[i % 7];
  expect_close(conv.forward(x, false), expected, tolerance(type()), "y");
}

TEST_P(FrozenConvTest, RecordsNothing) {
  const FrozenConv conv("conv", parts(7, 3, 5), {1, 1, 1}, type(), device());
  Tensor x = random_tensor({1, 4, 4, 5}, GetParam(), 11);
  x.set_needs_grad();
  EXPECT_FALSE(conv.forward(x, true).needs_grad());
  EXPECT_TRUE(x.is_sole_owner());
}

TEST(FrozenConvErrors, SaysWhatDoesNotFit) {
  const std::vector<float> weight(7 * 5), bias(7), short_weight(34), short_bias(6);
  expect_error<ShapeError>(
      [&] {
        FrozenConv("c", {7, 1, 1, 5}, short_weight, bias, {}, DType::f32, {});
      },
      {"34 values", "[7, 1, 1, 5]"});
  expect_error<ShapeError>(
      [&] {
        FrozenConv("c", {7, 1, 1, 5}, weight, short_bias, {}, DType::f32, {});
      },
      {"6 values", "[7]"});
  const FrozenConv conv("c", {7, 1, 1, 5}, weight, bias, {}, DType::f32, {});
  expect_error<ShapeError>(
      [&] {
        conv.forward(random_tensor({1, 2, 2, 4}, {}, 1), false);
      },
      {"[1, 2, 2, 4]", "[7, 1, 1, 5]"});
}

}  // namespace
}  // namespace ddpmts::test
