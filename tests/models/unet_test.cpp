// The UNet's sizes, names, start, hooks and errors. Its values are held against PyTorch in unet_golden_test.cpp.
#include "models/unet.h"

#include <set>

#include "models/model_file.h"
#include "tests/models/diffusion_test.h"

namespace ddpmts::test {
namespace {

class UNetTest : public TapeTest {};

struct PresetCase {
  UNetPreset preset;
  std::int64_t size, parameters;
};
// Counted by the PyTorch twin: bench/twins/unet.py --count.
const PresetCase kPresets[] = {
    {UNetPreset::xs, 64, 6077539}, {UNetPreset::xs, 128, 6270883}, {UNetPreset::xs, 256, 8257731},
    {UNetPreset::s, 64, 24248515}, {UNetPreset::s, 128, 25018179}, {UNetPreset::s, 256, 32952707},
    {UNetPreset::m, 64, 82958979}, {UNetPreset::m, 128, 85602691}, {UNetPreset::m, 256, 113673219},
};

TEST_F(UNetTest, PresetsHaveAsManyParametersAsTheTwins) {
  for (const PresetCase& c : kPresets) {
    SCOPED_TRACE(std::string(name_of(c.preset)) + " " + std::to_string(c.size));
    const UNet network(preset(c.preset, c.size), 1, Device{});
    EXPECT_EQ(network.parameter_count(), c.parameters);
    release_cached_memory(Device{});
  }
}

TEST_F(UNetTest, NamesAreThoseOfPublicCheckpoints) {
  const UNet network(preset(UNetPreset::xs, 64), 1, Device{});
  std::set<std::string> names;
  for (const ParameterPtr& p : network.parameters()) EXPECT_TRUE(names.insert(p->name()).second) << p->name();
  for (const char* name :
       {"time_embed.0.weight", "time_embed.2.bias", "input_blocks.0.0.weight", "input_blocks.1.1.qkv.weight",
        "input_blocks.3.0.in_layers.0.weight", "input_blocks.4.0.skip_connection.weight",
        "middle_block.0.emb_layers.1.weight", "middle_block.1.norm.weight", "middle_block.1.proj_out.bias",
        "middle_block.2.out_layers.3.weight", "output_blocks.0.0.skip_connection.weight",
        "output_blocks.2.2.in_layers.2.weight", "output_blocks.11.0.out_layers.0.bias", "out.0.weight",
        "out.2.bias"}) {
    // At 64 pixels attention starts one level down, so that input_blocks.1 has none.
    EXPECT_EQ(names.contains(name), std::string(name) != "input_blocks.1.1.qkv.weight") << name;
  }
  const UNet strided(preset(UNetPreset::m, 64), 1, Device{});
  names.clear();
  for (const ParameterPtr& p : strided.parameters()) names.insert(p->name());
  EXPECT_TRUE(names.contains("input_blocks.3.0.op.weight"));
  EXPECT_TRUE(names.contains("output_blocks.2.1.conv.weight"));
  release_cached_memory(Device{});
}

TEST_F(UNetTest, ResidualBranchesAndTheOutputStartAtZero) {
  const UNet network(tiny_unet(), 1, Device{});
  std::size_t zeros = 0;
  for (const ParameterPtr& p : network.parameters()) {
    if (p->shape().rank() < 2) continue;
    const bool zero =
        p->value().to_floats() == std::vector<float>(static_cast<std::size_t>(p->shape().count()));
    const std::string& name = p->name();
    EXPECT_EQ(zero, name.ends_with("out_layers.3.weight") || name.ends_with("proj_out.weight") ||
                        name == "out.2.weight")
        << name;
    zeros += zero ? 1 : 0;
  }
  EXPECT_EQ(zeros, 15u);  // eleven residual blocks, three attentions, the output
  const Tensor x = random_tensor({2, 16, 16, 3}, {}, 1);
  EXPECT_EQ(network.predict(x, timesteps({3, 900})).to_floats(), std::vector<float>(2 * 16 * 16 * 3));
}

TEST_F(UNetTest, SeedDecidesTheStart) {
  const UNet a(tiny_unet(), 1, Device{}), same(tiny_unet(), 1, Device{}), other(tiny_unet(), 2, Device{});
  EXPECT_EQ(differences(a.tensors(), same.tensors()), std::vector<std::string>());
  EXPECT_GT(differences(a.tensors(), other.tensors()).size(), 30u);
}

// What is drawn for dropout, noise or other pictures of the batch does not reach a picture.
TEST_F(UNetTest, PicturesDoNotSeeEachOther) {
  for (const DType type : {DType::f32, DType::bf16}) {
    if (type == DType::bf16 && !has_fast_bf16(Device{})) continue;
    UNet network(tiny_unet(), 1, Device{});
    make_up_weights(network);
    const Tensor x = random_tensor({3, 16, 16, 3}, {Device{}, type}, 1);
    const NoGrad looking;
    const std::vector<float> together = network.predict(x, timesteps({5, 500, 900})).to_floats();
    const Tensor second = Tensor::empty({1, 16, 16, 3}, type);
    copy_bytes(second.raw(), {}, static_cast<const char*>(x.raw()) + second.bytes(), {}, second.bytes());
    const std::vector<float> alone = network.predict(second, timesteps({500})).to_floats();
    EXPECT_EQ(alone, std::vector<float>(together.begin() + 768, together.begin() + 2 * 768)) << name_of(type);
  }
}

TEST_F(UNetTest, ObserverSeesEveryPartInOrder) {
  UNet network(tiny_unet(), 1, Device{});
  make_up_weights(network);
  std::vector<std::string> names;
  std::vector<Shape> decoder;
  std::vector<float> last;
  UNetForward options;
  options.observe = [&](const UNetActivation& activation) {
    names.push_back(activation.name());
    if (activation.stage == UNetActivation::Stage::output && activation.ends_block) {
      EXPECT_EQ(activation.block, static_cast<std::int64_t>(decoder.size()));
      decoder.push_back(activation.value.shape());
    }
    if (activation.stage == UNetActivation::Stage::out) last = activation.value.to_floats();
  };
  const NoGrad looking;
  const Tensor x = random_tensor({1, 16, 16, 3}, {}, 1);
  const Tensor y = network.predict(x, timesteps({4}), options);
  EXPECT_EQ(names, (std::vector<std::string>{
                       "input_blocks.0.0", "input_blocks.1.0", "input_blocks.2.0", "input_blocks.3.0",
                       "input_blocks.3.1", "middle_block.0", "middle_block.1", "middle_block.2",
                       "output_blocks.0.0", "output_blocks.0.1", "output_blocks.1.0", "output_blocks.1.1",
                       "output_blocks.1.2", "output_blocks.2.0", "output_blocks.3.0", "out"}));
  EXPECT_EQ(decoder, (std::vector<Shape>{{1, 8, 8, 64}, {1, 16, 16, 64}, {1, 16, 16, 32}, {1, 16, 16, 32}}));
  EXPECT_EQ(last, y.to_floats());
  EXPECT_EQ(network.predict(x, timesteps({4})).to_floats(), y.to_floats());
}

TEST_F(UNetTest, WeightsComeBackByName) {
  UNet network(tiny_unet(), 1, Device{});
  make_up_weights(network);
  const testing::ScratchFolder folder;
  write_tensors(folder / "unet.safetensors", network.tensors(), {});
  const SafetensorsFile file(folder / "unet.safetensors");
  const UNet loaded(tiny_unet(), NamedTensors(file, WeightOrder::krsc), Device{});
  EXPECT_EQ(differences(loaded.tensors(), network.tensors()), std::vector<std::string>());
  UNetConfig wider = tiny_unet();
  wider.multipliers = {1, 3};
  expect_error<SafetensorsError>([&] { UNet(wider, NamedTensors(file, WeightOrder::krsc), Device{}); },
                                 {"input_blocks", "[64"});
}

TEST_F(UNetTest, SaysWhatDoesNotFit) {
  const auto refused = [](auto change, const std::vector<std::string>& parts) {
    UNetConfig config = tiny_unet();
    change(config);
    expect_error<Error>([&] { check(config); }, parts);
  };
  refused([](UNetConfig& c) { c.channels = 48; }, {"48 channels", "multiple of 32"});
  refused([](UNetConfig& c) { c.size = 17; }, {"17 pixels", "1 times"});
  refused([](UNetConfig& c) { c.multipliers = {}; }, {"0 channel multipliers"});
  refused([](UNetConfig& c) { c.multipliers = {1, 0}; }, {"multipliers"});
  refused([](UNetConfig& c) { c.heads = 5; }, {"5 attention heads"});
  refused([](UNetConfig& c) { c.heads = 0; }, {"0 attention heads"});
  refused([](UNetConfig& c) { c.blocks = 0; }, {"0 blocks"});
  refused([](UNetConfig& c) { c.dropout = 1.0f; }, {"dropout is 1"});
  refused([](UNetConfig& c) { c.out_channels = 0; }, {"3 channels in and 0 out"});
  expect_error<Error>([] { preset(UNetPreset::s, 100); }, {"100 pixels", "64, 128 and 256"});
  expect_error<Error>([] { parse_unet_preset("xl"); }, {"xl", "xs, s or m"});
  EXPECT_EQ(parse_unet_preset("m"), UNetPreset::m);
  const UNet network(tiny_unet(), 1, Device{});
  const Tensor x = Tensor::zeros({2, 16, 16, 3}, DType::f32);
  expect_error<ShapeError>(
      [&] {
        network.predict(Tensor::zeros({2, 8, 8, 3}, DType::f32), timesteps({1, 2}));
      },
      {"[2, 16, 16, 3]", "[2, 8, 8, 3]"});
  expect_error<ShapeError>([&] { network.predict(x, timesteps({1})); }, {"[1]", "2 pictures"});
}

}  // namespace
}  // namespace ddpmts::test
