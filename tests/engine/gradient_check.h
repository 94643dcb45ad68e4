// Gradients held against central finite differences. The loss is Σ weights·output with random weights, summed in
// double, so that only the output's own f32 rounding disturbs the difference.
#pragma once

#include <functional>

#include "tests/engine/engine_test.h"

namespace ddpmts::test {

/// Something to differentiate with respect to.
struct Leaf {
  std::string name;
  Tensor value;
  std::function<std::vector<float>()> gradient;
  std::function<void()> changed;
};

inline Leaf leaf(const std::string& name, Tensor tensor) {
  tensor.set_needs_grad();
  tensor.set_grad(Tensor());
  return {name, tensor, [tensor] { return tensor.grad() ? tensor.grad().to_floats() : std::vector<float>(); },
          [] {}};
}

inline Leaf leaf(const ParameterPtr& parameter) {
  parameter->clear_grad();
  return {
      parameter->name(), parameter->value(),
      [parameter] { return parameter->has_grad() ? parameter->grad().to_floats() : std::vector<float>(); },
      [parameter] { parameter->changed(); }};
}

struct FiniteDifference {
  float step = 1e-2f;       ///< per element; large is exact where the output is linear in the leaf
  double tolerance = 1e-3;  ///< of |expected| + rms(gradient)·|move|
};

/// Checks the gradient of each leaf along three random directions and at eight single elements. f32 only.
inline void check_gradients(const std::vector<Leaf>& leaves, const std::function<Tensor()>& output,
                            const FiniteDifference& options = {}) {
  const Tensor y = output();
  const std::vector<float> weights = random_floats(y.count(), 0xd1ff);
  ASSERT_NO_FATAL_FAILURE(backward_from(y, Tensor::from_host<float>(y.shape(), weights, y.device())));

  const NoGrad differences_only;
  const auto loss = [&] {
    const std::vector<float> values = output().to_floats();
    double sum = 0;
    for (std::size_t i = 0; i < values.size(); ++i) sum += static_cast<double>(values[i]) * weights[i];
    return sum;
  };
  for (const Leaf& leaf : leaves) {
    SCOPED_TRACE("gradient of " + leaf.name);
    const std::vector<float> gradient = leaf.gradient();
    const std::vector<float> base = leaf.value.to_floats();
    ASSERT_EQ(gradient.size(), base.size()) << "no gradient arrived";
    double square = 0;
    for (const float g : gradient) square += static_cast<double>(g) * g;
    const double rms = std::sqrt(square / static_cast<double>(base.size()));

    const auto loss_at = [&](const std::vector<float>& values) {
      Tensor target = leaf.value;
      target.copy_from(Tensor::from_host<float>(target.shape(), values));
      leaf.changed();
      return loss();
    };
    const auto check_direction = [&](const std::vector<float>& direction, const std::string& what) {
      std::vector<float> above = base, below = base;
      double expected = 0, move = 0;
      for (std::size_t i = 0; i < base.size(); ++i) {
        above[i] += options.step * direction[i];
        below[i] -= options.step * direction[i];
        const double moved = static_cast<double>(above[i]) - below[i];
        expected += gradient[i] * moved;
        move += moved * moved;
      }
      const double actual = loss_at(above) - loss_at(below);
      EXPECT_NEAR(actual, expected, options.tolerance * (std::abs(expected) + rms * std::sqrt(move))) << what;
    };
    for (std::uint64_t d = 0; d < 3; ++d) {
      check_direction(random_floats(static_cast<std::int64_t>(base.size()), 0xd1e + d), "random direction");
    }
    for (std::size_t e = 0; e < 8 && e < base.size(); ++e) {
      std::vector<float> direction(base.size());
      const std::size_t at = e == 0 ? 0 : e == 1 ? base.size() - 1 : e * 7919 % base.size();
      direction[at] = 1.0f;
      check_direction(direction, "element " + std::to_string(at));
    }
    loss_at(base);
  }
}

}  // namespace ddpmts::test
