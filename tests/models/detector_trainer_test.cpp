// Training: losses fall, stages train what they should, runs repeat and resume bit for bit, memory settles.
#include "models/detector_trainer.h"

#include <cmath>

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

TEST_F(DetectorTraining, SteadyStateAsksTheSystemForNothing) {
  release_cached_memory(Device{});  // what earlier tests left must not help
  const std::size_t before = memory_stats(Device{}).system_allocations;
  Training run(teacher_, small_training());
  run.steps(0, 2, 8);
  const std::size_t warm = memory_stats(Device{}).system_allocations;
  EXPECT_GT(warm, before);
  run.steps(2, 8, 8);
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
