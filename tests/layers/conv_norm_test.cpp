// ConvNorm: fused inference against the unfused operations and the formula, when the fold is renewed, training.
#include "engine/optimizer.h"
#include "tests/layers/layer_test.h"

namespace ddpmts::test {
namespace {

class ConvNormTest : public EngineTest {};
DDPMTS_ON_EVERY_PLACEMENT(ConvNormTest);

struct Kind {
  std::int64_t in, out, kernel, stride, dilation;
};
const Kind kKinds[] = {{5, 7, 3, 1, 1}, {5, 7, 3, 2, 1},   {3, 16, 7, 2, 1},
                       {5, 7, 1, 2, 1}, {16, 32, 3, 1, 6}, {1, 1, 1, 1, 1}};

TEST_P(ConvNormTest, FusedInferenceEqualsUnfusedAndTheFormula) {
  const NoGrad inspecting;
  for (const Kind& k : kKinds) {
    SCOPED_TRACE(fmt::format("{} -> {} {}x{} stride {} dilation {}", k.in, k.out, k.kernel, k.kernel,
                             k.stride, k.dilation));
    ParameterList parameters;
    const ConvNorm unit({parameters, device()}, "conv", "bn", k.in, k.out, k.kernel, k.stride, k.dilation);
    make_up_training(parameters, type());
    const Tensor x = random_tensor({2, 13, 9, k.in}, GetParam(), 1);
    for (const bool relu : {false, true}) {
      const Tensor fused = unit.forward(x, Mode::inference, relu);
      const Tensor sum = conv2d(x, unit.weight(), nullptr, unit.options());
      const Tensor unfused = batch_norm(sum, unit.norm(), {}, relu, BatchNormMode::inference);
      const double loose = type() == DType::bf16 ? 0x1p-5 : 1e-5;
      expect_close(fused, doubles(unfused), loose, "fused against unfused");
      expect_close(fused, conv_norm_reference(unit, double_map(x), relu).values, loose,
                   "fused against formula");

      const Tensor residual = random_tensor(fused.shape(), GetParam(), 2);
      const Tensor before = residual.clone();
      const Tensor held = residual;
      const DoubleMap added = double_map(residual);
      expect_close(unit.forward(x, Mode::inference, relu, residual),
                   conv_norm_reference(unit, double_map(x), relu, &added).values, loose, "with residual");
      expect_same_values(held, before, "a residual that is held");
    }
  }
}

// Whatever changes, inference follows.
TEST_P(ConvNormTest, TheFoldIsRenewedWhenAParameterChanges) {
  const NoGrad inspecting;
  ParameterList parameters;
  const ConvNorm unit({parameters, device()}, "conv", "bn", 5, 7, 3);
  make_up_training(parameters, type());
  const Tensor x = random_tensor({2, 6, 5, 5}, GetParam(), 3);
  const double loose = type() == DType::bf16 ? 0x1p-5 : 1e-5;
  ASSERT_EQ(parameters.size(), 5u);
  Tensor previous = unit.forward(x, Mode::inference, false);
  for (const ParameterPtr& p : parameters) {
    set_values(*p, random_floats(p->shape().count(), 40, 0.5f, 1.0f));
    const Tensor now = unit.forward(x, Mode::inference, false);
    EXPECT_NE(now.to_floats(), previous.to_floats()) << p->name();
    expect_close(now, conv_norm_reference(unit, double_map(x), false).values, loose, p->name());
    previous = now;
  }
  // A training pass moves the running statistics.
  unit.forward(x, Mode::training, false);
  expect_close(unit.forward(x, Mode::inference, false),
               conv_norm_reference(unit, double_map(x), false).values, loose, "after a training pass");
}

TEST_P(ConvNormTest, TheFoldFollowsTheOptimizer) {
  ParameterList parameters;
  const ConvNorm unit({parameters, device()}, "conv", "bn", 5, 7, 3);
  make_up_training(parameters, type());
  const Tensor x = random_tensor({2, 6, 5, 5}, GetParam(), 4);
  const auto inspect = [&] {
    const NoGrad inspecting;
    return unit.forward(x, Mode::inference, true);
  };
  const Tensor before = inspect();
  Optimizer optimizer(parameters, {});
  const Tensor y = unit.forward(x, Mode::training, true);
  backward_from(y, random_tensor(y.shape(), GetParam(), 5));
  optimizer.step(0.1f);
  const Tensor after = inspect();
  EXPECT_NE(after.to_floats(), before.to_floats());
  expect_close(after, conv_norm_reference(unit, double_map(x), true).values, deep_tolerance(type()),
               "after a step");
}

class ConvNormTape : public TapeTest {};

TEST_F(ConvNormTape, KeepsAFoldPerElementType) {
  if (!has_fast_bf16({})) GTEST_SKIP() << "cpu does not compute in bf16";
  const NoGrad inspecting;
  ParameterList parameters;
  const ConvNorm unit({parameters, {}}, "conv", "bn", 5, 7, 3);
  make_up_training(parameters, DType::bf16);
  const Tensor x = random_tensor({2, 6, 5, 5}, {Device{}, DType::bf16}, 6);
  const Doubles expected = conv_norm_reference(unit, double_map(x), true).values;
  for (int round = 0; round < 2; ++round) {
    const Tensor low = unit.forward(x, Mode::inference, true);
    EXPECT_EQ(low.type(), DType::bf16);
    expect_close(low, expected, 0x1p-5, "bf16");
    const Tensor high = unit.forward(x.cast(DType::f32), Mode::inference, true);
    EXPECT_EQ(high.type(), DType::f32);
    expect_close(high, expected, 1e-5, "f32");
  }
}

TEST_F(ConvNormTape, NamesAndShapesItsParameters) {
  ParameterList parameters;
  const ParameterScope scope(parameters, {});
  const ConvNorm unit(scope.child("decoder").child("layer1"), "conv2", "bn2", 5, 7, 3, 2, 6);
  ASSERT_EQ(parameters.size(), 5u);
  const char* const names[] = {"conv2.weight", "bn2.weight", "bn2.bias", "bn2.running_mean",
                               "bn2.running_var"};
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    EXPECT_EQ(parameters[i]->name(), std::string("decoder.layer1.") + names[i]);
    EXPECT_EQ(parameters[i]->trainable(), i < 3);
    EXPECT_EQ(parameters[i]->shape(), i == 0 ? (Shape{7, 3, 3, 5}) : (Shape{7}));
    if (i > 0) {
      const float start = i == 1 || i == 4 ? 1.0f : 0.0f;
      EXPECT_EQ(parameters[i]->value().to_floats(), std::vector<float>(7, start));
    }
  }
  EXPECT_EQ(unit.options().stride, 2);
  EXPECT_EQ(unit.options().padding, 6);
  EXPECT_EQ(unit.options().dilation, 6);
}

TEST_F(ConvNormTape, TrainingGradientsMatchFiniteDifferences) {
  ParameterList parameters;
  const ConvNorm unit({parameters, {}}, "conv", "bn", 5, 7, 3, 2);
  make_up_training(parameters);
  const Tensor x = random_tensor({3, 13, 9, 5}, {}, 7);
  check_gradients(leaves_of(x, parameters), [&] { return unit.forward(x, Mode::training, false); },
                  {.step = 2e-3f, .tolerance = 2e-3});
  avoid_kinks(parameters);
  check_gradients(leaves_of(x, parameters), [&] { return unit.forward(x, Mode::training, true); },
                  {.step = 1e-2f, .tolerance = 5e-3});
}

TEST_F(ConvNormTape, InferenceWhileRecordingIsAnError) {
  ParameterList parameters;
  const ConvNorm unit({parameters, {}}, "conv", "bn", 5, 7, 3);
  const Tensor x = random_tensor({1, 4, 4, 5}, {}, 8);
  expect_error<ShapeError>([&] { unit.forward(x, Mode::inference, true); }, {"bn.weight", "inference mode"});
}

}  // namespace
}  // namespace ddpmts::test
