#include "bench/cases/training_check.h"

#include <fmt/format.h>

#include <cmath>

#include "bench/cases/tools.h"
#include "engine/autograd.h"

namespace ddpmts::bench {
namespace {

struct LossAndGradient {
  double loss = 0.0;
  std::vector<float> gradient;  ///< of everything
};

double norm_of(const std::vector<float>& values) {
  double square = 0.0;
  for (const float v : values) square += double(v) * double(v);
  return std::sqrt(square);
}

Check compare_directions(const std::vector<float>& actual, const std::vector<float>& expected) {
  constexpr double kLeast = 0.5;
  if (actual.size() != expected.size()) return {false, "gradients of other parameters than in f32"};
  double dot = 0.0;
  for (std::size_t i = 0; i < actual.size(); ++i) dot += double(actual[i]) * double(expected[i]);
  const double cosine = dot / (norm_of(actual) * norm_of(expected));
  return {cosine >= kLeast,
          fmt::format("cosine of the gradient with f32's: {:.2f}, at least {}", cosine, kLeast)};
}

// Leaves the gradients in the parameters.
LossAndGradient differentiate(const TrainingSubject& subject) {
  for (const ParameterPtr& p : subject.parameters) p->clear_grad();
  const Tensor loss = subject.loss();
  backward(loss);
  LossAndGradient result{double(loss.item()), {}};
  for (const ParameterPtr& p : subject.parameters) {
    if (!p->has_grad()) continue;
    const std::vector<float> more = p->grad().to_floats();
    result.gradient.insert(result.gradient.end(), more.begin(), more.end());
  }
  return result;
}

}  // namespace

Check check_gradient(const TrainingSubject& subject) {
  const LossAndGradient at = differentiate(subject);
  const double norm = norm_of(at.gradient);
  // Far enough for f32 to see the loss change, near enough that few ReLUs open or close on the way.
  const double step = 0.002 * at.loss / norm;
  std::vector<std::vector<float>> starts;
  for (const ParameterPtr& p : subject.parameters) starts.push_back(p->value().to_floats());
  const auto loss_at = [&](double distance) {
    for (std::size_t i = 0; i < starts.size(); ++i) {
      Parameter& p = *subject.parameters[i];
      std::vector<float> values = starts[i];
      if (p.has_grad()) {
        const std::vector<float> g = p.grad().to_floats();
        for (std::size_t k = 0; k < values.size(); ++k) {
          values[k] += static_cast<float>(distance * double(g[k]) / norm);
        }
      } else if (!p.trainable()) {
        continue;  // running statistics are the forward pass's business
      }
      p.value().copy_from(Tensor::from_host<float>(p.shape(), values, p.value().device()));
      p.changed();
    }
    const NoGrad looking;
    return double(subject.loss().item());
  };
  const double slope = (loss_at(step) - loss_at(-step)) / (2.0 * step);
  loss_at(0.0);
  for (const ParameterPtr& p : subject.parameters) p->clear_grad();
  return compare_all("change of the loss along its gradient", {static_cast<float>(slope)}, {norm}, 0.05);
}

Check check_against(const TrainingSubject& subject, const TrainingSubject& reference) {
  const LossAndGradient expected = differentiate(reference), actual = differentiate(subject);
  for (const ParameterPtr& p : subject.parameters) p->clear_grad();
  return all_of({compare_all("loss against f32", {static_cast<float>(actual.loss)}, {expected.loss}, 0.01),
                 compare_directions(actual.gradient, expected.gradient)});
}

}  // namespace ddpmts::bench
