// The UNet's prediction, gradients and ten updates against PyTorch in float64 (golden/unet.json). Weights and inputs are
// drawn as the fixture's "about" says.
//
// Tolerances as in networks_golden_test.cpp: ten times what PyTorch's own float32 was off, at least 1e-5, relative to the
// tensor's L2 norm; three times that for a single value; thirty times the largest error so far along ten updates.
#include <fstream>
#include <nlohmann/json.hpp>

#include "engine/optimizer.h"
#include "generated/test_paths.h"
#include "models/diffusion.h"
#include "models/unet.h"
#include "tests/models/model_test.h"

namespace ddpmts::test {
namespace {

using kernels::RandomStream;
using nlohmann::json;

const json& golden() {
  static const json document = [] {
    std::ifstream file(DDPMTS_GOLDEN_DIR "/unet.json");
    if (!file) throw std::runtime_error("cannot open " DDPMTS_GOLDEN_DIR "/unet.json");
    return json::parse(file);
  }();
  return document;
}

std::vector<float> draw(std::uint64_t seed, RandomStream stream, std::uint64_t step, std::int64_t count,
                        float low, float high) {
  const std::vector<std::uint32_t> words = philox_words(seed, stream, step, count);
  std::vector<float> values(words.size());
  for (std::size_t i = 0; i < words.size(); ++i) values[i] = kernels::uniform(words[i], low, high);
  return values;
}

/// (2u − 1)·bound on the weights stream.
std::vector<float> draw_symmetric(std::uint64_t seed, std::uint64_t step, std::int64_t count, float bound) {
  std::vector<float> values = draw(seed, RandomStream::weights, step, count, -1.0f, 1.0f);
  for (float& value : values) value *= bound;
  return values;
}

/// Where element `flat` of an OIHW tensor (or of one with fewer extents) lies in ours.
std::size_t position(std::size_t flat, const Shape& shape) {
  if (shape.rank() != 4) return flat;
  const auto taps = static_cast<std::size_t>(shape[1] * shape[2]), c = static_cast<std::size_t>(shape[3]);
  return (flat / (taps * c) * taps + flat % taps) * c + flat / taps % c;
}

double tolerance(double f32_error, double factor) { return std::max(1e-5, factor * f32_error); }

void expect_golden(const std::vector<float>& values, const json& expected, const Shape& shape) {
  const std::string name = expected["name"];
  const double allowed = tolerance(expected["f32_error"], 10), norm = expected["l2"];
  double square = 0;
  for (const float value : values) square += static_cast<double>(value) * value;
  EXPECT_NEAR(std::sqrt(square), norm, allowed * norm) << name << ", L2 norm";
  const double rms = norm / std::sqrt(static_cast<double>(values.size()));
  for (std::size_t k = 0; k < expected["indices"].size(); ++k) {
    const std::size_t at = position(expected["indices"][k], shape);
    ASSERT_LT(at, values.size()) << name;
    const double sample = expected["samples"][k];
    EXPECT_NEAR(values[at], sample, 3 * allowed * std::max(rms, std::abs(sample)))
        << name << "[" << at << "]";
  }
}

UNetConfig config_of(const json& shape, const json& options) {
  UNetConfig config;
  config.size = shape["size"];
  config.channels = shape["channels"];
  shape["multipliers"].get_to(config.multipliers);
  config.blocks = shape["blocks"];
  shape["attention"].get_to(config.attention);
  config.heads = shape["heads"];
  config.scale_shift = options["scale_shift"];
  config.resample_in_blocks = options["resample_in_blocks"];
  return config;
}

class UNetGolden : public ::testing::TestWithParam<const char*> {
 protected:
  UNetGolden()
      : expected_(golden()["cases"][GetParam()]),
        network_(config_of(golden()["shape"], expected_["config"]), 0, Device{}) {
    clear_tape();
    draw_weights();
    draw_inputs();
  }
  ~UNetGolden() override { clear_tape(); }

  Tensor predict(DType type = DType::f32) const { return network_.predict(x_t_.cast(type), timesteps_); }

  const json& expected_;
  UNet network_;
  Tensor x_t_, noise_, timesteps_;

 private:
  void draw_weights() {
    const std::uint64_t seed = golden()["weight_seed"];
    std::uint64_t step = 0;
    for (const ParameterPtr& p : network_.parameters()) {
      const Shape& shape = p->shape();
      std::vector<float> values;
      if (shape.rank() > 1) {
        const float bound = std::sqrt(3.0f / static_cast<float>(shape.count() / shape[0]));
        values = draw_symmetric(seed, step, shape.count(), bound);
        if (shape.rank() == 4) values = oihw_to_krsc(values, shape);
      } else if (p->name().ends_with("weight")) {
        values = draw(seed, RandomStream::weights, step, shape.count(), 0.75f, 1.25f);
      } else {
        values = draw_symmetric(seed, step, shape.count(), 0.1f);
      }
      set_values(*p, values);
      ++step;
    }
  }

  void draw_inputs() {
    const std::uint64_t seed = golden()["input_seed"];
    const std::int64_t n = golden()["batch"], size = network_.config().size;
    const Shape shape{n, size, size, 3};
    const std::vector<float> x_0 = draw(seed, RandomStream::drawing, 0, shape.count(), -1.0f, 1.0f);
    const float bound = std::sqrt(3.0f);
    const std::vector<float> noise = draw(seed, RandomStream::drawing, 1, shape.count(), -bound, bound);
    const std::vector<std::int32_t> t = golden()["timesteps"];
    const NoiseSchedule schedule;
    std::vector<float> x_t(x_0.size());
    for (std::size_t i = 0; i < x_t.size(); ++i) {
      const std::size_t picture = i / (x_t.size() / t.size());
      const double a = schedule.alphas_cumprod()[static_cast<std::size_t>(t[picture])];
      x_t[i] = static_cast<float>(std::sqrt(a) * x_0[i] + std::sqrt(1.0 - a) * noise[i]);
    }
    x_t_ = Tensor::from_host<float>(shape, x_t);
    noise_ = Tensor::from_host<float>(shape, noise);
    timesteps_ = Tensor::from_host<std::int32_t>({n}, t);
  }
};
const auto case_name = [](const auto& info) { return std::string(info.param); };
INSTANTIATE_TEST_SUITE_P(, UNetGolden, ::testing::Values("added", "scale_shift"), case_name);

TEST_P(UNetGolden, PredictionLossAndGradients) {
  ASSERT_EQ(network_.parameters().size(), expected_["gradients"].size());
  EXPECT_EQ(network_.parameter_count(), expected_["parameters"].get<std::int64_t>());
  const Tensor prediction = predict();
  ASSERT_EQ(json(prediction.shape().extents()), expected_["output"]["shape"]);
  expect_golden(prediction.to_floats(), expected_["output"], Shape{prediction.count()});
  const NoiseLoss loss = noise_loss(prediction, noise_);
  const double truth = expected_["loss"]["value"];
  EXPECT_NEAR(loss.total.item(), truth, tolerance(expected_["loss"]["f32_error"], 10) * truth);
  backward(loss.total);
  for (std::size_t i = 0; i < network_.parameters().size(); ++i) {
    const ParameterPtr& p = network_.parameters()[i];
    ASSERT_EQ(p->name(), expected_["gradients"][i]["name"].get<std::string>());
    ASSERT_TRUE(p->has_grad()) << p->name();
    expect_golden(p->grad().to_floats(), expected_["gradients"][i], p->shape());
  }
}

TEST_P(UNetGolden, TenUpdates) {
  const json& options = golden()["optimizer"];
  OptimizerConfig config;
  config.decay_all = true;
  config.weight_decay = options["weight_decay"];
  config.beta1 = options["betas"][0];
  config.beta2 = options["betas"][1];
  config.epsilon = options["eps"];
  Optimizer optimizer(network_.parameters(), config);
  const json& training = expected_["training"];
  double largest_error = 0;
  for (std::size_t step = 0; step < training["losses"].size(); ++step) {
    const NoiseLoss loss = noise_loss(predict(), noise_);
    largest_error = std::max(largest_error, training["f32_error"][step].get<double>());
    const double truth = training["losses"][step];
    EXPECT_NEAR(loss.total.item(), truth, tolerance(largest_error, 30) * truth)
        << "before update " << step + 1;
    backward(loss.total);
    ASSERT_TRUE(optimizer.step(options["lr"]).finite);
  }
}

// Every rounding to bf16 is half a unit in the last of eight places; the network has about thirty in a row.
TEST_P(UNetGolden, Bf16StaysClose) {
  if (!has_fast_bf16(Device{})) GTEST_SKIP() << "this machine does not compute in bf16";
  const NoGrad looking;
  const std::vector<float> exact = predict().to_floats(), rounded = predict(DType::bf16).to_floats();
  double square = 0, difference = 0;
  for (std::size_t i = 0; i < exact.size(); ++i) {
    square += static_cast<double>(exact[i]) * exact[i];
    difference += std::pow(static_cast<double>(rounded[i]) - exact[i], 2);
  }
  EXPECT_LT(std::sqrt(difference / square), 0.03);
  EXPECT_GT(difference, 0.0);
}

}  // namespace
}  // namespace ddpmts::test
