// Training: losses fall, stages train what they should, runs repeat and resume bit for bit, memory settles.
#include "models/detector_trainer.h"

#include <cmath>

#include "kernels/mask_downsample.h"
#include "kernels/triplet.h"
#include "models/model_file.h"
#include "tests/models/model_test.h"

namespace ddpmts::test {
namespace {

DetectorTrainingConfig small_training(TrainingSchedule schedule = TrainingSchedule::joint) {
  DetectorTrainingConfig config;
  config.batch = 2;
  config.seed = 17;
  config.schedule = schedule;
  return config;
}

/// A detector with its trainer, on twelve pictures.
struct Training {
  std::unique_ptr<Detector> detector;
  DetectorTrainer trainer;

  Training(const TeacherFile& teacher, const DetectorTrainingConfig& config,
           Precision precision = Precision::f32)
      : Training(teacher.detector(small_config(precision)), config) {}
  Training(std::unique_ptr<Detector> made, const DetectorTrainingConfig& config)
      : detector(std::move(made)), trainer(*detector, part_pictures(12, 64, 4), {}, config) {}

  /// Steps first … last − 1 of a run of `total`.
  std::vector<TrainingStepReport> steps(int first, int last, int total) {
    std::vector<TrainingStepReport> reports;
    for (int i = first; i < last; ++i) reports.push_back(trainer.step(static_cast<double>(i) / total));
    return reports;
  }
};

class DetectorTraining : public ::testing::Test {
 protected:
  DetectorTraining() { clear_tape(); }
  ~DetectorTraining() override { clear_tape(); }
  TeacherFile teacher_;
};

TEST_F(DetectorTraining, StudentStartsAtRandomWhereTheTeacherIsAResNet34) {
  const TeacherFile deeper(3, TeacherDepth::resnet34);
  const Training training(deeper, {});
  EXPECT_FALSE(training.trainer.student_started_from_teacher());
  EXPECT_TRUE(differences(snapshot(*training.detector), snapshot(*deeper.detector(small_config()))).empty());
  const Training usual(teacher_, {});
  EXPECT_TRUE(usual.trainer.student_started_from_teacher());
  EXPECT_FALSE(differences(snapshot(*usual.detector), snapshot(*teacher_.detector(small_config()))).empty());
}

TEST_F(DetectorTraining, TrainsWithAResNet34) {
  const TeacherFile deeper(3, TeacherDepth::resnet34);
  DetectorTrainingConfig config;
  config.batch = 2;
  Training training(deeper, config);
  for (const TrainingStepReport& report : training.steps(0, 2, 2)) EXPECT_TRUE(report.finite);
}

/// Mean of the last five over mean of the first five.
template <class Value>
double fall(const std::vector<TrainingStepReport>& reports, Value value) {
  double first = 0, last = 0;
  for (std::size_t i = 0; i < 5; ++i) {
    first += value(reports[i]);
    last += value(reports[reports.size() - 5 + i]);
  }
  return last / first;
}
double cosine_of(const TrainingStepReport& report) { return report.cosine; }
double segmentation_of(const TrainingStepReport& report) { return report.focal + report.l1; }
double sum_of(const TrainingStepReport& report) { return cosine_of(report) + segmentation_of(report); }

TEST_F(DetectorTraining, LossesFall) {
  DetectorTrainingConfig config = small_training();
  config.segmentation_weight =
      0.1f;  // at 1 an untrained head's gradient drowns the student's for so few steps
  Training run(teacher_, config);
  const std::vector<TrainingStepReport> reports = run.steps(0, 25, 25);
  EXPECT_LT(fall(reports, cosine_of), 0.9);
  EXPECT_LT(fall(reports, segmentation_of), 0.8);
  for (const TrainingStepReport& report : reports) {
    EXPECT_TRUE(report.finite);
    EXPECT_GT(report.grad_norm, 0.0f);
  }
  EXPECT_EQ(run.trainer.counters().steps, 25);
  EXPECT_EQ(run.trainer.counters().optimizer_steps, 25);
}

TEST_F(DetectorTraining, LossesFallWhereThePixelLossStopsAtTheHead) {
  DetectorTrainingConfig config = small_training();
  config.segmentation_trains_student = false;
  Training run(teacher_, config);
  const std::vector<TrainingStepReport> reports = run.steps(0, 25, 25);
  EXPECT_LT(fall(reports, cosine_of), 0.6);
  EXPECT_LT(fall(reports, segmentation_of), 0.7);
}

TEST_F(DetectorTraining, LearningRateWarmsUpAndFallsPerStage) {
  DetectorTrainingConfig config = small_training(TrainingSchedule::two_stage);
  config.warmup = 0.2;
  config.first_stage = 0.5;
  Training run(teacher_, config);
  const auto rate = [&](double progress) { return run.trainer.step(progress).learning_rate; };
  EXPECT_EQ(rate(0.0), 0.0f);
  EXPECT_FLOAT_EQ(rate(0.05), 0.5e-3f);
  EXPECT_FLOAT_EQ(rate(0.1), 1e-3f);
  EXPECT_FLOAT_EQ(rate(0.3), 0.5e-3f);
  EXPECT_EQ(rate(0.5), 0.0f);
  EXPECT_FLOAT_EQ(rate(0.6), 1e-3f);
}

TEST_F(DetectorTraining, EachOfTwoStagesTrainsItsOwnNetwork) {
  Training run(teacher_, small_training(TrainingSchedule::two_stage));
  const NamedTensorList head = snapshot(*run.detector, "head."),
                        student = snapshot(*run.detector, "student.");
  const std::vector<TrainingStepReport> first = run.steps(1, 4, 8);
  EXPECT_EQ(run.trainer.counters().stage, DetectorTrainer::Stage::student);
  EXPECT_EQ(differences(snapshot(*run.detector, "head."), head), std::vector<std::string>());
  EXPECT_EQ(differences(snapshot(*run.detector, "student."), student).size(), student.size());
  for (const TrainingStepReport& report : first) EXPECT_EQ(report.focal, 0.0f);

  const NamedTensorList trained = snapshot(*run.detector, "student.");
  run.steps(5, 8, 8);
  EXPECT_EQ(run.trainer.counters().stage, DetectorTrainer::Stage::head);
  EXPECT_EQ(run.trainer.counters().optimizer_steps, 3);  // an optimiser of its own
  EXPECT_EQ(run.trainer.counters().steps, 6);
  EXPECT_EQ(differences(snapshot(*run.detector, "student."), trained), std::vector<std::string>());
  EXPECT_EQ(differences(snapshot(*run.detector, "head."), head).size(), head.size());
}

TEST_F(DetectorTraining, TeacherStaysAsItIs) {
  Training run(teacher_, small_training());
  const auto teacher_tensors = [&] {
    NamedTensorList copies;
    for (const auto& [name, tensor] : run.detector->teacher().tensors())
      copies.emplace_back(name, tensor.clone());
    return copies;
  };
  const NamedTensorList before = teacher_tensors();
  run.steps(1, 3, 3);
  EXPECT_EQ(differences(teacher_tensors(), before), std::vector<std::string>());
}

TEST_F(DetectorTraining, StoppedPixelLossLeavesTheStudentToTheCosine) {
  // With the pixel loss stopped at the head its weight cannot matter to the student; otherwise it does.
  const auto student_after = [&](bool reaches, float weight) {
    DetectorTrainingConfig config = small_training();
    config.segmentation_trains_student = reaches;
    config.segmentation_weight = weight;
    Training run(teacher_, config);
    run.steps(1, 3, 3);
    return snapshot(*run.detector, "student.");
  };
  EXPECT_EQ(differences(student_after(false, 1.0f), student_after(false, 5.0f)), std::vector<std::string>());
  EXPECT_FALSE(differences(student_after(true, 1.0f), student_after(true, 5.0f)).empty());
}

TEST_F(DetectorTraining, SameSeedSameBits) {
  const auto after = [&](std::uint64_t seed) {
    DetectorTrainingConfig config = small_training();
    config.seed = seed;
    Training run(teacher_, config);
    run.steps(1, 5, 5);
    return snapshot(*run.detector);
  };
  const NamedTensorList first = after(1);
  EXPECT_EQ(differences(after(1), first), std::vector<std::string>());
  EXPECT_GT(differences(after(2), first).size(), first.size() / 2);
}

struct Resumption {
  const char* name;
  TrainingSchedule schedule;
  int saved_after, total;
  Precision precision;
};
class DetectorResumed : public ::testing::TestWithParam<Resumption> {
 protected:
  DetectorResumed() { clear_tape(); }
  ~DetectorResumed() override { clear_tape(); }
  TeacherFile teacher_;
};

TEST_P(DetectorResumed, GoesOnBitForBit) {
  const Resumption& how = GetParam();
  if (how.precision == Precision::bf16 && !has_fast_bf16(Device{})) GTEST_SKIP() << "no bf16 on this machine";
  DetectorTrainingConfig config = small_training(how.schedule);
  Training straight(teacher_, config, how.precision);
  straight.steps(0, how.saved_after, how.total);

  // Everything goes through a file, as a checkpoint does.
  const testing::ScratchFolder folder;
  NamedTensorList tensors = straight.detector->tensors();
  for (const auto& entry : straight.trainer.state()) tensors.push_back(entry);
  write_tensors(folder / "checkpoint.safetensors", tensors, {});
  const DetectorTrainer::Counters counters = straight.trainer.counters();
  EXPECT_EQ(counters.steps, how.saved_after);
  straight.steps(how.saved_after, how.total, how.total);

  const SafetensorsFile file(folder / "checkpoint.safetensors");
  config.start_student_from_teacher = false;
  Training resumed(std::make_unique<Detector>(NamedTensors(file, WeightOrder::krsc, "teacher."),
                                              NamedTensors(file, WeightOrder::krsc),
                                              small_config(how.precision), MapCalibration{}, 0, Device{}),
                   config);
  resumed.trainer.restore(counters, [&](const std::string& name, const Shape& shape) {
    return Tensor::from_host<float>(shape, file.read_f32(name, shape.extents()));
  });
  resumed.steps(how.saved_after, how.total, how.total);
  EXPECT_EQ(differences(resumed.detector->tensors(), straight.detector->tensors()),
            std::vector<std::string>());
  EXPECT_EQ(differences(resumed.trainer.state(), straight.trainer.state()), std::vector<std::string>());
  EXPECT_EQ(resumed.trainer.counters().steps, straight.trainer.counters().steps);
  EXPECT_EQ(resumed.trainer.counters().optimizer_steps, straight.trainer.counters().optimizer_steps);
}

INSTANTIATE_TEST_SUITE_P(
    , DetectorResumed,
    ::testing::Values(Resumption{"joint", TrainingSchedule::joint, 3, 6, Precision::f32},
                      Resumption{"joint_bf16", TrainingSchedule::joint, 3, 6, Precision::bf16},
                      Resumption{"across_the_stages", TrainingSchedule::two_stage, 2, 6, Precision::f32},
                      Resumption{"in_the_second_stage", TrainingSchedule::two_stage, 4, 6, Precision::f32}),
    [](const auto& how) { return std::string(how.param.name); });

TEST_F(DetectorTraining, CheckpointWithoutAMomentIsRefused) {
  Training run(teacher_, small_training());
  expect_error<Error>(
      [&] { run.trainer.restore({}, [](const std::string&, const Shape&) { return Tensor(); }); },
      {"first_moment.student.encoder.conv1.weight"});
}

TEST_F(DetectorTraining, ABatchOfOneIsRefused) {
  DetectorTrainingConfig config = small_training();
  config.batch = 1;
  expect_error<Error>([&] { Training(teacher_, config); }, {"at least 2"});
}

TEST_F(DetectorTraining, SteadyStateAsksTheSystemForNothing) {
  release_cached_memory(Device{});  // what earlier tests left must not help
  const std::size_t before = memory_stats(Device{}).system_allocations;
  Training run(teacher_, small_training());
  run.steps(0, 1, 8);
  const std::size_t warm = memory_stats(Device{}).system_allocations;
  EXPECT_GT(warm, before);
  run.steps(1, 8, 8);
  EXPECT_EQ(memory_stats(Device{}).system_allocations, warm);
}

TEST_F(DetectorTraining, Bf16StaysFiniteAndLearns) {
  if (!has_fast_bf16(Device{})) GTEST_SKIP() << "this machine does not compute in bf16";
  Training run(teacher_, small_training(), Precision::bf16);
  const std::vector<TrainingStepReport> reports = run.steps(0, 20, 20);
  for (const TrainingStepReport& report : reports) {
    EXPECT_TRUE(report.finite);
    EXPECT_TRUE(std::isfinite(sum_of(report)));
  }
  EXPECT_LT(fall(reports, sum_of), 0.8);
  for (const float score : run.detector->inspect(part_pictures(2, 64, 8)).scores)
    EXPECT_TRUE(std::isfinite(score));
}

TEST_F(DetectorTraining, UserPicturesOfDefectsAreUsed) {
  DetectorTrainingConfig config = small_training();
  config.synthesis.no_defect_probability = 0.0f;
  config.synthesis.self_weight = config.synthesis.texture_weight = 0.0f;
  config.synthesis.folder_weight = 1.0f;
  const auto after = [&](std::uint64_t pictures_seed) {
    const auto detector = teacher_.detector(small_config());
    DetectorTrainer trainer(*detector, part_pictures(12, 64, 4), part_pictures(3, 64, pictures_seed), config);
    trainer.step(0.5);
    return snapshot(*detector);
  };
  EXPECT_FALSE(differences(after(70), after(71)).empty());
}

/// The patch of a painted defect: dark blue, in the same place of masks and pictures, another one for each.
PaintedDefects made_up_defects(const Tensor& good, const std::vector<std::int64_t>& bases) {
  const std::int64_t size = good.dim(1);
  std::vector<std::uint8_t> pictures, masks;
  for (std::size_t i = 0; i < bases.size(); ++i) {
    std::vector<std::uint8_t> picture = good.slice(bases[i], 1).to_host<std::uint8_t>();
    std::vector<std::uint8_t> mask(static_cast<std::size_t>(size * size), 0);
    const auto first = static_cast<std::int64_t>(8 + 7 * i);
    for (std::int64_t y = first; y < first + 21; ++y) {
      for (std::int64_t x = 5 + first / 2; x < 5 + first / 2 + 17; ++x) {
        const auto p = static_cast<std::size_t>(y * size + x);
        mask[p] = 1;
        picture[3 * p] = picture[3 * p + 1] = 10;
        picture[3 * p + 2] = 230;
      }
    }
    pictures.insert(pictures.end(), picture.begin(), picture.end());
    masks.insert(masks.end(), mask.begin(), mask.end());
  }
  const auto count = static_cast<std::int64_t>(bases.size());
  return {Tensor::from_host<std::uint8_t>({count, size, size, 3}, pictures),
          Tensor::from_host<std::uint8_t>({count, size, size}, masks),
          bases,
          {},
          {}};
}

DetectorTrainingConfig only_painted() {
  DetectorTrainingConfig config = small_training();
  config.batch = 4;
  config.synthesis.no_defect_probability = 0.0f;
  config.synthesis.self_weight = config.synthesis.texture_weight = 0.0f;
  config.synthesis.diffusion_weight = 1.0f;
  config.synthesis.augmentation = Augmentation::rotate;
  return config;
}

TEST_F(DetectorTraining, PaintedDefectsLieAsTheirPicturesDo) {
  const std::int64_t size = 64;
  const Tensor good = part_pictures(12, size, 4);
  const PaintedDefects painted = made_up_defects(good, {7, 2, 7, 11});
  const DetectorTrainingConfig config = only_painted();
  const auto detector = teacher_.detector(small_config());
  DetectorTrainer trainer(*detector, good, {}, config, painted);

  // The step's triplets by hand: the mask moved pixel by pixel, I_a = I where it is 0.
  std::vector<kernels::TripletRecipe> recipes;
  for (std::uint64_t i = 0; i < 4; ++i) {
    recipes.push_back(draw_recipe(config.synthesis, config.seed, i, 12, 0, size, size, painted.bases));
  }
  const Tensor normal = Tensor::empty({4, size, size, 3}, DType::f32), blended = normal.clone();
  const Tensor drawn_mask = Tensor::empty({4, size, size}, DType::u8), mask = drawn_mask.clone();
  kernels::TripletArgs args;
  args.n = 4;
  args.h = args.w = size;
  args.pictures = good.data<std::uint8_t>();
  args.painted_pictures = painted.pictures.data<std::uint8_t>();
  args.painted_masks = painted.masks.data<std::uint8_t>();
  args.recipes = recipes.data();
  args.normal = normal.raw();
  args.defective = blended.raw();
  args.mask = drawn_mask.data<std::uint8_t>();
  kernels::cpu::triplet(args);
  int turned = 0, inside = 0;
  for (std::int64_t i = 0; i < 4; ++i) {
    const kernels::TripletRecipe& r = recipes[static_cast<std::size_t>(i)];
    turned += std::abs(r.affine.xy) > 0.2f ? 1 : 0;
    EXPECT_EQ(r.picture, painted.bases[static_cast<std::size_t>(r.source_picture)]);
    for (std::int64_t y = 0; y < size; ++y) {
      for (std::int64_t x = 0; x < size; ++x) {
        const auto from = [&](float by_x, float by_y, float offset) {
          return static_cast<std::int64_t>(
              std::lround(by_x * static_cast<float>(x) + by_y * static_cast<float>(y) + offset));
        };
        const std::int64_t column = from(r.affine.xx, r.affine.xy, r.affine.x0),
                           row = from(r.affine.yx, r.affine.yy, r.affine.y0);
        const bool in_picture = column >= 0 && column < size && row >= 0 && row < size;
        const std::uint8_t* source = painted.masks.data<std::uint8_t>() + r.source_picture * size * size;
        const std::uint8_t value = in_picture ? source[row * size + column] : std::uint8_t{0};
        mask.data<std::uint8_t>()[(i * size + y) * size + x] = value;
        inside += value;
      }
    }
  }
  EXPECT_GT(turned, 0);
  EXPECT_GT(inside, 4 * 150);
  const Tensor small_mask = Tensor::empty({4, size / 4, size / 4}, DType::u8);
  kernels::MaskDownsampleArgs down;
  down.n = 4;
  down.src_h = down.src_w = size;
  down.dst_h = down.dst_w = size / 4;
  down.src = mask.data<std::uint8_t>();
  down.dst = small_mask.data<std::uint8_t>();
  kernels::cpu::mask_downsample(down);

  const auto losses_of = [&](const Tensor& labels) {
    const NoGrad only_values;
    const auto student = detector->student().features(blended, Mode::training);
    const float cosine = cosine_loss({detector->teacher().features(normal), student}).item();
    const Tensor product = feature_product({detector->teacher().features(blended), student});
    const Tensor logits = detector->head().logits(product, Mode::training);
    const std::vector<float> terms = segmentation_loss(logits, labels, config.segmentation).terms.to_floats();
    return std::vector<float>{cosine, terms[1], terms[2]};
  };
  const std::vector<float> expected = losses_of(small_mask);
  const std::vector<float> without = losses_of(Tensor::zeros(small_mask.shape(), DType::u8));
  const TrainingStepReport report = trainer.step(0.5);
  EXPECT_NEAR(report.cosine, expected[0], 1e-5f);
  EXPECT_NEAR(report.focal, expected[1], 1e-5f);
  EXPECT_NEAR(report.l1, expected[2], 1e-5f);
  EXPECT_GT(std::abs(expected[2] - without[2]), 1e-3f) << "the label matters";
}

TEST_F(DetectorTraining, PaintedDefectsAreUsedWhereTheyHaveWeight) {
  const Tensor good = part_pictures(12, 64, 4);
  const auto after = [&](float weight, const std::vector<std::int64_t>& bases) {
    DetectorTrainingConfig config = only_painted();
    config.batch = 2;
    config.synthesis.self_weight = 1.0f - weight;
    config.synthesis.diffusion_weight = weight;
    const auto detector = teacher_.detector(small_config());
    DetectorTrainer trainer(*detector, good, {}, config, made_up_defects(good, bases));
    trainer.step(0.5);
    return snapshot(*detector);
  };
  EXPECT_FALSE(differences(after(1.0f, {1, 2}), after(1.0f, {2, 3})).empty());
  EXPECT_TRUE(differences(after(0.0f, {1, 2}), after(0.0f, {2, 3})).empty());
}

TEST_F(DetectorTraining, PaintedDefectsThatDoNotFitAreRefused) {
  const auto detector = teacher_.detector(small_config());
  const Tensor good = part_pictures(12, 64, 4);
  const PaintedDefects fitting = made_up_defects(good, {0, 5});
  const auto refused = [&](const auto& change, const std::vector<std::string>& parts) {
    PaintedDefects painted = fitting;
    change(painted);
    expect_error<ShapeError>([&] { DetectorTrainer(*detector, good, {}, only_painted(), painted); }, parts);
  };
  refused([](PaintedDefects& p) { p.pictures = part_pictures(2, 96, 1); },
          {"painted pictures", "[2, 96, 96, 3]"});
  refused([](PaintedDefects& p) { p.pictures = part_pictures(3, 64, 1); },
          {"3 painted pictures", "2 defects"});
  refused([](PaintedDefects& p) { p.masks = Tensor::zeros({2, 32, 32}, DType::u8); }, {"[2, 32, 32]"});
  refused([](PaintedDefects& p) { p.masks = Tensor::zeros({2, 64, 64}, DType::f32); }, {"masks"});
  refused([](PaintedDefects& p) { p.bases.push_back(1); }, {"3 defects"});
  expect_error<Error>(
      [&] {
        DetectorTrainer trainer(*detector, good, {}, only_painted(),
                                made_up_defects(part_pictures(13, 64, 4), {12}));
        trainer.step(0.5);
      },
      {"picture 12 of 12"});
  expect_error<Error>(
      [&] {
        DetectorTrainer trainer(*detector, good, {}, only_painted());
        trainer.step(0.5);
      },
      {"no painted defects"});
}

TEST_F(DetectorTraining, PicturesThatDoNotFitAreRefused) {
  const auto detector = teacher_.detector(small_config());
  expect_error<ShapeError>([&] { DetectorTrainer(*detector, part_pictures(2, 96, 1), {}, small_training()); },
                           {"pictures", "[count, 64, 64, 3]", "[2, 96, 96, 3]"});
  expect_error<ShapeError>(
      [&] { DetectorTrainer(*detector, part_pictures(2, 64, 1), part_pictures(2, 32, 1), small_training()); },
      {"folder pictures", "[2, 32, 32, 3]"});
  expect_error<ShapeError>(
      [&] {
        DetectorTrainer(*detector, Tensor::zeros({2, 64, 64, 3}, DType::f32), {}, small_training());
      },
      {"pictures", "f32"});
  DetectorConfig config = small_config();
  config.size = 48;
  expect_error<Error>([&] { teacher_.detector(config); }, {"48", "multiple of 32"});
}

}  // namespace
}  // namespace ddpmts::test
