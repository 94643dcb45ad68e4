// Training a diffusion model: the loss falls, runs repeat and resume bit for bit, bad steps are skipped and explained.
#include "models/diffusion_trainer.h"

#include <cmath>
#include <limits>

#include "models/diffusion_file.h"
#include "models/model_file.h"
#include "tests/models/diffusion_test.h"

namespace ddpmts::test {
namespace {

/// A small network with its trainer, on twelve pictures.
struct Training {
  UNet network;
  DiffusionTrainer trainer;

  explicit Training(const DiffusionTrainingConfig& config, const UNetConfig& unet = tiny_unet())
      : network(unet, 1, Device{}), trainer(network, NoiseSchedule(), part_pictures(12, 16, 4), config) {}
  Training(const DiffusionTrainingConfig& config, const UNetConfig& unet, const NamedTensors& weights)
      : network(unet, weights, Device{}),
        trainer(network, NoiseSchedule(), part_pictures(12, 16, 4), config) {}

  std::vector<float> losses(int first, int last, int total) {
    std::vector<float> values;
    for (int i = first; i < last; ++i) values.push_back(trainer.step(static_cast<double>(i) / total).loss);
    return values;
  }
  ParameterPtr parameter(const std::string& name) const {
    for (const ParameterPtr& p : network.parameters()) {
      if (p->name() == name) return p;
    }
    throw std::runtime_error("no parameter " + name);
  }
};

NamedTensorList copies(const NamedTensorList& tensors) {
  NamedTensorList result;
  for (const auto& [name, tensor] : tensors) result.emplace_back(name, tensor.clone());
  return result;
}

class DiffusionTraining : public TapeTest {};

double mean_of(const std::vector<float>& values, std::size_t first, std::size_t count) {
  double sum = 0;
  for (std::size_t i = first; i < first + count; ++i) sum += values[i];
  return sum / static_cast<double>(count);
}

TEST_F(DiffusionTraining, LossFalls) {
  for (const DType type : {DType::f32, DType::bf16}) {
    if (type == DType::bf16 && !has_fast_bf16(Device{})) continue;
    DiffusionTrainingConfig config = small_training();
    config.type = type;
    Training run(config);
    const std::vector<float> losses = run.losses(0, 40, 40);
    EXPECT_NEAR(losses[0], 1.0, 0.1) << "a new network predicts nothing, and the noise has variance 1";
    EXPECT_LT(mean_of(losses, 30, 10), 0.6) << name_of(type);
    EXPECT_EQ(run.trainer.counters().steps, 40);
    EXPECT_EQ(run.trainer.counters().optimizer_steps, 40);
    EXPECT_EQ(run.trainer.counters().skipped, 0);
  }
}

TEST_F(DiffusionTraining, LossesAreKeptByTimestep) {
  DiffusionTrainingConfig config = small_training();
  config.batch = 1;
  Training run(config);
  TimestepLosses& losses = run.trainer.losses();
  for (int i = 0; i < 3; ++i) {
    const float loss = run.trainer.step(0.5).loss;
    int found = 0;
    for (std::int64_t bucket = 0; bucket < TimestepLosses::kBuckets; ++bucket) {
      if (std::isnan(losses.mean(bucket))) continue;
      ++found;
      EXPECT_EQ(losses.mean(bucket), static_cast<double>(loss));
    }
    EXPECT_EQ(found, 1);
    losses.reset();
  }
  TimestepLosses by_hand(1000);
  by_hand.add(99, 1.0f);
  by_hand.add(0, 3.0f);
  by_hand.add(999, 5.0f);
  EXPECT_EQ(by_hand.mean(0), 2.0);
  EXPECT_EQ(by_hand.mean(9), 5.0);
  EXPECT_TRUE(std::isnan(by_hand.mean(1)));
}

TEST_F(DiffusionTraining, SameSeedSameBits) {
  const auto after = [](std::uint64_t seed) {
    DiffusionTrainingConfig config = small_training();
    config.seed = seed;
    Training run(config);
    run.losses(1, 4, 4);
    return copies(run.network.tensors());
  };
  const NamedTensorList first = after(1);
  EXPECT_EQ(differences(after(1), first), std::vector<std::string>());
  EXPECT_GT(differences(after(2), first).size(), first.size() / 2);
}

struct Resumption {
  const char* name;
  DType type;
  std::int64_t accumulation;
  float dropout;
};
class DiffusionResumed : public ::testing::TestWithParam<Resumption> {
 protected:
  DiffusionResumed() { clear_tape(); }
  ~DiffusionResumed() override { clear_tape(); }
};
const auto resumption_name = [](const auto& info) { return std::string(info.param.name); };
INSTANTIATE_TEST_SUITE_P(, DiffusionResumed,
                         ::testing::Values(Resumption{"f32", DType::f32, 1, 0.0f},
                                           Resumption{"bf16", DType::bf16, 1, 0.0f},
                                           Resumption{"accumulated_with_dropout", DType::f32, 2, 0.2f}),
                         resumption_name);

TEST_P(DiffusionResumed, GoesOnBitForBit) {
  const Resumption& how = GetParam();
  if (how.type == DType::bf16 && !has_fast_bf16(Device{})) GTEST_SKIP() << "no bf16 on this machine";
  DiffusionTrainingConfig config = small_training();
  config.type = how.type;
  config.accumulation = how.accumulation;
  UNetConfig unet = tiny_unet();
  unet.dropout = how.dropout;
  Training straight(config, unet);
  straight.losses(0, 3, 6);

  // Everything goes through a file, as a checkpoint does.
  const testing::ScratchFolder folder;
  NamedTensorList tensors = straight.network.tensors();
  for (const auto& entry : straight.trainer.state()) tensors.push_back(entry);
  write_tensors(folder / "checkpoint.safetensors", tensors, {});
  const DiffusionTrainer::Counters counters = straight.trainer.counters();
  const std::vector<float> losses = straight.losses(3, 6, 6);

  const SafetensorsFile file(folder / "checkpoint.safetensors");
  Training resumed(config, unet, NamedTensors(file, WeightOrder::krsc));
  resumed.trainer.restore(counters, [&](const std::string& name, const Shape& shape) {
    return Tensor::from_host<float>(shape, file.read_f32(name, shape.extents()));
  });
  EXPECT_EQ(resumed.losses(3, 6, 6), losses);
  EXPECT_EQ(differences(resumed.network.tensors(), straight.network.tensors()), std::vector<std::string>());
  EXPECT_EQ(differences(resumed.trainer.state(), straight.trainer.state()), std::vector<std::string>());
  EXPECT_EQ(resumed.trainer.counters().steps, 6);
}

TEST_F(DiffusionTraining, AccumulationSeesTheSamePicturesAsALargerBatch) {
  DiffusionTrainingConfig at_once = small_training(), in_parts = small_training();
  in_parts.batch = 2;
  in_parts.accumulation = 2;
  Training a(at_once), b(in_parts);
  for (int i = 0; i < 3; ++i) {
    const DiffusionStepReport whole = a.trainer.step(0.5), parts = b.trainer.step(0.5);
    EXPECT_NEAR(parts.loss, whole.loss, 1e-4 * whole.loss);
    EXPECT_NEAR(parts.grad_norm, whole.grad_norm, 1e-3 * whole.grad_norm);
  }
}

TEST_F(DiffusionTraining, DropoutIsDrawnAnewForEveryStep) {
  UNetConfig unet = tiny_unet();
  unet.dropout = 0.5f;
  Training with(small_training(), unet), without(small_training());
  make_up_weights(with.network);
  make_up_weights(without.network);
  EXPECT_NE(with.trainer.step(0.5).loss, without.trainer.step(0.5).loss);
}

TEST_F(DiffusionTraining, AverageFollowsTheWeights) {
  DiffusionTrainingConfig config = small_training();
  config.optimizer.average_decay = 0.3f;  // reached at the third step: (1 + 3)/(10 + 3) > 0.3
  Training run(config);
  const std::string name = "out.2.weight";
  Doubles average = doubles(run.parameter(name)->value());
  for (int step = 1; step <= 5; ++step) {
    run.trainer.step(0.5);
    const double decay = std::min(0.3, (1.0 + step) / (10.0 + step));
    const Doubles weight = doubles(run.parameter(name)->value());
    for (std::size_t i = 0; i < average.size(); ++i)
      average[i] = decay * average[i] + (1 - decay) * weight[i];
  }
  for (const auto& [tensor_name, tensor] : run.trainer.averaged_tensors()) {
    if (tensor_name == name) expect_close(tensor, average, 1e-5, name);
  }
  UNet sampling(tiny_unet(), 2, Device{});
  run.trainer.copy_average_to(sampling);
  EXPECT_EQ(differences(sampling.tensors(), run.trainer.averaged_tensors()), std::vector<std::string>());
  EXPECT_NE(differences(sampling.tensors(), run.network.tensors()), std::vector<std::string>());
  UNetConfig other = tiny_unet();
  other.scale_shift = true;
  UNet unfit(other, 1, Device{});
  expect_error<Error>([&] { run.trainer.copy_average_to(unfit); }, {"another configuration"});
}

TEST_F(DiffusionTraining, ABadStepIsSkippedAndCounted) {
  Training run(small_training());
  run.losses(1, 3, 10);
  // A bias that overflows on the way makes one step bad; put right again, training goes on.
  const ParameterPtr bias = run.parameter("input_blocks.0.0.bias");
  const std::vector<float> good = bias->value().to_floats();
  set_values(*bias, std::vector<float>(good.size(), std::numeric_limits<float>::infinity()));
  const NamedTensorList before = copies(run.network.tensors());
  EXPECT_FALSE(run.trainer.step(0.5).finite);
  EXPECT_FALSE(run.trainer.step(0.5).finite);
  EXPECT_EQ(differences(run.network.tensors(), before), std::vector<std::string>());
  EXPECT_EQ(run.trainer.counters().skipped, 2);
  EXPECT_EQ(run.trainer.counters().skipped_in_a_row, 2);
  EXPECT_EQ(run.trainer.counters().steps, 4);
  EXPECT_EQ(run.trainer.counters().optimizer_steps, 2);
  set_values(*bias, good);
  EXPECT_TRUE(run.trainer.step(0.5).finite);
  EXPECT_EQ(run.trainer.counters().skipped, 2);
  EXPECT_EQ(run.trainer.counters().skipped_in_a_row, 0);
}

/// What the tenth bad step in a row says after `spoil`.
std::string explanation(const std::function<void(Training&)>& spoil) {
  Training run(small_training());
  run.losses(1, 2, 10);
  spoil(run);
  for (int i = 0; i < 9; ++i) EXPECT_FALSE(run.trainer.step(0.5).finite);
  try {
    run.trainer.step(0.5);
  } catch (const DivergedError& e) {
    return e.what();
  }
  return "nothing was thrown";
}

TEST_F(DiffusionTraining, TenBadStepsNameTheFirstLayer) {
  const auto says = [](const std::string& text, const std::string& part) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  };
  const std::string weight = explanation([](Training& run) {
    const ParameterPtr p = run.parameter("middle_block.1.qkv.weight");
    std::vector<float> values = p->value().to_floats();
    values[7] = std::nanf("");
    set_values(*p, values);
  });
  says(weight, "the weight middle_block.1.qkv.weight");
  says(weight, "10 steps in a row");
  says(explanation([](Training& run) {
         const ParameterPtr p = run.parameter("input_blocks.2.0.out_layers.3.bias");
         set_values(*p, std::vector<float>(static_cast<std::size_t>(p->shape().count()), 3e38f));
         const ParameterPtr q = run.parameter("input_blocks.1.0.out_layers.3.bias");
         set_values(*q, std::vector<float>(static_cast<std::size_t>(q->shape().count()), 3e38f));
       }),
       "the output of input_blocks.2.0");
}

TEST_F(DiffusionTraining, TenBadStepsLeaveTheLastGoodStateAsItIs) {
  Training run(small_training());
  run.losses(1, 3, 10);
  const ParameterPtr spoilt = run.parameter("out.2.bias");
  const std::vector<float> good = spoilt->value().to_floats();
  const NamedTensorList weights = copies(run.network.tensors()), state = copies(run.trainer.state());
  set_values(*spoilt, std::vector<float>(good.size(), std::nanf("")));
  for (int i = 0; i < 9; ++i) {
    ASSERT_FALSE(run.trainer.step(0.5).finite);
    ASSERT_EQ(run.trainer.counters().skipped_in_a_row, i + 1);
  }
  expect_error<DivergedError>([&] { run.trainer.step(0.5); }, {"10 steps in a row", "the weight out.2.bias"});
  EXPECT_EQ(run.trainer.counters().optimizer_steps, 2);
  set_values(*spoilt, good);
  EXPECT_EQ(differences(run.network.tensors(), weights), std::vector<std::string>());
  EXPECT_EQ(differences(run.trainer.state(), state), std::vector<std::string>());
}

TEST_F(DiffusionTraining, SteadyStateAsksTheSystemForNothing) {
  release_cached_memory(Device{});
  const std::size_t before = memory_stats(Device{}).system_allocations;
  Training run(small_training());
  run.losses(0, 1, 8);
  const std::size_t warm = memory_stats(Device{}).system_allocations;
  EXPECT_GT(warm, before);
  run.losses(1, 8, 8);
  EXPECT_EQ(memory_stats(Device{}).system_allocations, warm);
}

TEST_F(DiffusionTraining, SaysWhatDoesNotFit) {
  UNet network(tiny_unet(), 1, Device{});
  const auto trainer = [&](const Tensor& pictures, const DiffusionTrainingConfig& config) {
    DiffusionTrainer(network, NoiseSchedule(), pictures, config);
  };
  expect_error<ShapeError>([&] { trainer(part_pictures(2, 32, 1), small_training()); },
                           {"[count, 16, 16, 3]", "[2, 32, 32, 3]"});
  expect_error<ShapeError>(
      [&] {
        trainer(Tensor::zeros({2, 16, 16, 3}, DType::f32), small_training());
      },
      {"f32"});
  DiffusionTrainingConfig config = small_training();
  config.batch = 0;
  expect_error<Error>([&] { trainer(part_pictures(2, 16, 1), config); }, {"micro-batches of 0"});
  config = small_training();
  config.type = DType::u8;
  expect_error<Error>([&] { trainer(part_pictures(2, 16, 1), config); }, {"u8"});
  Training run(small_training());
  expect_error<Error>(
      [&] { run.trainer.restore({}, [](const std::string&, const Shape&) { return Tensor(); }); },
      {"first_moment.time_embed.0.weight"});
}

}  // namespace
}  // namespace ddpmts::test
