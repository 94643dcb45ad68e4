// Atrous spatial pyramid pooling against its branches computed one by one in double precision.
#include "layers/aspp.h"

#include "tests/layers/layer_test.h"

namespace ddpmts::test {
namespace {

// Units rebuilt from the parameters by name, so that the test does not lean on the layer's own wiring.
ConvNorm twin(const ParameterList& parameters, const std::string& prefix, std::int64_t in, std::int64_t out,
              std::int64_t kernel, std::int64_t dilation) {
  ParameterList copies;
  ConvNorm unit(ParameterScope(copies, {}).child(prefix), "conv", "bn", in, out, kernel, 1, dilation);
  for (const ParameterPtr& copy : copies) {
    bool found = false;
    for (const ParameterPtr& p : parameters) {
      if (p->name() != copy->name()) continue;
      set_values(*copy, p->value().to_floats());
      found = true;
    }
    EXPECT_TRUE(found) << copy->name();
  }
  return unit;
}

class AsppTest : public EngineTest {};
DDPMTS_ON_EVERY_PLACEMENT(AsppTest);

TEST_P(AsppTest, InferenceMatchesItsBranches) {
  const NoGrad inspecting;
  constexpr std::int64_t kChannels = 6;
  ParameterList parameters;
  const Aspp aspp(ParameterScope(parameters, device()), kChannels);
  EXPECT_EQ(parameters.size(), 25u);
  make_up_training(parameters, type());
  const Tensor x = random_tensor({2, 23, 21, kChannels}, GetParam(), 1);
  const DoubleMap input = double_map(x);

  DoubleMap mean{2, 1, 1, kChannels, Doubles(2 * kChannels)};
  const auto c = static_cast<std::size_t>(kChannels);
  const std::size_t pixels = 23 * 21;
  for (std::size_t i = 0; i < input.values.size(); ++i) {
    mean.values[i / (pixels * c) * c + i % c] += input.values[i] / static_cast<double>(pixels);
  }
  std::vector<DoubleMap> parts{
      conv_norm_reference(twin(parameters, "pool", kChannels, kChannels, 1, 1), mean, true)};
  for (int i = 0; i < 3; ++i) {
    parts.push_back(conv_norm_reference(
        twin(parameters, fmt::format("branch.{}", i), kChannels, kChannels, 3, 6 * (i + 1)), input, true));
  }
  DoubleMap joined{2, 23, 21, 4 * kChannels, Doubles(2 * pixels * 4 * c)};
  for (std::size_t pixel = 0; pixel < 2 * pixels; ++pixel) {
    for (std::size_t part = 0; part < 4; ++part) {
      const std::size_t source =
          part == 0 ? pixel / pixels : pixel;  // the pooled branch is spread over the map
      for (std::size_t i = 0; i < c; ++i) {
        joined.values[(pixel * 4 + part) * c + i] = parts[part].values[source * c + i];
      }
    }
  }
  const DoubleMap expected =
      conv_norm_reference(twin(parameters, "project", 4 * kChannels, kChannels, 3, 1), joined, true);
  const Tensor y = aspp.forward(x, Mode::inference);
  ASSERT_EQ(y.shape(), x.shape());
  expect_close(y, expected.values, deep_tolerance(type()), "aspp");
}

class AsppTape : public TapeTest {};

TEST_F(AsppTape, TrainingGradientsMatchFiniteDifferences) {
  ParameterList parameters;
  const Aspp aspp(ParameterScope(parameters, {}), 4);
  make_up_training(parameters);
  avoid_kinks(parameters);
  const Tensor x = random_tensor({6, 9, 8, 4}, {}, 2);
  check_gradients(leaves_of(x, parameters), [&] { return aspp.forward(x, Mode::training); },
                  {.step = 1e-2f, .tolerance = 5e-3});
}

}  // namespace
}  // namespace ddpmts::test
