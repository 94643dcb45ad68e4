// AdamW and SGD against an independent double-precision implementation; skipped steps; exact resumption.
#include "engine/optimizer.h"

#include <limits>
#include <map>

#include "tests/engine/engine_test.h"

namespace ddpmts::test {
namespace {

using kernels::OptimizerKind;

// Sizes around vector widths, a single element, and one large enough to be split over threads.
const Shape kShapes[] = {{7, 3, 3, 5}, {1}, {16, 64}, {33}, {257, 129}};
const char* const kNames[] = {"encoder.conv.weight", "encoder.norm.bias", "decoder.weight", "decoder.bias",
                              "decoder.large.weight"};

ParameterList make_parameters(const Placement& where) {
  ParameterList list;
  for (std::size_t i = 0; i < std::size(kShapes); ++i) {
    list.push_back(random_parameter(kNames[i], kShapes[i], where, 1 + i));
  }
  return list;
}

std::vector<float> gradient_of(std::size_t parameter, std::int64_t step) {
  return random_floats(kShapes[parameter].count(), 1000 + static_cast<std::uint64_t>(step) * 10 + parameter,
                       -0.5f, 0.5f);
}

void give_gradient(Parameter& parameter, const std::vector<float>& values) {
  const Tensor target = parameter.grad_target();
  Tensor(target).copy_from(Tensor::from_host<float>(parameter.shape(), values));
  parameter.commit_grad(target);
}

void give_gradients(const ParameterList& parameters, std::int64_t step) {
  for (std::size_t i = 0; i < parameters.size(); ++i) give_gradient(*parameters[i], gradient_of(i, step));
}

// The papers' update rules on plain arrays (arXiv 1711.05101 for AdamW; SGD with momentum as PyTorch defines it).
struct Reference {
  struct State {
    Doubles value, first, second, average;
    double lr_scale = 1, decay = 0;
  };
  OptimizerConfig config;
  std::vector<State> states;
  int steps = 0;

  Reference(const ParameterList& parameters, const OptimizerConfig& c) : config(c) {
    for (const ParameterPtr& p : parameters) {
      const Doubles v = doubles(p->value());
      states.push_back({v, Doubles(v.size()), Doubles(v.size()), v, 1.0,
                        p->shape().rank() > 1 || c.decay_all ? static_cast<double>(c.weight_decay) : 0.0});
    }
  }

  double step(const std::vector<Doubles>& gradients, double lr) {
    ++steps;
    double norm = 0;
    for (const Doubles& g : gradients) {
      for (const double v : g) norm += v * v;
    }
    norm = std::sqrt(norm);
    const double limit = static_cast<double>(config.max_grad_norm);
    const double clip = limit > 0 ? std::min(1.0, limit / (norm + 1e-6)) : 1.0;
    const double b1 = static_cast<double>(config.beta1), b2 = static_cast<double>(config.beta2);
    const double keep = static_cast<double>(config.average_decay);
    for (std::size_t k = 0; k < states.size(); ++k) {
      State& s = states[k];
      const double rate = lr * s.lr_scale;
      for (std::size_t i = 0; i < s.value.size(); ++i) {
        double g = gradients[k][i] * clip;
        if (config.kind == OptimizerKind::sgd) {
          g += s.decay * s.value[i];
          s.first[i] = static_cast<double>(config.momentum) * s.first[i] + g;
          s.value[i] -= rate * s.first[i];
        } else {
          s.value[i] *= 1 - rate * s.decay;
          s.first[i] = b1 * s.first[i] + (1 - b1) * g;
          s.second[i] = b2 * s.second[i] + (1 - b2) * g * g;
          const double mean = s.first[i] / (1 - std::pow(b1, steps));
          const double spread = std::sqrt(s.second[i] / (1 - std::pow(b2, steps)));
          s.value[i] -= rate * mean / (spread + static_cast<double>(config.epsilon));
        }
        s.average[i] = keep * s.average[i] + (1 - keep) * s.value[i];
      }
    }
    return norm;
  }
};

class OptimizerTest : public EngineTest {
 protected:
  static void check(const OptimizerConfig& config, bool scale_encoder) {
    const ParameterList parameters = make_parameters(GetParam());
    Optimizer optimizer(parameters, config);
    Reference reference(parameters, config);
    if (scale_encoder) {
      optimizer.scale_lr("encoder.", 0.1f);
      optimizer.scale_lr("encoder.norm", 3.0f);
      reference.states[0].lr_scale = 0.1;
      reference.states[1].lr_scale = 0.3;
    }
    for (std::int64_t step = 1; step <= 6; ++step) {
      const float lr = 0.01f / static_cast<float>(step);
      std::vector<Doubles> gradients;
      for (std::size_t i = 0; i < parameters.size(); ++i) gradients.push_back(doubles(gradient_of(i, step)));
      give_gradients(parameters, step);
      const StepReport report = optimizer.step(lr);
      const double norm = reference.step(gradients, lr);
      EXPECT_TRUE(report.finite);
      EXPECT_NEAR(report.grad_norm, norm, 1e-5 * norm);
      EXPECT_EQ(optimizer.steps(), step);
      for (std::size_t i = 0; i < parameters.size(); ++i) {
        Parameter& p = *parameters[i];
        SCOPED_TRACE(fmt::format("{} after {} steps", p.name(), step));
        expect_close(p.value(), reference.states[i].value, 1e-6, "value");
        if (type() == DType::bf16) {
          EXPECT_EQ(p.compute(DType::bf16).to_floats(), p.value().cast(DType::bf16).to_floats());
        }
        EXPECT_FALSE(p.has_grad());
        const Tensor average = optimizer.average(p);
        EXPECT_EQ(static_cast<bool>(average), config.average_decay > 0);
        if (average) expect_close(average, reference.states[i].average, 1e-6, "average");
      }
    }
    for (const auto& [name, tensor] : optimizer.state()) {
      const std::size_t dot = name.find('.');
      for (std::size_t i = 0; i < parameters.size(); ++i) {
        if (name.substr(dot + 1) != parameters[i]->name()) continue;
        const Reference::State& s = reference.states[i];
        const std::string kind = name.substr(0, dot);
        expect_close(tensor,
                     kind == "first_moment"    ? s.first
                     : kind == "second_moment" ? s.second
                                               : s.average,
                     2e-6, name);
      }
    }
  }
};
DDPMTS_ON_EVERY_PLACEMENT(OptimizerTest);

TEST_P(OptimizerTest, AdamWMatchesTheRule) {
  check({}, false);
  check({.weight_decay = 0.3f, .decay_all = true}, false);
}

TEST_P(OptimizerTest, AdamWWithEverythingMatchesTheRule) {
  check({.beta1 = 0.8f,
         .beta2 = 0.95f,
         .epsilon = 1e-3f,
         .weight_decay = 0.2f,
         .max_grad_norm = 2.0f,
         .average_decay = 0.7f},
        true);
}

TEST_P(OptimizerTest, SgdMatchesTheRule) {
  check({.kind = OptimizerKind::sgd, .weight_decay = 0.0f}, false);
  check({.kind = OptimizerKind::sgd, .momentum = 0.0f, .weight_decay = 0.1f}, false);
}

TEST_P(OptimizerTest, SgdWithEverythingMatchesTheRule) {
  check({.kind = OptimizerKind::sgd,
         .momentum = 0.8f,
         .weight_decay = 0.2f,
         .decay_all = true,
         .max_grad_norm = 2.0f,
         .average_decay = 0.7f},
        true);
}

TEST_P(OptimizerTest, ClippingLeavesSmallGradientsAlone) {
  const ParameterList a = make_parameters(GetParam()), b = make_parameters(GetParam());
  Optimizer unclipped(a, {}), clipped(b, {.max_grad_norm = 1e6f});
  give_gradients(a, 1);
  give_gradients(b, 1);
  unclipped.step(0.01f);
  clipped.step(0.01f);
  for (std::size_t i = 0; i < a.size(); ++i) expect_same_values(b[i]->value(), a[i]->value(), a[i]->name());
}

// Everything that a step may write, by name.
std::map<std::string, std::vector<float>> snapshot(const ParameterList& parameters,
                                                   const Optimizer& optimizer) {
  std::map<std::string, std::vector<float>> all;
  for (const ParameterPtr& p : parameters) {
    all["value." + p->name()] = p->value().to_floats();
    if (p->has_low_precision()) all["copy." + p->name()] = p->low_precision().to_floats();
  }
  for (const auto& [name, tensor] : optimizer.state()) all[name] = tensor.to_floats();
  return all;
}

TEST_P(OptimizerTest, AGradientThatIsNotFiniteChangesNothing) {
  const ParameterList parameters = make_parameters(GetParam());
  Optimizer optimizer(parameters, {.max_grad_norm = 1.0f, .average_decay = 0.9f});
  give_gradients(parameters, 1);
  optimizer.step(0.01f);
  const auto before = snapshot(parameters, optimizer);
  std::vector<std::int64_t> versions;
  for (const ParameterPtr& p : parameters) versions.push_back(p->version());

  const float infinity = std::numeric_limits<float>::infinity();
  for (const float bad : {std::nanf(""), infinity, -infinity}) {
    for (std::size_t where = 0; where < parameters.size(); ++where) {
      give_gradients(parameters, 2);
      std::vector<float> values = gradient_of(where, 2);
      values.back() = bad;
      parameters[where]->clear_grad();
      give_gradient(*parameters[where], values);
      EXPECT_FALSE(optimizer.step(0.01f).finite) << bad << " in " << parameters[where]->name();
      EXPECT_EQ(snapshot(parameters, optimizer), before);
      EXPECT_EQ(optimizer.steps(), 1);
      for (std::size_t i = 0; i < parameters.size(); ++i) {
        EXPECT_FALSE(parameters[i]->has_grad());
        EXPECT_EQ(parameters[i]->version(), versions[i]);
      }
    }
  }
  // And the run goes on as if the bad batch had not been.
  const ParameterList twin = make_parameters(GetParam());
  Optimizer undisturbed(twin, {.max_grad_norm = 1.0f, .average_decay = 0.9f});
  give_gradients(twin, 1);
  undisturbed.step(0.01f);
  give_gradients(twin, 3);
  undisturbed.step(0.01f);
  give_gradients(parameters, 3);
  optimizer.step(0.01f);
  EXPECT_EQ(snapshot(parameters, optimizer), snapshot(twin, undisturbed));
}

TEST_P(OptimizerTest, RestoredStateTakesTheSameNextStepsBitForBit) {
  for (const OptimizerKind kind : {OptimizerKind::adamw, OptimizerKind::sgd}) {
    const OptimizerConfig config{
        .kind = kind, .weight_decay = 0.1f, .max_grad_norm = 2.0f, .average_decay = 0.9f};
    const ParameterList parameters = make_parameters(GetParam());
    Optimizer optimizer(parameters, config);
    optimizer.scale_lr("encoder", 0.5f);
    for (std::int64_t step = 1; step <= 3; ++step) {
      give_gradients(parameters, step);
      optimizer.step(0.01f);
    }
    const auto saved = snapshot(parameters, optimizer);

    const ParameterList resumed = make_parameters(GetParam());
    Optimizer other(resumed, config);
    other.scale_lr("encoder", 0.5f);
    for (const ParameterPtr& p : resumed) set_values(*p, saved.at("value." + p->name()));
    other.restore(3, [&](const std::string& name, const Shape& shape) {
      return Tensor::from_host<float>(shape, saved.at(name));
    });
    EXPECT_EQ(other.steps(), 3);
    EXPECT_EQ(snapshot(resumed, other), saved);
    for (std::int64_t step = 4; step <= 6; ++step) {
      const float lr = 0.02f / static_cast<float>(step);
      give_gradients(parameters, step);
      give_gradients(resumed, step);
      EXPECT_EQ(optimizer.step(lr).grad_norm, other.step(lr).grad_norm);
    }
    EXPECT_EQ(snapshot(resumed, other), snapshot(parameters, optimizer));
  }
}

TEST_P(OptimizerTest, ParametersWithoutAGradientStay) {
  const ParameterList parameters = make_parameters(GetParam());
  Optimizer optimizer(parameters, {.weight_decay = 0.5f});
  const auto before = snapshot(parameters, optimizer);
  std::vector<std::int64_t> versions;
  for (const ParameterPtr& p : parameters) versions.push_back(p->version());
  give_gradient(*parameters[2], gradient_of(2, 1));
  optimizer.step(0.01f);
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    EXPECT_EQ(parameters[i]->value().to_floats() == before.at("value." + parameters[i]->name()), i != 2);
    EXPECT_EQ(parameters[i]->version() == versions[i], i != 2) << "packed copies compare versions";
  }
}

TEST(OptimizerErrors, LeavesOutWhatIsNotTrainedAndSaysWhatIsMissing) {
  const ParameterPtr frozen = random_parameter("frozen", {3, 4}, {}, 1, -1, 1, false);
  const ParameterPtr trained = random_parameter("trained", {3, 4}, {}, 2);
  expect_error<Error>([&] { Optimizer({frozen}, {}); }, {"nothing to train"});
  expect_error<Error>([&] { Optimizer({}, {}); }, {"nothing to train"});

  Optimizer optimizer({frozen, trained}, {});
  EXPECT_EQ(optimizer.state().size(), 2u);
  EXPECT_EQ(optimizer.state()[0].first, "first_moment.trained");
  EXPECT_EQ(optimizer.state()[1].first, "second_moment.trained");
  EXPECT_FALSE(optimizer.average(*frozen));
  EXPECT_FALSE(optimizer.average(*trained));
  expect_error<Error>([&] { optimizer.step(0.1f); }, {"no parameter has a gradient"});

  expect_error<Error>(
      [&] { optimizer.restore(1, [](const std::string&, const Shape&) { return Tensor(); }); },
      {"first_moment.trained"});
  expect_error<ShapeError>(
      [&] {
        optimizer.restore(1, [](const std::string&, const Shape&) {
          return Tensor::zeros({4, 3}, DType::f32);
        });
      },
      {"[4, 3]", "[3, 4]"});
}

}  // namespace
}  // namespace ddpmts::test
