// A diffusion model's file: what goes in comes out, and what is wrong with one is said.
#include "models/diffusion_file.h"

#include <functional>

#include "models/model_file.h"
#include "tests/models/diffusion_test.h"

namespace ddpmts::test {
namespace {

class DiffusionFile : public TapeTest {
 protected:
  DiffusionFile() : network_(odd_config(), 1, Device{}) { make_up_weights(network_); }

  static UNetConfig odd_config() {
    UNetConfig config = tiny_unet();
    config.scale_shift = true;
    config.resample_in_blocks = false;
    config.dropout = 0.25f;
    config.attention = {};
    return config;
  }
  std::filesystem::path path() const { return folder_ / "diffusion.safetensors"; }
  void save() const {
    save_diffusion_model(path(), network_.config(), NoiseSchedule(ScheduleKind::cosine, 400), Prediction::velocity,
                         network_.tensors(), R"({"steps": 3})");
  }
  /// Writes the file again with other metadata.
  void change(const std::function<void(Metadata&)>& edit) const {
    save();
    Metadata metadata = SafetensorsFile(path()).metadata();
    edit(metadata);
    write_tensors(path(), network_.tensors(), metadata);
  }
  void expect_refused(const std::function<void(Metadata&)>& edit,
                      const std::vector<std::string>& parts) const {
    change(edit);
    expect_error<FileError>([&] { load_diffusion_model(path(), Device{}); }, parts);
  }

  testing::ScratchFolder folder_;
  UNet network_;
};

void replace(std::string& text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  ASSERT_NE(at, std::string::npos) << text;
  text.replace(at, from.size(), to);
}

TEST_F(DiffusionFile, ComesBackAsItWas) {
  save();
  const DiffusionModel model = load_diffusion_model(path(), Device{});
  EXPECT_EQ(model.network->config(), network_.config());
  EXPECT_EQ(differences(model.network->tensors(), network_.tensors()), std::vector<std::string>());
  EXPECT_EQ(model.schedule.kind(), ScheduleKind::cosine);
  EXPECT_EQ(model.schedule.steps(), 400);
  EXPECT_EQ(model.prediction, Prediction::velocity);
  EXPECT_EQ(model.run_configuration, R"({"steps": 3})");
  const Tensor x = random_tensor({2, 16, 16, 3}, {}, 1);
  EXPECT_EQ(model.network->predict(x, timesteps({1, 300})).to_floats(),
            network_.predict(x, timesteps({1, 300})).to_floats());
}

TEST_F(DiffusionFile, SaysWhatIsWrong) {
  expect_refused([](Metadata& m) { m.erase("format"); },
                 {"diffusion.safetensors", "no diffusion model", "'format'"});
  expect_refused([](Metadata& m) { m["format"] = "ddpmts-detector"; },
                 {"ddpmts-detector", "ddpmts-diffusion"});
  expect_refused([](Metadata& m) { m["version"] = "9"; }, {"version '9'"});
  expect_refused([](Metadata& m) { m.erase("run"); }, {"'run'"});
  expect_refused([](Metadata& m) { m["unet"] = "{"; }, {"cannot be used"});
  expect_refused([](Metadata& m) { replace(m["unet"], "\"heads\":2", "\"heads\":\"two\""); },
                 {"cannot be used"});
  expect_refused([](Metadata& m) { replace(m["unet"], "\"heads\":2", "\"hats\":2"); },
                 {"cannot be used", "heads"});
  expect_refused([](Metadata& m) { replace(m["unet"], "\"channels\":32", "\"channels\":33"); },
                 {"cannot be used", "33 channels"});
  expect_refused([](Metadata& m) { replace(m["diffusion"], "\"steps\":400", "\"steps\":0"); },
                 {"cannot be used", "0 steps"});
  expect_refused([](Metadata& m) { replace(m["diffusion"], "cosine", "square"); },
                 {"cannot be used", "square"});
  expect_refused([](Metadata& m) { replace(m["diffusion"], "\"velocity\"", "\"score\""); },
                 {"cannot be used", "score"});
}

// A few bytes that promise a giant must not make the program ask for its memory.
TEST_F(DiffusionFile, ConfigurationsThatTheWeightsDoNotFillAreRefusedFirst) {
  release_cached_memory(Device{});
  const std::size_t before = memory_stats(Device{}).reserved;
  reset_peak_memory(Device{});
  expect_refused([](Metadata& m) { replace(m["unet"], "[1,2]", "[64,64]"); },
                 {"output_blocks.0.0.out_layers.3.weight"});
  expect_refused([](Metadata& m) { replace(m["unet"], "\"blocks\":1", "\"blocks\":16"); }, {"output_blocks"});
  EXPECT_LE(memory_stats(Device{}).reserved, before + (1u << 20));
}

TEST_F(DiffusionFile, MissingTensorIsNamed) {
  save();
  const Metadata metadata = SafetensorsFile(path()).metadata();
  NamedTensorList tensors = network_.tensors();
  std::erase_if(tensors, [](const auto& entry) { return entry.first == "time_embed.2.bias"; });
  write_tensors(path(), tensors, metadata);
  expect_error<SafetensorsError>([&] { load_diffusion_model(path(), Device{}); }, {"time_embed.2.bias"});
}

}  // namespace
}  // namespace ddpmts::test
