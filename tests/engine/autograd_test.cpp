// The tape: shared tensors and parameters, what is not recorded, what is freed and when.
#include "engine/autograd.h"

#include <thread>

#include "engine/memory.h"
#include "engine/ops.h"
#include "tests/engine/gradient_check.h"

namespace ddpmts::test {
namespace {

const Placement kF32;

class Autograd : public TapeTest {};

Tensor scalar(float value) { return Tensor::from_host<float>({1}, std::vector<float>{value}); }

// a·b for scalars, to build graphs by hand.
Tensor product(const Tensor& a, const Tensor& b) {
  Tensor y = scalar(a.item() * b.item());
  if (!grad_enabled() || !(a.needs_grad() || b.needs_grad())) return y;
  record(y, [a, b](const Tensor& dy) {
    add_grad(a, scalar(dy.item() * b.item()));
    add_grad(b, scalar(dy.item() * a.item()));
  });
  return y;
}

Tensor scalar_leaf(float value) {
  Tensor x = scalar(value);
  x.set_needs_grad();
  return x;
}

TEST_F(Autograd, ATensorUsedTwiceGetsBothGradients) {
  const Tensor x = scalar_leaf(3.0f);
  backward(product(x, x));
  EXPECT_EQ(x.grad().item(), 6.0f);
}

TEST_F(Autograd, DiamondsAndLongerPathsAdd) {
  // y = (x·a)·(x·b)·x = a·b·x³
  const Tensor x = scalar_leaf(2.0f), a = scalar_leaf(5.0f), b = scalar_leaf(-7.0f);
  const Tensor left = product(x, a), right = product(x, b);
  backward(product(product(left, right), x));
  EXPECT_EQ(x.grad().item(), 3.0f * 5.0f * -7.0f * 4.0f);
  EXPECT_EQ(a.grad().item(), -7.0f * 8.0f);
  EXPECT_EQ(b.grad().item(), 5.0f * 8.0f);
  EXPECT_FALSE(left.grad()) << "only leaves keep their gradient";
}

TEST_F(Autograd, AGradientHandedToTwoInputsIsNotSharedAfterwards) {
  // One gradient tensor goes to both leaves; a second use of x must not change what y received.
  const Tensor x = scalar_leaf(1.0f), y = scalar_leaf(1.0f);
  Tensor sum = scalar(2.0f);
  record(sum, [x, y](const Tensor& dy) {
    add_grad(x, dy);
    add_grad(y, dy);
  });
  Tensor again = scalar(3.0f);
  record(again, [x, sum](const Tensor& dy) {
    add_grad(sum, dy);
    add_grad(x, dy);
  });
  backward(again);
  EXPECT_EQ(x.grad().item(), 2.0f);
  EXPECT_EQ(y.grad().item(), 1.0f);
}

TEST_F(Autograd, ResidualBlockMatchesFiniteDifferences) {
  const Tensor x = random_tensor({2, 7, 5, 3}, kF32, 1);
  const ParameterPtr first = random_parameter("first", {4, 3, 3, 3}, kF32, 2);
  const ParameterPtr second = random_parameter("second", {4, 3, 3, 4}, kF32, 3);
  const BatchNormParameters norm{random_parameter("gamma", {4}, kF32, 4, 0.5f, 1.5f),
                                 random_parameter("beta", {4}, kF32, 5),
                                 random_parameter("mean", {4}, kF32, 6, 0, 0, false),
                                 random_parameter("var", {4}, kF32, 7, 1, 1, false)};
  // h is used by a convolution, as a residual, and again in the concatenation.
  check_gradients({leaf("x", x), leaf(first), leaf(second), leaf(norm.weight), leaf(norm.bias)},
                  [&] {
                    const Tensor h = conv2d(x, first, nullptr, {1, 1, 1});
                    const Tensor y = batch_norm(conv2d(h, second, nullptr, {1, 1, 1}), norm, h, false,
                                                BatchNormMode::training);
                    return concat_resized({y, h, y}, 6, 4);
                  },
                  {.step = 2e-3f, .tolerance = 3e-3});
}

TEST_F(Autograd, AParameterUsedTwiceAccumulates) {
  const Tensor x = random_tensor({2, 7, 5, 3}, kF32, 8);
  const ParameterPtr weight = random_parameter("weight", {3, 3, 3, 3}, kF32, 9);
  const ParameterPtr bias = random_parameter("bias", {3}, kF32, 10);
  check_gradients({leaf("x", x), leaf(weight), leaf(bias)},
                  [&] {
                    return conv2d(conv2d(x, weight, bias, {1, 1, 1}), weight, bias, {1, 1, 1});
                  },
                  {.step = 2e-3f, .tolerance = 1e-3});
}

TEST_F(Autograd, SecondBackwardAddsToAParameterUntilCleared) {
  const Tensor x = random_tensor({1, 4, 4, 2}, kF32, 11);
  const ParameterPtr weight = random_parameter("weight", {3, 1, 1, 2}, kF32, 12);
  const Tensor dy = random_tensor({1, 4, 4, 3}, kF32, 13);
  backward_from(conv2d(x, weight, nullptr, {}), dy);
  const Doubles once = doubles(weight->grad());
  backward_from(conv2d(x, weight, nullptr, {}), dy);
  Doubles twice = once;
  for (double& g : twice) g *= 2;
  expect_close(weight->grad(), twice, 1e-6, "after two passes");
  weight->clear_grad();
  EXPECT_FALSE(weight->has_grad());
  backward_from(conv2d(x, weight, nullptr, {}), dy);
  expect_close(weight->grad(), once, 1e-6, "after clearing");
}

TEST_F(Autograd, LossTermsAddWithTheirWeights) {
  const ParameterPtr weight = random_parameter("weight", {3, 3, 3, 2}, kF32, 14);
  const Tensor x = random_tensor({2, 5, 4, 2}, kF32, 15);
  const Tensor teacher = random_tensor({2, 5, 4, 3}, kF32, 16);
  const Tensor other = random_tensor({2, 5, 4, 3}, kF32, 17);
  const auto gradient = [&](float a, float b) {
    weight->clear_grad();
    const Tensor h = conv2d(x, weight, nullptr, {1, 1, 1});
    const LossTerm terms[] = {{cosine_loss({{teacher}, {h}}), a}, {cosine_loss({{other}, {h}}), b}};
    backward(terms);
    return doubles(weight->grad());
  };
  const Doubles first = gradient(1, 0), second = gradient(0, 1);
  Doubles expected(first.size());
  for (std::size_t i = 0; i < first.size(); ++i) expected[i] = 0.3 * first[i] - 2.5 * second[i];
  gradient(0.3f, -2.5f);
  expect_close(weight->grad(), expected, 1e-5, "weighted sum");

  // The same value twice counts twice.
  const Tensor leaf_value = scalar_leaf(4.0f);
  const Tensor square = product(leaf_value, leaf_value);
  const LossTerm doubled[] = {{square, 1.0f}, {square, 2.0f}};
  backward(doubled);
  EXPECT_EQ(leaf_value.grad().item(), 3.0f * 8.0f);
}

TEST_F(Autograd, NothingIsRecordedUnderNoGrad) {
  const Tensor x = scalar_leaf(3.0f);
  {
    const NoGrad outer;
    EXPECT_FALSE(grad_enabled());
    {
      const NoGrad inner;
      EXPECT_FALSE(grad_enabled());
    }
    EXPECT_FALSE(grad_enabled());
    EXPECT_FALSE(product(x, x).needs_grad());
    const ParameterPtr weight = random_parameter("weight", {3, 1, 1, 2}, kF32, 18);
    Tensor picture = random_tensor({1, 4, 4, 2}, kF32, 19);
    picture.set_needs_grad();
    const Tensor y = conv2d(picture, weight, nullptr, {});
    EXPECT_FALSE(y.needs_grad());
    EXPECT_FALSE(max_pool_3x3_stride2(picture).needs_grad());
    EXPECT_FALSE(global_average_pool(picture).needs_grad());
    EXPECT_FALSE(resize_bilinear(picture, 2, 2).needs_grad());
    const FeaturePair features{{picture}, {picture}};
    EXPECT_FALSE(cosine_loss(features).needs_grad());
    EXPECT_FALSE(feature_product(features).needs_grad());
    EXPECT_TRUE(picture.is_sole_owner() || !features.teacher.empty());
  }
  EXPECT_TRUE(grad_enabled());
  EXPECT_TRUE(product(x, x).needs_grad());
}

TEST_F(Autograd, RefusesWhatIsNoLoss) {
  const Tensor x = scalar_leaf(3.0f);
  expect_error<ShapeError>([] { backward(scalar(1.0f)); }, {"backward()"});
  expect_error<ShapeError>([] { backward(random_tensor({2}, kF32, 1)); }, {"backward()"});
  // A wrong term leaves no gradient behind in the right ones.
  const Tensor y = product(x, x);
  const LossTerm terms[] = {{y, 1.0f}, {scalar(1.0f), 1.0f}};
  expect_error<ShapeError>([&] { backward(terms); }, {"backward()"});
  backward(y);
  EXPECT_EQ(x.grad().item(), 6.0f);
}

TEST_F(Autograd, BranchesOutsideTheLossAreSkipped) {
  const Tensor x = scalar_leaf(3.0f);
  bool visited = false;
  Tensor aside = scalar(1.0f);
  record(aside, [&visited](const Tensor&) { visited = true; });
  backward(product(x, x));
  EXPECT_FALSE(visited);
  EXPECT_EQ(x.grad().item(), 6.0f);
  // The tape is empty now: the skipped node does not come back.
  add_grad(aside, scalar(1.0f));
  backward(product(x, x));
  EXPECT_FALSE(visited);
}

TEST_F(Autograd, ClearTapeForgetsAndFrees) {
  const Tensor x = scalar_leaf(3.0f);
  const std::size_t before = memory_stats({}).in_use;
  bool visited = false;
  Tensor y = Tensor::zeros({1}, DType::f32);
  {
    const Tensor large = Tensor::zeros({1 << 18}, DType::f32);
    record(y, [&visited, large](const Tensor&) { visited = true; });
  }
  EXPECT_GE(memory_stats({}).in_use, before + (std::size_t{1} << 20));
  clear_tape();
  EXPECT_LT(memory_stats({}).in_use, before + (std::size_t{1} << 20));
  backward(y);
  EXPECT_FALSE(visited);
}

// Each convolution's input is 1 MiB and the filters are small: the walk must give one activation back per layer.
TEST_F(Autograd, BackwardFreesAsItWalks) {
  constexpr int kLayers = 8;
  constexpr std::size_t kActivation = std::size_t{1} << 20;
  ParameterList weights;
  for (int i = 0; i < kLayers; ++i) {
    weights.push_back(random_parameter("weight", {16, 3, 3, 16}, kF32, 20 + static_cast<std::uint64_t>(i)));
  }
  const Tensor picture = random_tensor({1, 128, 128, 16}, kF32, 30);
  std::vector<std::size_t> in_use;
  const auto pass = [&] {
    in_use.clear();
    Tensor h = picture;
    for (const ParameterPtr& weight : weights) {
      Tensor probe = Tensor::zeros({1}, DType::f32);
      h = conv2d(h, weight, nullptr, {1, 1, 1});
      // Lays the gradient on to the convolution and notes what is held at that moment.
      Tensor passed = h.clone();
      record(passed, [h, &in_use](const Tensor& dy) {
        in_use.push_back(memory_stats({}).in_use);
        add_grad(h, dy);
      });
      h = passed;
    }
    const Tensor loss = Tensor::zeros({1}, DType::f32);
    record(loss, [h](const Tensor&) { add_grad(h, Tensor::zeros(h.shape(), DType::f32)); });
    h = Tensor();
    backward(loss);
  };
  pass();  // allocates the parameters' gradients and packed copies
  const std::size_t idle = memory_stats({}).in_use;
  pass();
  ASSERT_EQ(in_use.size(), static_cast<std::size_t>(kLayers));
  for (std::size_t i = 1; i < in_use.size(); ++i) {
    // Two activations a layer went: the convolution's output and its copy.
    EXPECT_LE(in_use[i] + 2 * kActivation, in_use[i - 1]) << "at node " << i;
  }
  EXPECT_EQ(memory_stats({}).in_use, idle);
}

TEST_F(Autograd, EachThreadHasItsOwnTape) {
  const Tensor x = scalar_leaf(3.0f);
  const Tensor y = product(x, x);
  {
    const NoGrad here;
    bool recorded_elsewhere = false;
    std::thread([&] {
      recorded_elsewhere = grad_enabled();
      clear_tape();
    }).join();
    EXPECT_TRUE(recorded_elsewhere);
  }
  backward(y);
  EXPECT_EQ(x.grad().item(), 6.0f);
}

}  // namespace
}  // namespace ddpmts::test
