// Inspections give the same bits with graphs and without, whatever the number of pictures and whatever changes in between.
#include "models/calibrate.h"
#include "tests/graphs/graph_test.h"

namespace ddpmts::test {
namespace {

struct Inspector {
  std::unique_ptr<Detector> detector;
  bool graphs;

  Inspector(const TeacherFile& teacher, bool with_graphs, Precision precision)
      : detector(std::make_unique<Detector>(teacher.weights(), small_config(precision), 1, kGpu)),
        graphs(with_graphs) {}

  Inspection inspect(const Tensor& pictures) const {
    const Graphs wanted(graphs);
    return detector->inspect(pictures);
  }
};

void expect_same(const Inspection& actual, const Inspection& expected) {
  EXPECT_EQ(actual.scores, expected.scores);
  expect_same_values(actual.anomaly, expected.anomaly, "anomaly");
  expect_same_values(actual.distance, expected.distance, "distance");
  expect_same_values(actual.segmentation, expected.segmentation, "segmentation");
  ASSERT_EQ(static_cast<bool>(actual.memory), static_cast<bool>(expected.memory));
  if (actual.memory) expect_same_values(actual.memory, expected.memory, "memory");
}

class InspectionGraphs : public ::testing::TestWithParam<Precision> {
 protected:
  void SetUp() override {
    clear_tape();
    if (GetParam() == Precision::bf16 && !has_fast_bf16(kGpu)) GTEST_SKIP() << "no bf16 here";
    pictures_ = part_pictures(8, 64, 5).to(kGpu);
    graphed_.emplace(teacher_, true, GetParam());
    plain_.emplace(teacher_, false, GetParam());
  }
  void inspect_both(std::int64_t first, std::int64_t count) {
    const Tensor batch = pictures_.slice(first, count);
    const Inspection actual = graphed_->inspect(batch);
    spoil_free_memory();
    SCOPED_TRACE(fmt::format("pictures {} to {}", first, first + count));
    expect_same(actual, plain_->inspect(batch));
  }
  template <class F>
  void change_both(F&& change) {
    for (const auto* inspector : {&*graphed_, &*plain_}) {
      const Graphs wanted(inspector->graphs);
      change(*inspector->detector);
    }
  }

  TeacherFile teacher_;
  Tensor pictures_;
  std::optional<Inspector> graphed_, plain_;
};
INSTANTIATE_TEST_SUITE_P(, InspectionGraphs, ::testing::Values(Precision::f32, Precision::bf16),
                         [](const auto& chosen) { return name_of(chosen.param); });

TEST_P(InspectionGraphs, SameBitsForEveryNumberOfPictures) {
  for (int round = 0; round < 4; ++round) {
    for (const std::int64_t count : {1, 3, 8}) inspect_both(count == 8 ? 0 : round, count);
  }
  EXPECT_EQ(graphed_->detector->captures(), 3) << "one for each number of pictures";
  EXPECT_EQ(plain_->detector->captures(), 0);
}

TEST_P(InspectionGraphs, TheLeastRecentlyUsedNumberIsCapturedAgain) {
  const auto rounds = [&](std::initializer_list<std::int64_t> counts) {
    for (const std::int64_t count : counts) {
      for (int i = 0; i < 3; ++i) inspect_both(i % 2, count);
    }
  };
  rounds({1, 2, 3, 4});
  EXPECT_EQ(graphed_->detector->captures(), 4);
  rounds({1, 5, 1});
  EXPECT_EQ(graphed_->detector->captures(), 5) << "2 was given up for 5";
  rounds({2});
  EXPECT_EQ(graphed_->detector->captures(), 6);
}

TEST_P(InspectionGraphs, WhatIsGivenOutStaysAsItIs) {
  for (int i = 0; i < 3; ++i) inspect_both(0, 2);
  const Inspection first = graphed_->inspect(pictures_.slice(0, 2));
  const std::vector<float> anomaly = first.anomaly.to_floats();
  inspect_both(4, 2);
  EXPECT_EQ(first.anomaly.to_floats(), anomaly);
}

TEST_P(InspectionGraphs, CalibrationMemoryAndWeightsAreSeen) {
  const auto settle = [&] {
    for (int i = 0; i < 4; ++i) inspect_both(i, 2);
  };
  settle();
  EXPECT_EQ(graphed_->detector->captures(), 1);
  change_both([&](Detector& detector) { detector.remember(pictures_, {16, 64}, 1, 4); });
  settle();
  EXPECT_EQ(graphed_->detector->captures(), 2);
  change_both([&](Detector& detector) { calibrate_maps(detector, pictures_, 4); });
  settle();
  change_both([&](Detector& detector) {
    for (const ParameterPtr& parameter : detector.parameters()) {
      if (parameter->name() != "head.classifier.conv2.bias") continue;
      parameter->value().copy_from(Tensor::from_host<float>({1}, std::vector<float>{0.25f}));
      parameter->changed();
    }
  });
  settle();
  EXPECT_GE(graphed_->detector->captures(), 4);
}

TEST_P(InspectionGraphs, ADetectorMayMove) {
  for (int i = 0; i < 3; ++i) inspect_both(i, 2);
  graphed_->detector = std::make_unique<Detector>(std::move(*graphed_->detector));
  for (int i = 0; i < 3; ++i) inspect_both(i, 2);
  EXPECT_EQ(graphed_->detector->captures(), 1);
}

}  // namespace
}  // namespace ddpmts::test
