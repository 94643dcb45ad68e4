// Pretraining a teacher: partners are found, runs repeat and resume bit for bit, bad steps do no harm, and what is exported is what
// was trained.
#include "models/pretrainer.h"

#include <limits>

#include "engine/settings.h"
#include "models/model_file.h"
#include "tests/kernels/drawing_test.h"
#include "tests/models/model_test.h"

namespace ddpmts::test {
namespace {

PretrainingConfig small_pretraining() {
  PretrainingConfig config;
  config.batch = 8;
  config.size = 32;
  config.final_size = 64;
  config.seed = 5;
  return config;
}

std::vector<float> losses(Pretrainer& trainer, int first, int last, int total) {
  std::vector<float> values;
  for (int i = first; i < last; ++i) values.push_back(trainer.step(static_cast<double>(i) / total).loss);
  return values;
}

NamedTensorList copies(const NamedTensorList& tensors) {
  NamedTensorList result;
  for (const auto& [name, tensor] : tensors) result.emplace_back(name, tensor.clone());
  return result;
}

class Pretraining : public TapeTest {};

/// On every device, deterministically.
class PretrainingOn : public EngineTest {
 protected:
  static void SetUpTestSuite() { engine_settings().deterministic = true; }
  static void TearDownTestSuite() { engine_settings().deterministic = false; }
  static PretrainingConfig config() {
    PretrainingConfig small = small_pretraining();
    small.type = type();
    return small;
  }
};
DDPMTS_ON_EVERY_PLACEMENT(PretrainingOn);

TEST_P(PretrainingOn, ViewPairsAreThoseOfEveryVersion) {
  const std::vector<std::uint8_t> pictures =
      draw_view_pairs(5, 1000, 12, 64, device()).to_host<std::uint8_t>();
  EXPECT_EQ(kernels::test::hash_of(pictures.data(), pictures.size()), 0x3bad9fcf5aa216ebu);
}

TEST_P(PretrainingOn, TheFirstStepIsAlmostTheReferences) {
  Pretrainer trainer(config(), device()), reference(small_pretraining(), Device{});
  const PretrainingStepReport step = trainer.step(0.5), expected = reference.step(0.5);
  const double allowed = type() == DType::bf16 ? 5e-2 : 1e-3;
  EXPECT_GT(expected.grad_norm, 0.0f);
  EXPECT_NEAR(step.loss, expected.loss, allowed * expected.loss);
  EXPECT_NEAR(step.grad_norm, expected.grad_norm, 4 * allowed * expected.grad_norm);
}

TEST_P(PretrainingOn, PartnersAreFound) {
  PretrainingConfig small = config();
  small.final_size = 32;
  Pretrainer trainer(small, device());
  double first = 0, last = 0, found = 0;
  // 480 views at the end. Among the 160 of the last ten of a hundred steps the share went from 0.16 to 0.35 with the seed.
  constexpr int steps = 200, counted = 30;
  for (int i = 0; i < steps; ++i) {
    const PretrainingStepReport report = trainer.step(static_cast<double>(i) / steps);
    EXPECT_TRUE(report.finite);
    if (i < 10) first += report.loss / 10;
    if (i < steps - counted) continue;
    last += report.loss / counted;
    found += report.accuracy3 / counted;
  }
  EXPECT_LT(last, 0.9 * first);
  EXPECT_GT(found, 0.3) << "guessing finds one in fifteen";
  EXPECT_EQ(trainer.counters().optimizer_steps, steps);
}

TEST_P(PretrainingOn, SameSeedSameBits) {
  const auto after = [](std::uint64_t seed) {
    PretrainingConfig small = config();
    small.seed = seed;
    Pretrainer trainer(small, device());
    losses(trainer, 1, 3, 4);
    return copies(trainer.state());
  };
  const NamedTensorList first = after(1);
  EXPECT_EQ(differences(after(1), first), std::vector<std::string>());
  EXPECT_GT(differences(after(2), first).size(), first.size() / 2);
}

TEST_P(PretrainingOn, ResumedGoesOnBitForBit) {
  Pretrainer straight(config(), device());
  losses(straight, 0, 2, 5);
  const testing::ScratchFolder folder;
  write_tensors(folder / "checkpoint", straight.state(), {});
  const Pretrainer::Counters counters = straight.counters();
  const std::vector<float> rest = losses(straight, 2, 5, 5);  // at both sizes

  const SafetensorsFile file(folder / "checkpoint");
  Pretrainer resumed(config(), device());
  resumed.restore(counters, [&](const std::string& name, const Shape& shape) {
    return Tensor::from_host<float>(shape, file.read_f32(name, shape.extents()));
  });
  EXPECT_EQ(losses(resumed, 2, 5, 5), rest);
  EXPECT_EQ(differences(resumed.state(), straight.state()), std::vector<std::string>());
  EXPECT_EQ(resumed.counters().steps, 5);
}

TEST_P(PretrainingOn, SteadyStateAsksTheSystemForNothing) {
  release_cached_memory(device());
  const std::size_t before = memory_stats(device()).system_allocations;
  Pretrainer trainer(config(), device());
  losses(trainer, 0, 2, 20);
  const std::size_t warm = memory_stats(device()).system_allocations;
  EXPECT_GT(warm, before);
  losses(trainer, 2, 8, 20);
  EXPECT_EQ(memory_stats(device()).system_allocations, warm);
}

TEST_P(PretrainingOn, BadStepsAreSkippedAndCounted) {
  Pretrainer trainer(config(), device());
  losses(trainer, 1, 3, 20);
  Parameter& weight = *trainer.trunk().layer3.second.second().weight();
  const std::vector<float> good = weight.value().to_floats();
  set_values(weight, std::vector<float>(good.size(), std::nanf("")));
  const auto learned = [&] {  // the optimiser's part of the state, which running statistics are none of
    NamedTensorList tensors;
    for (const auto& [name, tensor] : copies(trainer.state())) {
      if (!name.ends_with("running_mean") && !name.ends_with("running_var") && name != weight.name()) {
        tensors.emplace_back(name, tensor);
      }
    }
    return tensors;
  };
  const NamedTensorList before = learned();
  for (int i = 1; i <= 11; ++i) {  // whoever runs the steps decides when it is enough
    EXPECT_FALSE(trainer.step(0.2).finite);
    EXPECT_EQ(trainer.counters().skipped_in_a_row, i);
  }
  EXPECT_EQ(differences(learned(), before), std::vector<std::string>());
  EXPECT_EQ(trainer.counters().steps, 13);
  EXPECT_EQ(trainer.counters().optimizer_steps, 2);
  set_values(weight, good);
  EXPECT_TRUE(trainer.step(0.2).finite);
  EXPECT_EQ(trainer.counters().skipped_in_a_row, 0);
  EXPECT_EQ(trainer.counters().optimizer_steps, 3);
}

TEST_F(Pretraining, ExportedTeacherSeesWhatTheTrunkSees) {
  Pretrainer trainer(small_pretraining(), Device{});
  losses(trainer, 1, 4, 4);
  const testing::ScratchFolder folder;
  const NoGrad looking;
  const Tensor x = random_tensor({2, 64, 96, 3}, {}, 1, -2, 2);
  const std::vector<Tensor> expected = trainer.trunk().features(x, Mode::inference);
  for (const DType type : {DType::f32, DType::bf16}) {
    write_tensors(folder / "teacher.safetensors", trainer.trunk().folded_tensors(type), {});
    const SafetensorsFile file(folder / "teacher.safetensors");
    EXPECT_EQ(file.info("conv1.weight").shape, (std::vector<std::int64_t>{64, 3, 7, 7}));
    EXPECT_EQ(file.info("conv1.weight").type, stored_type(type));
    if (type == DType::bf16) {
      EXPECT_LT(std::filesystem::file_size(file.path()), 6'000'000u);
    }
    const ResNetTeacher teacher(NamedTensors(file, WeightOrder::oihw), DType::f32, Device{});
    const std::vector<Tensor> levels = teacher.features(x);
    ASSERT_EQ(levels.size(), expected.size());
    for (std::size_t k = 0; k < levels.size(); ++k) {
      const Doubles reference = doubles(expected[k]);
      double difference = 0, square = 0;
      const std::vector<float> values = levels[k].to_floats();
      for (std::size_t i = 0; i < values.size(); ++i) {
        difference += std::pow(static_cast<double>(values[i]) - reference[i], 2);
        square += reference[i] * reference[i];
      }
      EXPECT_GT(square, 0.0);
      EXPECT_LT(std::sqrt(difference / square), type == DType::bf16 ? 2e-2 : 1e-5) << "layer" << k + 1;
    }
  }
}

TEST_F(Pretraining, ATeacherThatIsNotFiniteIsNotExported) {
  const float nan = std::nanf(""), huge = 3.4e38f;
  const auto spoilt = [](const std::function<void(const ResNetTrunk&)>& spoil, DType exported) {
    return [=] {
      const Pretrainer trainer(small_pretraining(), Device{});
      spoil(trainer.trunk());
      trainer.trunk().folded_tensors(exported);
    };
  };
  const auto put = [](const ParameterPtr& parameter, float value) {
    std::vector<float> values = parameter->value().to_floats();
    values[values.size() / 2] = value;
    set_values(*parameter, values);
  };
  const auto mean = [&](const ResNetTrunk& t) { put(t.layer2.first.first().norm().running_mean, nan); };
  expect_error<Error>(spoilt(mean, DType::f32), {"layer2.0.conv1.bias", "not finite"});
  const auto variance = [&](const ResNetTrunk& t) {
    put(t.layer3.first.shortcut()->norm().running_var, nan);
  };
  expect_error<Error>(spoilt(variance, DType::bf16), {"layer3.0.downsample.0.weight", "not finite"});
  const auto shift = [&](const ResNetTrunk& t) {
    put(t.layer1.second.second().norm().bias, std::numeric_limits<float>::infinity());
  };
  expect_error<Error>(spoilt(shift, DType::bf16), {"layer1.1.conv2.bias", "not finite"});
  const auto weight = [&](const ResNetTrunk& t) { put(t.stem.weight(), huge); };
  EXPECT_NO_THROW(spoilt(weight, DType::f32)());
  expect_error<Error>(spoilt(weight, DType::bf16), {"conv1.weight", "not finite"});  // rounds to infinity
}

TEST_F(Pretraining, SaysWhatDoesNotFit) {
  const auto trainer = [](const std::function<void(PretrainingConfig&)>& spoil) {
    return [spoil] {
      PretrainingConfig config = small_pretraining();
      spoil(config);
      Pretrainer(config, Device{});
    };
  };
  const float nan = std::nanf("");
  expect_error<Error>(trainer([](auto& c) { c.size = 48; }), {"48", "multiples of 32"});
  expect_error<Error>(trainer([](auto& c) { c.size = 2048; }), {"2048", "1024"});
  expect_error<Error>(trainer([](auto& c) { c.final_size = 0; }), {"0 pixels"});
  expect_error<Error>(trainer([](auto& c) { c.batch = 0; }), {"batch of 0"});
  expect_error<Error>(trainer([](auto& c) { c.batch = -4; }), {"batch of -4"});
  expect_error<Error>(trainer([](auto& c) { c.batch = 6; }),
                      {"batch of 6", "whole families", "multiple of 4"});
  expect_error<Error>(trainer([](auto& c) { c.batch = std::int64_t{1} << 40; }), {"4096"});
  expect_error<Error>(trainer([](auto& c) { c.type = DType::u8; }), {"u8"});
  expect_error<Error>(trainer([](auto& c) { c.temperature = 0.02f; }), {"temperature", "0.02"});
  expect_error<Error>(trainer([=](auto& c) { c.temperature = nan; }), {"temperature"});
  expect_error<Error>(trainer([](auto& c) { c.final_share = 1.5; }), {"final share of 1.5"});
  expect_error<Error>(trainer([](auto& c) { c.warmup = -0.1; }), {"warm-up of -0.1"});
  expect_error<Error>(trainer([](auto& c) { c.final_learning_rate = 2; }), {"final learning rate of 2"});
  expect_error<Error>(trainer([](auto& c) { c.layer2_weight = -1; }), {"weight of layer2 of -1"});
  expect_error<Error>(trainer([](auto& c) { c.learning_rate = 0; }), {"learning rate of 0"});
  expect_error<Error>(trainer([=](auto& c) { c.learning_rate = nan; }), {"learning rate"});
  expect_error<Error>(trainer([](auto& c) { c.optimizer.weight_decay = -1; }), {"weight decay of -1"});
  expect_error<Error>(trainer([=](auto& c) { c.optimizer.max_grad_norm = nan; }), {"gradient norm"});

  Pretrainer whole(small_pretraining(), Device{});
  const auto restored = [&](const Pretrainer::Counters& counters) {
    return [&whole, counters] {
      whole.restore(counters, [](const std::string&, const Shape&) { return Tensor(); });
    };
  };
  expect_error<Error>(restored({}), {"first_moment.conv1.weight"});
  expect_error<Error>(restored({-1, 0, 0}), {"-1 steps"});
  expect_error<Error>(restored({5, -1, 0}), {"-1 updates"});
  expect_error<Error>(restored({5, 6, 0}), {"5 steps", "6 updates"});
  expect_error<Error>(restored({5, 4, 2}), {"last 2 skipped"});
  expect_error<Error>(restored({5, 4, -1}), {"last -1 skipped"});
  expect_error<Error>(restored({Pretrainer::kMostSteps + 1, 0, 0}), {"4294967297 steps"});
}

}  // namespace
}  // namespace ddpmts::test
