// BatchNorm as an operation: both modes, residual and ReLU, gradients, running statistics.
#include "engine/ops.h"
#include "tests/engine/gradient_check.h"
#include "tests/engine/reference.h"

namespace ddpmts::test {
namespace {

BatchNormParameters random_norm(std::int64_t channels, Device device) {
  const Placement f32{device, DType::f32};
  return {random_parameter("norm.weight", {channels}, f32, 101, 0.5f, 1.5f),
          random_parameter("norm.bias", {channels}, f32, 102),
          random_parameter("norm.running_mean", {channels}, f32, 103, -0.5f, 0.5f, false),
          random_parameter("norm.running_var", {channels}, f32, 104, 0.5f, 2.0f, false)};
}

struct Statistics {
  Doubles mean, variance;  // variance biased
};

Statistics statistics(const Doubles& x, std::size_t channels) {
  const double rows = static_cast<double>(x.size() / channels);
  Statistics result{channel_sums(x, channels), Doubles(channels)};
  for (double& m : result.mean) m /= rows;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double d = x[i] - result.mean[i % channels];
    result.variance[i % channels] += d * d / rows;
  }
  return result;
}

const Shape kShapes[] = {{3, 13, 9, 5}, {2, 7, 5, 1}, {3, 1, 1, 7}, {2, 8, 8, 32}, {1, 33, 17, 67}};

class BatchNorm : public EngineTest {};
DDPMTS_ON_EVERY_PLACEMENT(BatchNorm);

TEST_P(BatchNorm, InferenceMatchesTheFormula) {
  const NoGrad inspecting;
  for (const Shape& shape : kShapes) {
    const Tensor x = random_tensor(shape, GetParam(), 1, -2.0f, 3.0f);
    const Tensor residual = random_tensor(shape, GetParam(), 2, -2.0f, 2.0f);
    const BatchNormParameters p = random_norm(shape[3], device());
    const Tensor mean_before = p.running_mean->value().clone();
    const Doubles sum =
        normalize(doubles(x), doubles(p.running_mean->value()), doubles(p.running_var->value()),
                  doubles(p.weight->value()), doubles(p.bias->value()));
    Doubles with_residual = sum;
    const Doubles r = doubles(residual);
    for (std::size_t i = 0; i < r.size(); ++i) with_residual[i] += r[i];
    const auto run = [&](const Tensor& added, bool relu) {
      return batch_norm(x, p, added, relu, BatchNormMode::inference);
    };
    const double allowed = tolerance(type());
    expect_close(run({}, false), sum, allowed, shape.text());
    expect_close(run({}, true), rectified(sum), allowed, shape.text() + " relu");
    expect_close(run(residual, false), with_residual, allowed, shape.text() + " residual");
    expect_close(run(residual, true), rectified(with_residual), allowed, shape.text() + " residual, relu");
    expect_same_values(p.running_mean->value(), mean_before, "running mean");
  }
}

TEST_P(BatchNorm, TrainingMatchesTheFormulaWithItsGradients) {
  for (const Shape& shape : kShapes) {
    for (int form = 0; form < 4; ++form) {
      const bool with_residual = form & 1, relu = form & 2;
      SCOPED_TRACE(fmt::format("{} residual {} relu {}", shape.text(), with_residual, relu));
      const auto channels = static_cast<std::size_t>(shape[3]);
      Tensor x = random_tensor(shape, GetParam(), 3, -2.0f, 3.0f);
      Tensor residual = with_residual ? random_tensor(shape, GetParam(), 4, -2.0f, 2.0f) : Tensor();
      x.set_needs_grad();
      if (residual) residual.set_needs_grad();
      const BatchNormParameters p = random_norm(shape[3], device());
      const Doubles old_mean = doubles(p.running_mean->value()), old_var = doubles(p.running_var->value());
      const Tensor dy = random_tensor(shape, GetParam(), 5);
      const Tensor y = batch_norm(x, p, residual, relu, BatchNormMode::training);
      backward_from(y, dy);

      const Doubles xs = doubles(x), gamma = doubles(p.weight->value());
      const Statistics s = statistics(xs, channels);
      Doubles expected = normalize(xs, s.mean, s.variance, gamma, doubles(p.bias->value()));
      if (residual) {
        const Doubles r = doubles(residual);
        for (std::size_t i = 0; i < r.size(); ++i) expected[i] += r[i];
      }
      expect_close(y, relu ? rectified(expected) : expected, tolerance(type()), "y");

      const double rows = static_cast<double>(xs.size() / channels);
      Doubles mean = old_mean, variance = old_var;
      for (std::size_t c = 0; c < channels; ++c) {
        mean[c] = 0.9 * mean[c] + 0.1 * s.mean[c];
        variance[c] = 0.9 * variance[c] + 0.1 * s.variance[c] * rows / (rows - 1);
      }
      expect_close(p.running_mean->value(), mean, 1e-5, "running mean");
      expect_close(p.running_var->value(), variance, 1e-5, "running variance");

      // With g the gradient behind the ReLU: dx = γ/σ·(g − mean(g) − x̂·mean(g·x̂)).
      Doubles g = doubles(dy);
      const Doubles outputs = doubles(y);
      for (std::size_t i = 0; i < g.size(); ++i) g[i] = relu && outputs[i] <= 0 ? 0.0 : g[i];
      const Doubles centred = normalize(xs, s.mean, s.variance, Doubles(channels, 1.0), Doubles(channels));
      Doubles products(g.size()), dx(g.size());
      for (std::size_t i = 0; i < g.size(); ++i) products[i] = g[i] * centred[i];
      const Doubles dbeta = channel_sums(g, channels), dgamma = channel_sums(products, channels);
      for (std::size_t i = 0; i < g.size(); ++i) {
        const std::size_t c = i % channels;
        dx[i] = gamma[c] / std::sqrt(s.variance[c] + 1e-5) *
                (g[i] - dbeta[c] / rows - centred[i] * dgamma[c] / rows);
      }
      expect_close(p.bias->grad(), dbeta, 1e-5, "dbeta");
      expect_close(p.weight->grad(), dgamma, 1e-5, "dgamma");
      expect_close(x.grad(), dx, tolerance(type()), "dx");
      if (residual) expect_close(residual.grad(), g, 0.0, "dresidual");
    }
  }
}

TEST_P(BatchNorm, AResidualThatIsNotTrainedGetsNothing) {
  Tensor x = random_tensor({2, 5, 3, 4}, GetParam(), 6);
  x.set_needs_grad();
  const BatchNormParameters p = random_norm(4, device());
  const Tensor residual = random_tensor({2, 5, 3, 4}, GetParam(), 7);
  const Tensor dy = random_tensor({2, 5, 3, 4}, GetParam(), 8);
  backward_from(batch_norm(x, p, residual, true, BatchNormMode::training), dy);
  EXPECT_FALSE(residual.grad());
  const Tensor alone = x.grad();
  Tensor trained = residual.clone();
  trained.set_needs_grad();
  x.set_grad(Tensor());
  backward_from(batch_norm(x, p, trained, true, BatchNormMode::training), dy);
  expect_close(x.grad(), doubles(alone), tolerance(type()), "dx with and without the residual's gradient");
}

class BatchNormTape : public TapeTest {};

TEST_F(BatchNormTape, GradientsMatchFiniteDifferences) {
  const Tensor x = random_tensor({3, 13, 9, 5}, {}, 9);
  const BatchNormParameters p = random_norm(5, {});
  const FiniteDifference options{.step = 2e-3f, .tolerance = 2e-3};
  check_gradients(
      {leaf("x", x), leaf(p.weight), leaf(p.bias)},
      [&] { return batch_norm(x, p, {}, false, BatchNormMode::training); }, options);

  // With a ReLU, the residual keeps every sum at least 0.3 away from the kink.
  std::vector<float> values;
  {
    const NoGrad looking;
    values = batch_norm(x, p, {}, false, BatchNormMode::training).to_floats();
  }
  const std::vector<float> targets = random_floats(x.count(), 10);
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = targets[i] + (targets[i] < 0 ? -0.3f : 0.3f) - values[i];
  }
  const Tensor residual = Tensor::from_host<float>(x.shape(), values);
  check_gradients(
      {leaf("x", x), leaf("residual", residual), leaf(p.weight), leaf(p.bias)},
      [&] { return batch_norm(x, p, residual, true, BatchNormMode::training); }, options);
}

TEST_F(BatchNormTape, OneRowGivesTheBiasAndFiniteStatistics) {
  Tensor x = random_tensor({1, 1, 1, 5}, {}, 11);
  x.set_needs_grad();
  const BatchNormParameters p = random_norm(5, {});
  const Tensor y = batch_norm(x, p, {}, false, BatchNormMode::training);
  expect_close(y, doubles(p.bias->value()), 1e-5, "y");
  backward_from(y, random_tensor(y.shape(), {}, 12));
  for (const Tensor& t : {p.running_mean->value(), p.running_var->value(), x.grad(), p.weight->grad()}) {
    for (const float v : t.to_floats()) EXPECT_TRUE(std::isfinite(v));
  }
}

TEST_F(BatchNormTape, ChangesTheVersionsOfWhatItUpdates) {
  const Tensor x = random_tensor({2, 5, 3, 4}, {}, 13);
  const BatchNormParameters p = random_norm(4, {});
  const NoGrad looking;
  const std::int64_t mean = p.running_mean->version(), variance = p.running_var->version();
  batch_norm(x, p, {}, false, BatchNormMode::inference);
  EXPECT_EQ(p.running_mean->version(), mean);
  batch_norm(x, p, {}, false, BatchNormMode::training);
  EXPECT_GT(p.running_mean->version(), mean);
  EXPECT_GT(p.running_var->version(), variance);
}

TEST_F(BatchNormTape, SaysWhatDoesNotFit) {
  const Tensor x = random_tensor({2, 5, 3, 4}, {}, 14);
  const BatchNormParameters p = random_norm(4, {});
  const auto run = [](const Tensor& input, const BatchNormParameters& norm, const Tensor& residual) {
    return [=] { batch_norm(input, norm, residual, false, BatchNormMode::training); };
  };
  expect_error<ShapeError>(run(x, random_norm(5, {}), {}), {"norm.weight", "[5]", "[2, 5, 3, 4]"});
  BatchNormParameters odd = p;
  odd.running_var = random_parameter("norm.running_var", {3}, {}, 1);
  expect_error<ShapeError>(run(x, odd, {}), {"norm.running_var", "[3]", "[2, 5, 3, 4]"});
  odd = p;
  odd.bias = random_parameter("norm.bias", {5}, {}, 1);
  expect_error<ShapeError>(run(x, odd, {}), {"norm.bias", "[5]"});
  expect_error<ShapeError>(run(random_tensor({2, 4}, {}, 1), p, {}), {"batch_norm", "4 dim"});
  expect_error<ShapeError>(run(x, p, random_tensor({2, 5, 3, 3}, {}, 1)), {"residual", "[2, 5, 3, 3]"});
  expect_error<ShapeError>(run(x, p, x.cast(DType::bf16)), {"residual"});
  expect_error<ShapeError>(run(Tensor::zeros({2, 5, 3, 4}, DType::u8), p, {}), {"u8"});
  expect_error<ShapeError>([&] { batch_norm(x, p, {}, false, BatchNormMode::inference); },
                           {"norm.weight", "inference mode"});
}

}  // namespace
}  // namespace ddpmts::test
