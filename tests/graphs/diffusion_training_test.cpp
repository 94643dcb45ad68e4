// Training a diffusion model gives the same bits with graphs and without: losses, weights, moments, averages.
#include "models/diffusion_trainer.h"
#include "tests/graphs/graph_test.h"
#include "tests/models/diffusion_test.h"

namespace ddpmts::test {
namespace {

struct Training {
  UNet network;
  DiffusionTrainer trainer;
  bool graphs;

  Training(const DiffusionTrainingConfig& config, const UNetConfig& unet, bool with_graphs)
      : network(unet, 1, kGpu),
        trainer(network, NoiseSchedule(), part_pictures(12, 16, 4).to(kGpu), config),
        graphs(with_graphs) {}

  DiffusionStepReport step(double progress) {
    const Graphs wanted(graphs);
    return trainer.step(progress);
  }
  NamedTensorList state() const {
    NamedTensorList all;
    for (const auto& [name, tensor] : network.tensors()) all.emplace_back(name, tensor.clone());
    for (const auto& [name, tensor] : trainer.state()) all.emplace_back(name, tensor.clone());
    return all;
  }
};

void compare(const DiffusionTrainingConfig& config, const UNetConfig& unet) {
  clear_tape();
  constexpr int kSteps = 12;
  Training graphed(config, unet, true), plain(config, unet, false);
  for (int i = 0; i < kSteps; ++i) {
    SCOPED_TRACE(fmt::format("step {}", i + 1));
    const DiffusionStepReport actual = graphed.step(static_cast<double>(i) / kSteps);
    spoil_free_memory();
    const DiffusionStepReport expected = plain.step(static_cast<double>(i) / kSteps);
    EXPECT_EQ(actual.loss, expected.loss);
    EXPECT_EQ(actual.grad_norm, expected.grad_norm);
    EXPECT_EQ(actual.learning_rate, expected.learning_rate);
  }
  EXPECT_EQ(differences(graphed.state(), plain.state()), std::vector<std::string>());
  for (std::int64_t bucket = 0; bucket < TimestepLosses::kBuckets; ++bucket) {
    const double expected = plain.trainer.losses().mean(bucket);
    const double actual = graphed.trainer.losses().mean(bucket);
    EXPECT_TRUE(actual == expected || (std::isnan(actual) && std::isnan(expected))) << bucket;
  }
  EXPECT_EQ(graphed.trainer.replays(), kSteps - StepGraph::kPlainRuns);
  EXPECT_EQ(plain.trainer.replays(), 0);
}

TEST(DiffusionTrainingGraphs, SameBits) { compare(small_training(3), tiny_unet()); }

TEST(DiffusionTrainingGraphs, SameBitsWithMicroBatchesAndDropout) {
  DiffusionTrainingConfig config = small_training(3);
  config.accumulation = 2;
  config.prediction = Prediction::velocity;
  UNetConfig unet = tiny_unet();
  unet.dropout = 0.2f;
  compare(config, unet);
}

TEST(DiffusionTrainingGraphs, SameBitsInBf16) {
  if (!has_fast_bf16(kGpu)) GTEST_SKIP() << "no bf16 here";
  DiffusionTrainingConfig config = small_training(3);
  config.type = DType::bf16;
  compare(config, tiny_unet());
}

}  // namespace
}  // namespace ddpmts::test
