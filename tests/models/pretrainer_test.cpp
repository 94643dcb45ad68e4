// Pretraining a teacher: partners are found, runs repeat and resume bit for bit, and what is exported is what was trained.
#include "models/pretrainer.h"

#include "models/model_file.h"
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

TEST_F(Pretraining, PartnersAreFound) {
  for (const DType type : {DType::f32, DType::bf16}) {
    if (type == DType::bf16 && !has_fast_bf16(Device{})) continue;
    PretrainingConfig config = small_pretraining();
    config.type = type;
    config.final_size = 32;
    Pretrainer trainer(config, Device{});
    double first = 0, last = 0, found = 0;
    for (int i = 0; i < 100; ++i) {
      const PretrainingStepReport report = trainer.step(i / 100.0);
      EXPECT_TRUE(report.finite);
      if (i < 10) first += report.loss / 10;
      if (i >= 90) last += report.loss / 10;
      if (i >= 90) found += report.accuracy3 / 10;
    }
    EXPECT_LT(last, 0.9 * first) << name_of(type);
    EXPECT_GT(found, 0.3) << name_of(type) << ": guessing finds one in fifteen";
    EXPECT_EQ(trainer.counters().optimizer_steps, 100);
  }
}

TEST_F(Pretraining, SameSeedSameBits) {
  const auto after = [](std::uint64_t seed) {
    PretrainingConfig config = small_pretraining();
    config.seed = seed;
    Pretrainer trainer(config, Device{});
    losses(trainer, 1, 3, 4);
    return copies(trainer.state());
  };
  const NamedTensorList first = after(1);
  EXPECT_EQ(differences(after(1), first), std::vector<std::string>());
  EXPECT_GT(differences(after(2), first).size(), first.size() / 2);
}

TEST_F(Pretraining, ResumedGoesOnBitForBit) {
  for (const DType type : {DType::f32, DType::bf16}) {
    if (type == DType::bf16 && !has_fast_bf16(Device{})) continue;
    PretrainingConfig config = small_pretraining();
    config.type = type;
    Pretrainer straight(config, Device{});
    losses(straight, 0, 2, 5);
    const testing::ScratchFolder folder;
    write_tensors(folder / "checkpoint", straight.state(), {});
    const Pretrainer::Counters counters = straight.counters();
    const std::vector<float> rest = losses(straight, 2, 5, 5);  // at both sizes

    const SafetensorsFile file(folder / "checkpoint");
    config.seed = 5;
    Pretrainer resumed(config, Device{});
    resumed.restore(counters, [&](const std::string& name, const Shape& shape) {
      return Tensor::from_host<float>(shape, file.read_f32(name, shape.extents()));
    });
    EXPECT_EQ(losses(resumed, 2, 5, 5), rest) << name_of(type);
    EXPECT_EQ(differences(resumed.state(), straight.state()), std::vector<std::string>());
    EXPECT_EQ(resumed.counters().steps, 5);
  }
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

TEST_F(Pretraining, SaysWhatDoesNotFit) {
  const auto trainer = [](const std::function<void(PretrainingConfig&)>& spoil) {
    return [spoil] {
      PretrainingConfig config = small_pretraining();
      spoil(config);
      Pretrainer(config, Device{});
    };
  };
  expect_error<Error>(trainer([](auto& c) { c.size = 48; }), {"48", "multiples of 32"});
  expect_error<Error>(trainer([](auto& c) { c.final_size = 0; }), {"0 pixels"});
  expect_error<Error>(trainer([](auto& c) { c.batch = 1; }), {"batch of 1"});
  expect_error<Error>(trainer([](auto& c) { c.type = DType::u8; }), {"u8"});
  Pretrainer whole(small_pretraining(), Device{});
  expect_error<Error>([&] { whole.restore({}, [](const std::string&, const Shape&) { return Tensor(); }); },
                      {"first_moment.conv1.weight"});
}

}  // namespace
}  // namespace ddpmts::test
