// Sampled pictures are the same with graphs and without: from noise, in a mask, from a picture, batch after batch.
#include "models/sampler.h"

#include "tests/graphs/graph_test.h"
#include "tests/models/diffusion_test.h"

namespace ddpmts::test {
namespace {

SampleBatch batch_of(std::vector<std::uint64_t> indices) { return {std::move(indices), {}, {}, false}; }

class SamplerGraphs : public ::testing::TestWithParam<DType> {
 protected:
  SamplerGraphs() : network_(tiny_unet(), 1, kGpu) { make_up_weights(network_); }
  void SetUp() override {
    if (GetParam() == DType::bf16 && !has_fast_bf16(kGpu)) GTEST_SKIP() << "no bf16 here";
  }

  /// Two batches of every kind, by one sampler with graphs and one without.
  void compare(const SamplerConfig& config, const std::vector<SampleBatch>& batches) {
    const Sampler graphed(network_, NoiseSchedule(), config, GetParam());
    const Sampler plain(network_, NoiseSchedule(), config, GetParam());
    for (const SampleBatch& batch : batches) {
      SCOPED_TRACE(fmt::format("{} pictures from {}", batch.indices.size(), batch.indices[0]));
      const auto drawn = [&](const Sampler& sampler, bool on) {
        const Graphs wanted(on);
        return sampler.sample(batch, [](std::int64_t) { spoil_free_memory(); });
      };
      const Tensor actual = drawn(graphed, true);
      const Tensor expected = drawn(plain, false);
      EXPECT_EQ(actual.to_host<std::uint8_t>(), expected.to_host<std::uint8_t>());
    }
    EXPECT_GT(graphed.captures(), 0);
    EXPECT_EQ(plain.captures(), 0);
  }

  UNet network_;
};
INSTANTIATE_TEST_SUITE_P(, SamplerGraphs, ::testing::Values(DType::f32, DType::bf16),
                         [](const auto& chosen) { return std::string(name_of(chosen.param)); });

TEST_P(SamplerGraphs, FromNoiseInBatchesOfAnySize) {
  SamplerConfig config;
  config.steps = 10;
  config.s_high = 0.2;
  compare(config, {batch_of({0, 1}), batch_of({2, 3}), batch_of({4}), batch_of({0, 1})});
}

TEST_P(SamplerGraphs, InsideAMaskWithTheRestKept) {
  const Tensor pictures = part_pictures(2, 16, 4).to(kGpu), others = part_pictures(2, 16, 5).to(kGpu);
  std::vector<std::uint8_t> inside(2 * 16 * 16);
  for (std::size_t i = 0; i < inside.size(); ++i) inside[i] = i / 16 % 16 > 7 ? 1 : 0;
  const Tensor mask = Tensor::from_host<std::uint8_t>({2, 16, 16}, inside, kGpu);
  SamplerConfig config;
  config.steps = 10;
  config.delta = 0.1;
  config.start_timestep = 700;
  compare(config, {{{0, 1}, pictures, mask, true},
                   {{2, 3}, others, mask, true},
                   {{4, 5}, others, mask, false},
                   {{6, 7}, others, {}, false}});
}

TEST_P(SamplerGraphs, WeightsThatChangeAreSeen) {
  SamplerConfig config;
  config.steps = 10;
  const Sampler graphed(network_, NoiseSchedule(), config, GetParam());
  const SampleBatch batch = batch_of({0, 1});
  const Graphs on(true);
  graphed.sample(batch);
  const ParameterPtr parameter = network_.parameters().front();
  std::vector<float> values = parameter->value().to_floats();
  for (float& value : values) value = -value;
  set_values(*parameter, values);
  const Tensor actual = graphed.sample(batch);
  EXPECT_EQ(graphed.captures(), 2);
  const Graphs off(false);
  const Tensor expected = Sampler(network_, NoiseSchedule(), config, GetParam()).sample(batch);
  EXPECT_EQ(actual.to_host<std::uint8_t>(), expected.to_host<std::uint8_t>());
}

}  // namespace
}  // namespace ddpmts::test
