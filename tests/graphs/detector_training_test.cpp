// Training steps give the same bits with graphs and without: losses, weights, moments and what is inspected afterwards.
#include <cmath>
#include <limits>

#include "models/detector_trainer.h"
#include "tests/graphs/graph_test.h"

namespace ddpmts::test {
namespace {

constexpr int kSteps = 20;

struct Training {
  std::unique_ptr<Detector> detector;
  std::unique_ptr<DetectorTrainer> trainer;
  bool graphs;

  Training(const TeacherFile& teacher, const DetectorTrainingConfig& config, bool with_graphs,
           Precision precision = Precision::f32)
      : detector(std::make_unique<Detector>(teacher.weights(), small_config(precision), 1, kGpu)),
        graphs(with_graphs) {
    const Graphs wanted(graphs);
    trainer =
        std::make_unique<DetectorTrainer>(*detector, part_pictures(12, 64, 4).to(kGpu), Tensor(), config);
  }

  TrainingStepReport step(double progress) {
    const Graphs wanted(graphs);
    return trainer->step(progress);
  }
  std::vector<float> scores() {
    const Graphs wanted(graphs);
    return detector->inspect(part_pictures(2, 64, 9).to(kGpu)).scores;
  }
  /// Everything that a checkpoint holds.
  NamedTensorList state() const {
    NamedTensorList all = snapshot(*detector);
    for (const auto& [name, tensor] : trainer->state()) all.emplace_back(name, tensor.clone());
    return all;
  }
};

DetectorTrainingConfig training_of(TrainingSchedule schedule) {
  DetectorTrainingConfig config;
  config.batch = 2;
  config.seed = 17;
  config.schedule = schedule;
  return config;
}

/// Equal, or no number both.
void expect_same(float actual, float expected, const char* what) {
  if (std::isnan(expected)) {
    EXPECT_TRUE(std::isnan(actual)) << what;
  } else {
    EXPECT_EQ(actual, expected) << what;
  }
}

void expect_same_step(Training& a, Training& b, double progress) {
  const TrainingStepReport actual = a.step(progress);
  spoil_free_memory();
  const TrainingStepReport expected = b.step(progress);
  expect_same(actual.cosine, expected.cosine, "cosine");
  expect_same(actual.focal, expected.focal, "focal");
  expect_same(actual.l1, expected.l1, "L1");
  expect_same(actual.learning_rate, expected.learning_rate, "learning rate");
  expect_same(actual.grad_norm, expected.grad_norm, "norm of the gradients");
  EXPECT_EQ(actual.finite, expected.finite);
}

void expect_same_state(const Training& a, const Training& b) {
  EXPECT_EQ(differences(a.state(), b.state()), std::vector<std::string>());
  EXPECT_EQ(a.trainer->counters().steps, b.trainer->counters().steps);
  EXPECT_EQ(a.trainer->counters().optimizer_steps, b.trainer->counters().optimizer_steps);
}

class TrainingGraphs : public ::testing::Test {
 protected:
  TrainingGraphs() { clear_tape(); }
  ~TrainingGraphs() override { clear_tape(); }
  void compare(const DetectorTrainingConfig& config, Precision precision = Precision::f32) {
    Training graphed(teacher_, config, true, precision), plain(teacher_, config, false, precision);
    for (int i = 0; i < kSteps; ++i) {
      SCOPED_TRACE(fmt::format("step {}", i + 1));
      expect_same_step(graphed, plain, static_cast<double>(i) / kSteps);
    }
    expect_same_state(graphed, plain);
    EXPECT_EQ(graphed.scores(), plain.scores());
    const int of_a_stage = config.schedule == TrainingSchedule::joint ? kSteps : kSteps / 2;
    EXPECT_EQ(graphed.trainer->replays(), of_a_stage - StepGraph::kPlainRuns);
    EXPECT_EQ(plain.trainer->replays(), 0);
  }
  TeacherFile teacher_;
};

TEST_F(TrainingGraphs, SameBitsForTwentySteps) { compare(training_of(TrainingSchedule::joint)); }

TEST_F(TrainingGraphs, SameBitsInBf16) {
  if (!has_fast_bf16(kGpu)) GTEST_SKIP() << "no bf16 here";
  compare(training_of(TrainingSchedule::joint), Precision::bf16);
}

TEST_F(TrainingGraphs, SameBitsWithEverythingElse) {
  DetectorTrainingConfig config = training_of(TrainingSchedule::two_stage);
  config.segmentation_trains_student = false;
  config.optimizer.max_grad_norm = 0.5f;
  config.optimizer.average_decay = 0.99f;
  config.optimizer.average_warmup = true;
  compare(config);
}

TEST_F(TrainingGraphs, InspectionsInBetweenSeeTheWeightsOfTheMoment) {
  const DetectorTrainingConfig config = training_of(TrainingSchedule::joint);
  Training graphed(teacher_, config, true), plain(teacher_, config, false);
  for (int i = 0; i < 8; ++i) {
    SCOPED_TRACE(fmt::format("step {}", i + 1));
    expect_same_step(graphed, plain, static_cast<double>(i) / 8);
    EXPECT_EQ(graphed.scores(), plain.scores());
  }
  EXPECT_GT(graphed.trainer->replays(), 0);
}

TEST_F(TrainingGraphs, AStepThatIsNotFiniteIsSkippedInAReplayToo) {
  const DetectorTrainingConfig config = training_of(TrainingSchedule::joint);
  Training graphed(teacher_, config, true), plain(teacher_, config, false);
  const auto poison = [](Training& training, float value) {
    for (const ParameterPtr& parameter : training.detector->parameters()) {
      if (parameter->name() != "head.classifier.conv2.bias") continue;
      parameter->value().copy_from(Tensor::from_host<float>({1}, std::vector<float>{value}));
      parameter->changed();
    }
  };
  for (int i = 0; i < 10; ++i) {
    SCOPED_TRACE(fmt::format("step {}", i + 1));
    // The step before the capture, and one that is replayed.
    const bool bad = i == StepGraph::kPlainRuns - 1 || i == 6;
    for (Training* training : {&graphed, &plain}) {
      poison(*training, bad ? std::numeric_limits<float>::quiet_NaN() : 0.125f);
    }
    expect_same_step(graphed, plain, 0.5);
  }
  EXPECT_EQ(graphed.trainer->counters().steps, 10);
  EXPECT_EQ(graphed.trainer->counters().optimizer_steps, 8);
  expect_same_state(graphed, plain);
}

TEST_F(TrainingGraphs, TheCaptureFindsItsMemoryInTheCache) {
  Training run(teacher_, training_of(TrainingSchedule::joint), true);
  for (int i = 0; i < StepGraph::kPlainRuns; ++i) run.step(0.5);
  const MemoryStats before = memory_stats(kGpu);
  for (int i = 0; i < 3; ++i) run.step(0.5);
  EXPECT_EQ(run.trainer->replays(), 3);
  EXPECT_EQ(memory_stats(kGpu).system_allocations, before.system_allocations);
  EXPECT_GT(memory_stats(kGpu).in_use, before.in_use) << "the graph's memory counts";
}

TEST_F(TrainingGraphs, ARestoredRunGoesOnWithTheSameBits) {
  const DetectorTrainingConfig config = training_of(TrainingSchedule::joint);
  Training run(teacher_, config, true), resumed(teacher_, config, true);
  for (int i = 0; i < 5; ++i) run.step(i / 10.0);
  const NamedTensorList saved = run.state();
  const auto find = [&](const std::string& name, const Shape&) {
    for (const auto& [other, tensor] : saved) {
      if (other == name) return tensor;
    }
    return Tensor();
  };
  for (int i = 0; i < 4; ++i) resumed.step(0.9);  // a graph that is to be dropped
  for (const ParameterPtr& parameter : resumed.detector->parameters()) {
    parameter->value().copy_from(find(parameter->name(), {}));
    parameter->changed();
  }
  resumed.trainer->restore(run.trainer->counters(), find);
  for (int i = 5; i < 10; ++i) expect_same_step(run, resumed, i / 10.0);
  expect_same_state(run, resumed);
}

}  // namespace
}  // namespace ddpmts::test
