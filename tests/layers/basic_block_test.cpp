// The residual block: fused inference against the formula, what it may overwrite, training gradients.
#include "layers/basic_block.h"

#include "tests/layers/layer_test.h"

namespace ddpmts::test {
namespace {

DoubleMap block_reference(const BasicBlock& block, const DoubleMap& x) {
  const DoubleMap hidden = conv_norm_reference(block.first(), x, true);
  const DoubleMap shortcut = block.shortcut() ? conv_norm_reference(*block.shortcut(), x, false) : x;
  return conv_norm_reference(block.second(), hidden, true, &shortcut);
}

class BasicBlockTest : public EngineTest {};
DDPMTS_ON_EVERY_PLACEMENT(BasicBlockTest);

TEST_P(BasicBlockTest, InferenceMatchesTheFormula) {
  const NoGrad inspecting;
  for (const std::int64_t stride : {1, 2}) {
    for (const std::int64_t out : {6, 9}) {
      ParameterList parameters;
      const BasicBlock block({parameters, device()}, 6, out, stride);
      EXPECT_EQ(block.shortcut().has_value(), stride != 1 || out != 6);
      make_up_training(parameters, type());
      const Tensor x = random_tensor({2, 13, 9, 6}, GetParam(), 1);
      const Doubles expected = block_reference(block, double_map(x)).values;
      expect_close(block.forward(x, Mode::inference), expected, deep_tolerance(type()),
                   fmt::format("stride {}, {} channels", stride, out));
    }
  }
}

TEST_P(BasicBlockTest, AnInputThatTheCallerHoldsIsNotOverwritten) {
  const NoGrad inspecting;
  ParameterList parameters;
  const BasicBlock block({parameters, device()}, 6, 6);
  make_up_training(parameters, type());
  const Tensor x = random_tensor({2, 13, 9, 6}, GetParam(), 2);
  const Tensor before = x.clone();
  const Tensor first = block.forward(x, Mode::inference);
  expect_same_values(x, before, "the input");
  const Tensor second = block.forward(x, Mode::inference);
  expect_same_values(second, first, "the same input again");

  // Handed over, it becomes the result; the value is the same.
  Tensor given = x.clone();
  const void* memory = given.raw();
  const Tensor third = block.forward(std::move(given), Mode::inference);
  EXPECT_EQ(third.raw(), memory);
  expect_same_values(third, first, "an input handed over");

  // A second handle elsewhere is enough to protect it.
  Tensor shared = x.clone();
  const Tensor elsewhere = shared;
  block.forward(std::move(shared), Mode::inference);
  expect_same_values(elsewhere, before, "an input held elsewhere");
}

TEST_P(BasicBlockTest, AStageIsTwoBlocks) {
  const NoGrad inspecting;
  ParameterList parameters;
  const BasicStage stage(ParameterScope(parameters, device()).child("layer2"), 6, 8, 2);
  make_up_training(parameters, type());
  EXPECT_EQ(parameters.size(), 15u + 10u);
  EXPECT_EQ(parameters[0]->name(), "layer2.0.conv1.weight");
  EXPECT_EQ(parameters[10]->name(), "layer2.0.downsample.0.weight");
  EXPECT_EQ(parameters[11]->name(), "layer2.0.downsample.1.weight");
  EXPECT_EQ(parameters[15]->name(), "layer2.1.conv1.weight");
  const Tensor x = random_tensor({2, 13, 9, 6}, GetParam(), 3);
  const Tensor before = x.clone();
  const DoubleMap expected = block_reference(stage.second, block_reference(stage.first, double_map(x)));
  const Tensor y = stage.forward(x, Mode::inference);
  EXPECT_EQ(y.shape(), (Shape{2, 7, 5, 8}));
  expect_close(y, expected.values, 2 * deep_tolerance(type()), "stage");
  expect_same_values(x, before, "the input");
}

class BasicBlockTape : public TapeTest {};

TEST_F(BasicBlockTape, TrainingGradientsMatchFiniteDifferences) {
  for (const std::int64_t out : {4, 6}) {
    SCOPED_TRACE(fmt::format("{} channels", out));
    ParameterList parameters;
    const BasicBlock block({parameters, {}}, 4, out);
    make_up_training(parameters);
    avoid_kinks(parameters);
    const Tensor x = random_tensor({3, 9, 7, 4}, {}, 4);
    check_gradients(leaves_of(x, parameters), [&] { return block.forward(x, Mode::training); },
                    {.step = 1e-2f, .tolerance = 5e-3});
  }
}

TEST_F(BasicBlockTape, TrainingLeavesItsInputAlone) {
  ParameterList parameters;
  const BasicBlock block({parameters, {}}, 4, 4);
  make_up_training(parameters);
  const Tensor x = random_tensor({3, 9, 7, 4}, {}, 5);
  const Tensor before = x.clone();
  const Tensor y = block.forward(x, Mode::training);
  EXPECT_TRUE(y.needs_grad());
  backward_from(y, random_tensor(y.shape(), {}, 6));
  expect_same_values(x, before, "the input");
}

}  // namespace
}  // namespace ddpmts::test
