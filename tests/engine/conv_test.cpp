// Convolution: the library primitives with every epilogue and gradient against a double-precision loop, and the
// recorded operations above them.
#include <thread>

#include "engine/ops.h"
#include "engine/primitives.h"
#include "tests/engine/gradient_check.h"
#include "tests/engine/reference.h"

namespace ddpmts::test {
namespace {

struct ConvCase {
  const char* name;
  ConvShape shape;
};

// Sizes that are multiples of nothing, single pixels and channels, the networks' own kinds, and shapes that the
// blocked matrix kernels take.
const ConvCase kCases[] = {
    {"3x3 odd", {.n = 3, .h = 13, .w = 9, .c = 5, .k = 7, .r = 3, .s = 3, .padding = 1}},
    {"3x3 without padding", {.n = 3, .h = 13, .w = 9, .c = 5, .k = 7, .r = 3, .s = 3}},
    {"1x1 map, 1x1 filter", {.n = 3, .h = 1, .w = 1, .c = 5, .k = 7}},
    {"1x1 map, 3x3 filter", {.n = 3, .h = 1, .w = 1, .c = 5, .k = 7, .r = 3, .s = 3, .padding = 1}},
    {"1x1 map, 3x3 filter, stride 2",
     {.n = 2, .h = 1, .w = 1, .c = 6, .k = 8, .r = 3, .s = 3, .stride = 2, .padding = 1}},
    {"one channel in and out", {.n = 2, .h = 13, .w = 9, .c = 1, .k = 1, .r = 3, .s = 3, .padding = 1}},
    {"one output channel", {.n = 2, .h = 13, .w = 9, .c = 64, .k = 1}},
    {"stem 7x7", {.n = 2, .h = 13, .w = 9, .c = 3, .k = 7, .r = 7, .s = 7, .stride = 2, .padding = 3}},
    {"stem 7x7 blocked",
     {.n = 1, .h = 20, .w = 12, .c = 3, .k = 32, .r = 7, .s = 7, .stride = 2, .padding = 3}},
    {"dilation 6", {.n = 3, .h = 13, .w = 9, .c = 5, .k = 7, .r = 3, .s = 3, .padding = 6, .dilation = 6}},
    {"dilation beyond the map",
     {.n = 2, .h = 13, .w = 9, .c = 5, .k = 7, .r = 3, .s = 3, .padding = 18, .dilation = 18}},
    {"dilation 6 blocked",
     {.n = 1, .h = 13, .w = 9, .c = 32, .k = 32, .r = 3, .s = 3, .padding = 6, .dilation = 6}},
    {"1x1 stride 2", {.n = 3, .h = 13, .w = 9, .c = 5, .k = 7, .stride = 2}},
    {"1x1 stride 2 blocked", {.n = 2, .h = 12, .w = 8, .c = 32, .k = 64, .stride = 2}},
    {"3x3 stride 2", {.n = 3, .h = 13, .w = 9, .c = 5, .k = 7, .r = 3, .s = 3, .stride = 2, .padding = 1}},
    {"3x3 stride 2 even",
     {.n = 1, .h = 12, .w = 8, .c = 32, .k = 32, .r = 3, .s = 3, .stride = 2, .padding = 1}},
    {"3x3 blocked", {.n = 2, .h = 8, .w = 8, .c = 32, .k = 64, .r = 3, .s = 3, .padding = 1}},
    {"3x3 by Winograd in f32", {.n = 2, .h = 17, .w = 13, .c = 37, .k = 33, .r = 3, .s = 3, .padding = 1}},
    {"dilation 2 by Winograd in f32",
     {.n = 1, .h = 30, .w = 22, .c = 32, .k = 34, .r = 3, .s = 3, .padding = 2, .dilation = 2}},
    {"3x3 to 1x1", {.n = 2, .h = 3, .w = 3, .c = 5, .k = 7, .r = 3, .s = 3}},
    {"flat filter", {.n = 2, .h = 13, .w = 9, .c = 5, .k = 7, .r = 1, .s = 3}},
};

Shape input_shape(const ConvShape& s) { return {s.n, s.h, s.w, s.c}; }
Shape output_shape(const ConvShape& s) { return {s.n, s.out_h(), s.out_w(), s.k}; }
Shape weight_shape(const ConvShape& s) { return {s.k, s.r, s.s, s.c}; }
Doubles used(Parameter& weight, DType type) { return doubles(weight.compute(type)); }

class Convolution : public EngineTest {};
DDPMTS_ON_EVERY_PLACEMENT(Convolution);

TEST_P(Convolution, ForwardMatchesTheLoopWithEveryEpilogue) {
  for (const ConvCase& c : kCases) {
    ConvShape s = c.shape;
    s.type = type();
    const Tensor x = random_tensor(input_shape(s), GetParam(), 1);
    const ParameterPtr weight = random_parameter("weight", weight_shape(s), GetParam(), 2);
    const Tensor bias = random_tensor({s.k}, {device(), DType::f32}, 3, -2.0f, 2.0f);
    const Tensor residual = random_tensor(output_shape(s), GetParam(), 4, -2.0f, 2.0f);
    const Doubles sum = conv_reference(s, doubles(x), used(*weight, type()));
    for (int epilogue = 0; epilogue < 8; ++epilogue) {
      const bool with_bias = epilogue & 1, accumulate = epilogue & 2, relu = epilogue & 4;
      Doubles expected = sum;
      const Doubles biases = doubles(bias), residuals = doubles(residual);
      for (std::size_t i = 0; i < expected.size(); ++i) {
        if (with_bias) expected[i] += biases[i % biases.size()];
        if (accumulate) expected[i] += residuals[i];
      }
      if (relu) expected = rectified(expected);
      // The residual lies apart from the result, or (on odd rounds) in its place.
      const Tensor y = accumulate && with_bias ? residual.clone() : poisoned(output_shape(s), GetParam());
      const void* added = with_bias ? y.raw() : residual.raw();
      conv_forward(device(), s, x.raw(), *weight,
                   {with_bias ? bias.data<float>() : nullptr, accumulate ? added : nullptr, relu}, y.raw());
      expect_close(y, expected, tolerance(type()),
                   fmt::format("{}, bias {}, residual {}, relu {}", c.name, with_bias, accumulate, relu));
    }
  }
}

TEST_P(Convolution, DataGradientMatchesTheLoop) {
  for (const ConvCase& c : kCases) {
    ConvShape s = c.shape;
    s.type = type();
    const Tensor dy = random_tensor(output_shape(s), GetParam(), 5);
    const ParameterPtr weight = random_parameter("weight", weight_shape(s), GetParam(), 6);
    const Tensor dx = poisoned(input_shape(s), GetParam());
    conv_backward_data(device(), s, dy.raw(), *weight, dx.raw());
    expect_close(dx, conv_data_gradient(s, doubles(dy), used(*weight, type())), tolerance(type()), c.name);
  }
}

// Weight and bias gradients are f32 sums of exact products, also in bf16.
TEST_P(Convolution, WeightAndBiasGradientsMatchTheLoop) {
  for (const ConvCase& c : kCases) {
    ConvShape s = c.shape;
    s.type = type();
    const Tensor x = random_tensor(input_shape(s), GetParam(), 7);
    const Tensor dy = random_tensor(output_shape(s), GetParam(), 8);
    const Doubles expected = conv_weight_gradient(s, doubles(x), doubles(dy));
    for (const bool with_bias : {false, true}) {
      const Tensor dw = poisoned(weight_shape(s), {device(), DType::f32});
      const Tensor dbias = poisoned({s.k}, {device(), DType::f32});
      conv_backward_weights(device(), s, x.raw(), dy.raw(), dw.data<float>(),
                            with_bias ? dbias.data<float>() : nullptr);
      expect_close(dw, expected, 1e-5, std::string(c.name) + " dw");
      if (with_bias) {
        expect_close(dbias, channel_sums(doubles(dy), static_cast<std::size_t>(s.k)), 1e-5,
                     std::string(c.name) + " dbias");
      }
    }
  }
}

TEST_P(Convolution, UsesTheNewWeightAfterAChange) {
  ConvShape s = kCases[0].shape;
  s.type = type();
  const Tensor x = random_tensor(input_shape(s), GetParam(), 9);
  const Tensor dy = random_tensor(output_shape(s), GetParam(), 10);
  const ParameterPtr weight = random_parameter("weight", weight_shape(s), GetParam(), 11);
  for (std::uint64_t round = 0; round < 3; ++round) {
    set_values(*weight, random_floats(weight->shape().count(), 100 + round));
    const Tensor y = poisoned(output_shape(s), GetParam());
    const Tensor dx = poisoned(input_shape(s), GetParam());
    conv_forward(device(), s, x.raw(), *weight, {}, y.raw());
    conv_backward_data(device(), s, dy.raw(), *weight, dx.raw());
    expect_close(y, conv_reference(s, doubles(x), used(*weight, type())), tolerance(type()), "y");
    expect_close(dx, conv_data_gradient(s, doubles(dy), used(*weight, type())), tolerance(type()), "dx");
  }
}

TEST_P(Convolution, OneWeightServesManyMapSizesAndThreads) {
  const ParameterPtr weight = random_parameter("weight", {32, 3, 3, 32}, GetParam(), 12);
  const auto inspect = [&](std::int64_t height) {
    const ConvShape s{
        .n = 1, .h = height, .w = 9, .c = 32, .k = 32, .r = 3, .s = 3, .padding = 1, .type = type()};
    const Tensor x = random_tensor(input_shape(s), GetParam(), 13);
    const Tensor y = poisoned(output_shape(s), GetParam());
    conv_forward(device(), s, x.raw(), *weight, {}, y.raw());
    expect_close(y, conv_reference(s, doubles(x), used(*weight, type())), tolerance(type()),
                 fmt::format("height {}", height));
  };
  std::vector<std::thread> threads;
  for (std::int64_t t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      for (std::int64_t height = 1; height < 6; ++height) inspect(height + t);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_P(Convolution, RecordedGradientsMatchTheLoop) {
  for (const ConvCase& c : kCases) {
    ConvShape s = c.shape;
    s.type = type();
    if (s.r != s.s) continue;
    Tensor x = random_tensor(input_shape(s), GetParam(), 14);
    x.set_needs_grad();
    const ParameterPtr weight = random_parameter("weight", weight_shape(s), GetParam(), 15);
    const ParameterPtr bias = random_parameter("bias", {s.k}, {device(), DType::f32}, 16);
    const Tensor dy = random_tensor(output_shape(s), GetParam(), 17);
    const Tensor y = conv2d(x, weight, bias, {s.stride, s.padding, s.dilation});
    EXPECT_EQ(y.type(), type());
    ASSERT_EQ(y.shape(), output_shape(s)) << c.name;
    backward_from(y, dy);
    expect_close(x.grad(), conv_data_gradient(s, doubles(dy), used(*weight, type())), tolerance(type()),
                 c.name);
    expect_close(weight->grad(), conv_weight_gradient(s, doubles(x), doubles(dy)), 1e-5, c.name);
    expect_close(bias->grad(), channel_sums(doubles(dy), static_cast<std::size_t>(s.k)), 1e-5, c.name);
    EXPECT_EQ(x.grad().type(), type());
  }
}

TEST_P(Convolution, FusedMatchesTheLoopAndLeavesHeldTensorsAlone) {
  const ConvShape s{.n = 2, .h = 13, .w = 9, .c = 7, .k = 7, .r = 3, .s = 3, .padding = 1, .type = type()};
  const Tensor x = random_tensor(input_shape(s), GetParam(), 18);
  const ParameterPtr weight = random_parameter("weight", weight_shape(s), GetParam(), 19);
  const Tensor bias = random_tensor({s.k}, {device(), DType::f32}, 20);
  Doubles expected = conv_reference(s, doubles(x), used(*weight, type()));
  const Doubles biases = doubles(bias);
  for (std::size_t i = 0; i < expected.size(); ++i) expected[i] += biases[i % biases.size()];
  const ConvOptions options{1, 1, 1};

  expect_close(conv2d_fused(x, *weight, bias, options, {}, false), expected, tolerance(type()), "bias");
  expect_close(conv2d_fused(x, *weight, bias, options, {}, true), rectified(expected), tolerance(type()),
               "bias, relu");

  const Tensor residual = random_tensor(output_shape(s), GetParam(), 21);
  const Tensor before = residual.clone();
  Doubles sum = expected;
  const Doubles residuals = doubles(residual);
  for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += residuals[i];
  {
    const Tensor held = residual;
    expect_close(conv2d_fused(x, *weight, bias, options, residual, true), rectified(sum), tolerance(type()),
                 "held residual");
    expect_same_values(held, before, "held residual");
  }
  const void* memory = residual.raw();
  const Tensor y = conv2d_fused(x, *weight, bias, options, residual, true);
  expect_close(y, rectified(sum), tolerance(type()), "residual given up");
  EXPECT_EQ(y.raw(), memory) << "the residual's memory was to be used again";
}

TEST_P(Convolution, FusedTakesItsInputAsResidual) {
  const ConvShape s{.n = 2, .h = 13, .w = 9, .c = 7, .k = 7, .r = 3, .s = 3, .padding = 1, .type = type()};
  const Tensor x = random_tensor(input_shape(s), GetParam(), 22);
  const Tensor before = x.clone();
  const ParameterPtr weight = random_parameter("weight", weight_shape(s), GetParam(), 23);
  Doubles expected = conv_reference(s, doubles(x), used(*weight, type()));
  const Doubles inputs = doubles(x);
  for (std::size_t i = 0; i < expected.size(); ++i) expected[i] += inputs[i];
  expect_close(conv2d_fused(x, *weight, {}, {1, 1, 1}, x, false), expected, tolerance(type()),
               "x as residual");
  expect_same_values(x, before, "the input");
}

class ConvolutionTape : public TapeTest {};

TEST_F(ConvolutionTape, GradientsMatchFiniteDifferences) {
  const Placement f32;
  for (const ConvCase& c : {kCases[0], kCases[7], kCases[9], kCases[12]}) {
    SCOPED_TRACE(c.name);
    const ConvShape& s = c.shape;
    const Tensor x = random_tensor(input_shape(s), f32, 24);
    const ParameterPtr weight = random_parameter("weight", weight_shape(s), f32, 25);
    const ParameterPtr bias = random_parameter("bias", {s.k}, f32, 26);
    check_gradients({leaf("x", x), leaf(weight), leaf(bias)}, [&] {
      return conv2d(x, weight, bias, {s.stride, s.padding, s.dilation});
    });
  }
}

TEST_F(ConvolutionTape, OnlyWhatIsTrainedGetsAGradient) {
  const Placement f32;
  Tensor x = random_tensor({1, 5, 4, 3}, f32, 27);
  const ParameterPtr frozen = random_parameter("frozen", {2, 3, 3, 3}, f32, 28, -1, 1, false);
  const ParameterPtr frozen_bias = random_parameter("frozen_bias", {2}, f32, 29, -1, 1, false);
  const ParameterPtr bias = random_parameter("bias", {2}, f32, 29);
  const ParameterPtr trained = random_parameter("trained", {2, 3, 3, 3}, f32, 30);
  EXPECT_FALSE(conv2d(x, frozen, frozen_bias, {}).needs_grad());

  Tensor y = conv2d(x, trained, nullptr, {});
  backward_from(y, random_tensor(y.shape(), f32, 31));
  EXPECT_TRUE(trained->has_grad());
  EXPECT_FALSE(x.grad());

  y = conv2d(x, frozen, bias, {});
  backward_from(y, random_tensor(y.shape(), f32, 31));
  EXPECT_TRUE(bias->has_grad());

  x.set_needs_grad();
  y = conv2d(x, frozen, frozen_bias, {});
  backward_from(y, random_tensor(y.shape(), f32, 31));
  EXPECT_TRUE(static_cast<bool>(x.grad()));
  EXPECT_FALSE(frozen->has_grad());
  EXPECT_FALSE(frozen_bias->has_grad());
  EXPECT_FALSE(conv2d_fused(x, *frozen, frozen_bias->value(), {}, {}, true).needs_grad());
}

TEST_F(ConvolutionTape, SaysWhatDoesNotFit) {
  const Placement f32;
  const Tensor x = random_tensor({2, 5, 4, 3}, f32, 32);
  const ParameterPtr weight = random_parameter("weight", {2, 3, 3, 3}, f32, 33);
  const ParameterPtr other = random_parameter("other", {2, 3, 3, 4}, f32, 33);
  const ParameterPtr bias = random_parameter("bias", {2}, f32, 34);
  const ParameterPtr long_bias = random_parameter("long_bias", {3}, f32, 34);
  const auto conv = [&](const Tensor& input, const ParameterPtr& w, const ParameterPtr& b,
                        ConvOptions options) { return [=] { conv2d(input, w, b, options); }; };
  expect_error<ShapeError>(conv(x, other, nullptr, {}), {"conv2d", "[2, 5, 4, 3]", "[2, 3, 3, 4]"});
  expect_error<ShapeError>(conv(x, bias, nullptr, {}), {"conv2d", "[2, 5, 4, 3]", "[2]"});
  expect_error<ShapeError>(conv(random_tensor({5, 4, 3}, f32, 32), weight, nullptr, {}), {"conv2d", "4 dim"});
  expect_error<ShapeError>(conv(x, weight, long_bias, {}), {"conv2d", "bias", "[3]", "[2, 3, 3, 3]"});
  expect_error<ShapeError>(conv(Tensor::zeros({2, 5, 4, 3}, DType::u8), weight, nullptr, {}),
                           {"conv2d", "u8"});
  expect_error<ShapeError>(conv(random_tensor({1, 2, 2, 3}, f32, 1), weight, nullptr, {}), {"[1, 2, 2, 3]"});
  expect_error<ShapeError>(conv(random_tensor({1, 2, 2, 3}, f32, 1), weight, nullptr, {2, 0, 1}),
                           {"smaller than the filter"});
  expect_error<ShapeError>(conv(x, weight, nullptr, {0, 1, 1}), {"stride 0"});
  expect_error<ShapeError>(conv(x, weight, nullptr, {1, -1, 1}), {"padding -1"});
  expect_error<ShapeError>(conv(x, weight, nullptr, {1, 1, 0}), {"dilation 0"});
  const auto fused = [&](const Tensor& b, const Tensor& residual) {
    return [=] { conv2d_fused(x, *weight, b, {}, residual, false); };
  };
  expect_error<ShapeError>(fused({}, random_tensor({2, 5, 4, 2}, f32, 1)), {"[2, 5, 4, 2]", "[2, 3, 2, 2]"});
  expect_error<ShapeError>(fused({}, random_tensor({2, 3, 2, 2}, {Device{}, DType::bf16}, 1)), {"residual"});
  expect_error<ShapeError>(fused(long_bias->value(), {}), {"bias", "[3]"});
}

}  // namespace
}  // namespace ddpmts::test
