// The UNet's layers: names and shapes of parameters, gradients against finite differences, what the options do. Their
// values are held against PyTorch with the whole network (tests/models/unet_golden_test.cpp).
#include "layers/unet_block.h"

#include <map>

#include "layers/attention_block.h"
#include "layers/initialize.h"
#include "layers/time_embedding.h"
#include "tests/layers/layer_test.h"

namespace ddpmts::test {
namespace {

using Shapes = std::vector<std::pair<std::string, Shape>>;

Shapes shapes_of(const ParameterList& parameters) {
  Shapes shapes;
  for (const ParameterPtr& p : parameters) shapes.emplace_back(p->name(), p->shape());
  return shapes;
}

/// A block with random parameters on maps of 4×6 pixels.
struct Setting {
  explicit Setting(const UNetBlockConfig& config, DType type = DType::f32)
      : block(ParameterScope(parameters, Device{}, "b."), config) {
    make_up_training(parameters, type);
    x = random_tensor({2, 4, 6, config.in}, {Device{}, type}, 1);
    pass.embedding = random_tensor({2, config.embedding}, {Device{}, type}, 2);
  }
  ParameterList parameters;
  UNetBlock block;
  Tensor x;
  UNetPass pass;
};

class UNetLayers : public TapeTest {};

TEST_F(UNetLayers, ParametersAreNamedAsInPublicCheckpoints) {
  ParameterList list;
  const ParameterScope scope(list, Device{});
  const TimeEmbedding time(scope.child("time_embed"), 32);
  EXPECT_EQ(shapes_of(list), (Shapes{{"time_embed.0.weight", {128, 32}},
                                     {"time_embed.0.bias", {128}},
                                     {"time_embed.2.weight", {128, 128}},
                                     {"time_embed.2.bias", {128}}}));
  list.clear();
  const UNetBlock block(scope.child("b"), {32, 64, 128, false, Resample::none, 0});
  EXPECT_EQ(shapes_of(list), (Shapes{{"b.in_layers.0.weight", {32}},
                                     {"b.in_layers.0.bias", {32}},
                                     {"b.in_layers.2.weight", {64, 3, 3, 32}},
                                     {"b.in_layers.2.bias", {64}},
                                     {"b.emb_layers.1.weight", {64, 128}},
                                     {"b.emb_layers.1.bias", {64}},
                                     {"b.out_layers.0.weight", {64}},
                                     {"b.out_layers.0.bias", {64}},
                                     {"b.out_layers.3.weight", {64, 3, 3, 64}},
                                     {"b.out_layers.3.bias", {64}},
                                     {"b.skip_connection.weight", {64, 1, 1, 32}},
                                     {"b.skip_connection.bias", {64}}}));
  list.clear();
  const UNetBlock same(scope.child("b"), {32, 32, 128, true, Resample::none, 0});
  EXPECT_EQ(list.size(), 10u);
  EXPECT_EQ(list[4]->shape(), (Shape{64, 128}));
  list.clear();
  const AttentionBlock attention(scope.child("a"), 32, 2);
  EXPECT_EQ(shapes_of(list), (Shapes{{"a.norm.weight", {32}},
                                     {"a.norm.bias", {32}},
                                     {"a.qkv.weight", {96, 1, 1, 32}},
                                     {"a.qkv.bias", {96}},
                                     {"a.proj_out.weight", {32, 1, 1, 32}},
                                     {"a.proj_out.bias", {32}}}));
}

struct BlockKind {
  const char* name;
  UNetBlockConfig config;
  Shape out;
};
// 64 channels out: with one channel per group the first convolution's bias has no gradient to compare.
const BlockKind kKinds[] = {
    {"plain", {64, 64, 8, false, Resample::none, 0}, {2, 4, 6, 64}},
    {"wider", {32, 64, 8, false, Resample::none, 1}, {2, 4, 6, 64}},
    {"scale_shift", {96, 64, 8, true, Resample::none, 2}, {2, 4, 6, 64}},
    {"down", {64, 64, 8, false, Resample::down, 3}, {2, 2, 3, 64}},
    {"up", {64, 64, 8, true, Resample::up, 4}, {2, 8, 12, 64}},
};
class UNetBlockKinds : public ::testing::TestWithParam<BlockKind> {
 protected:
  UNetBlockKinds() { clear_tape(); }
  ~UNetBlockKinds() override { clear_tape(); }
};
const auto kind_name = [](const auto& info) { return std::string(info.param.name); };
INSTANTIATE_TEST_SUITE_P(, UNetBlockKinds, ::testing::ValuesIn(kKinds), kind_name);

TEST_P(UNetBlockKinds, GradientsMatchFiniteDifferences) {
  Setting s(GetParam().config);
  std::vector<Leaf> leaves{leaf("x", s.x), leaf("embedding", s.pass.embedding)};
  for (const ParameterPtr& p : s.parameters) leaves.push_back(leaf(p));
  EXPECT_EQ(s.block.forward(s.x, s.pass).shape(), GetParam().out);
  clear_tape();
  check_gradients(leaves, [&] { return s.block.forward(s.x, s.pass); }, {.step = 2e-3f, .tolerance = 1e-2});
}

TEST_P(UNetBlockKinds, DropoutBelongsToTrainingAndToItsBlock) {
  Setting s(GetParam().config);
  const NoGrad looking;
  const std::vector<float> without = s.block.forward(s.x, s.pass).to_floats();
  s.pass.dropout = {0.3f, 1, 2};
  const std::vector<float> with = s.block.forward(s.x, s.pass).to_floats();
  EXPECT_NE(with, without);
  EXPECT_EQ(s.block.forward(s.x, s.pass).to_floats(), with);
  s.pass.dropout.step = 3;
  EXPECT_NE(s.block.forward(s.x, s.pass).to_floats(), with);
  s.pass.dropout.step = 2;
  UNetBlockConfig other = GetParam().config;
  other.index = 77;
  Setting t(other);
  t.pass.dropout = s.pass.dropout;
  EXPECT_NE(t.block.forward(t.x, t.pass).to_floats(), with);
}

TEST_P(UNetBlockKinds, Bf16StaysClose) {
  if (!has_fast_bf16(Device{})) GTEST_SKIP() << "this machine does not compute in bf16";
  const NoGrad looking;
  Setting exact(GetParam().config), rounded(GetParam().config, DType::bf16);
  exact.x = rounded.x.cast(DType::f32);
  exact.pass.embedding = rounded.pass.embedding.cast(DType::f32);
  expect_close(rounded.block.forward(rounded.x, rounded.pass),
               doubles(exact.block.forward(exact.x, exact.pass)), deep_tolerance(DType::bf16), "y");
}

TEST_F(UNetLayers, AttentionBlockGradientsMatchFiniteDifferences) {
  ParameterList parameters;
  const AttentionBlock block(ParameterScope(parameters, Device{}, "a."), 64, 2);
  make_up_training(parameters);
  const Tensor x = random_tensor({2, 3, 4, 64}, {}, 1);
  check_gradients(leaves_of(x, parameters), [&] { return block.forward(x); },
                  {.step = 2e-3f, .tolerance = 1e-2});
}

TEST_F(UNetLayers, ZeroProjectionsLeaveTheInput) {
  ParameterList parameters;
  const AttentionBlock attention(ParameterScope(parameters, Device{}, "a."), 64, 2);
  const UNetBlock block(ParameterScope(parameters, Device{}, "b."), {64, 64, 8, false, Resample::none, 0});
  make_up_training(parameters);
  for (const ParameterPtr& p : parameters) {
    if (p->name().starts_with("a.proj_out") || p->name().starts_with("b.out_layers.3")) fill(*p, 0.0f);
  }
  const Tensor x = random_tensor({2, 3, 4, 64}, {}, 1);
  expect_same_values(attention.forward(x), x, "attention");
  expect_same_values(block.forward(x, {random_tensor({2, 8}, {}, 2), {}}), x, "block");
}

TEST_F(UNetLayers, TimeEmbeddingIsAnActivatedTwoLayerNetwork) {
  ParameterList parameters;
  const TimeEmbedding time(ParameterScope(parameters, Device{}, "t."), 8);
  make_up_training(parameters);
  const std::int32_t steps[] = {0, 17, 999};
  const Tensor timesteps = Tensor::from_host<std::int32_t>({3}, steps);
  const auto layer = [&](const Doubles& x, std::size_t first) {
    const Doubles w = doubles(parameters[first]->value()), b = doubles(parameters[first + 1]->value());
    const std::size_t in = x.size() / 3, out = b.size();
    Doubles y(3 * out);
    for (std::size_t n = 0; n < 3; ++n) {
      for (std::size_t o = 0; o < out; ++o) {
        double sum = b[o];
        for (std::size_t i = 0; i < in; ++i) sum += x[n * in + i] * w[o * in + i];
        y[n * out + o] = sum / (1.0 + std::exp(-sum));
      }
    }
    return y;
  };
  const Doubles sinusoids = doubles(time_embedding(timesteps, 8, DType::f32));
  expect_close(time.forward(timesteps, DType::f32), layer(layer(sinusoids, 0), 2), 1e-5, "embedding");
  std::vector<Leaf> leaves;
  for (const ParameterPtr& p : parameters) leaves.push_back(leaf(p));
  check_gradients(leaves, [&] { return time.forward(timesteps, DType::f32); },
                  {.step = 2e-3f, .tolerance = 4e-3});
}

TEST_F(UNetLayers, UniformStartFollowsFanIn) {
  ParameterList parameters;
  const ParameterScope scope(parameters, Device{});
  const Conv conv(scope.child("conv"), 32, 64, 3);
  const Linear line(scope.child("line"), 100, 400);
  initialize_uniform(parameters, 7);
  const std::map<std::string, double> bounds{{"conv.weight", 1 / std::sqrt(288.0)}, {"line.weight", 0.1}};
  for (const auto& [name, bound] : bounds) {
    const auto at = std::ranges::find(parameters, name, &Parameter::name);
    ASSERT_NE(at, parameters.end());
    double square = 0, largest = 0;
    for (const double v : doubles((*at)->value())) {
      square += v * v;
      largest = std::max(largest, std::abs(v));
    }
    EXPECT_LE(largest, bound * (1 + 1e-6));
    EXPECT_NEAR(square / static_cast<double>((*at)->shape().count()), bound * bound / 3,
                0.03 * bound * bound);
  }
  EXPECT_EQ(doubles(parameters[1]->value()), Doubles(64));
  const Doubles first = doubles(parameters[0]->value());
  initialize_uniform(parameters, 7);
  EXPECT_EQ(doubles(parameters[0]->value()), first);
  initialize_uniform(parameters, 8);
  EXPECT_NE(doubles(parameters[0]->value()), first);
}

TEST_F(UNetLayers, SaysWhatDoesNotFit) {
  ParameterList parameters;
  const ParameterScope scope(parameters, Device{});
  expect_error<ShapeError>([&] { GroupNorm(scope.child("n"), 48); }, {"n.weight", "48", "32 groups"});
  expect_error<ShapeError>([&] { AttentionBlock(scope.child("a"), 64, 5); }, {"64 channels", "5 heads"});
}

}  // namespace
}  // namespace ddpmts::test
