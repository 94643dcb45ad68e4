// Plans by steps and by minutes, on simulated clocks.
#include "models/training_plan.h"

#include <gtest/gtest.h>

#include "tests/engine/engine_test.h"

namespace ddpmts::test {
namespace {

TEST(TrainingPlan, TakesExactlyOneOfStepsAndMinutes) {
  EXPECT_THROW(TrainingPlan(0, 0), Error);
  EXPECT_THROW(TrainingPlan(-1, 0), Error);
  expect_error<Error>([] { TrainingPlan(10, 1.0); }, {"--steps", "--minutes"});
}

TEST(TrainingPlan, ByStepsIsEvenWhateverTheClockSays) {
  TrainingPlan plan(40, 0);
  for (int step = 0; step < 40; ++step) {
    EXPECT_FALSE(plan.done());
    EXPECT_DOUBLE_EQ(plan.progress(), step / 40.0);
    plan.advance(step < 10 ? 3.0 : 0.5);
  }
  EXPECT_TRUE(plan.done());
  EXPECT_EQ(plan.progress(), 1.0);
  EXPECT_EQ(plan.state().steps, 40);
  EXPECT_DOUBLE_EQ(plan.state().seconds, 45.0);
}

TEST(TrainingPlan, SecondsLeft) {
  TrainingPlan steps(10, 0);
  EXPECT_EQ(steps.seconds_left(), 0.0);  // nothing is known yet
  for (int i = 0; i < 4; ++i) steps.advance(2.0);
  EXPECT_DOUBLE_EQ(steps.seconds_left(), 12.0);
  TrainingPlan minutes(0, 0.5);
  minutes.advance(10.0);
  EXPECT_DOUBLE_EQ(minutes.seconds_left(), 20.0);
  minutes.advance(25.0);
  EXPECT_EQ(minutes.seconds_left(), 0.0);
}

TEST(TrainingPlan, ByMinutesFollowsTheClock) {
  TrainingPlan plan(0, 1);
  double seconds = 0;
  for (int step = 0; !plan.done(); ++step) {
    ASSERT_LT(step, 1000) << "the plan never ends";
    EXPECT_DOUBLE_EQ(plan.progress(), seconds / 60.0);
    const double took = step == 0 ? 5.0 : step == 30 ? 7.0 : 0.5;  // kernels are made; the machine was busy
    seconds += took;
    plan.advance(took);
  }
  EXPECT_EQ(plan.progress(), 1.0);
  EXPECT_DOUBLE_EQ(plan.state().seconds, seconds);
  EXPECT_LT(seconds, 60.5);
}

TEST(TrainingPlan, RestoredGoesOnAsBefore) {
  for (const std::int64_t steps : {0, 300}) {
    TrainingPlan straight(steps, steps > 0 ? 0 : 1.5);
    for (int i = 0; i < 73; ++i) straight.advance(0.3);
    TrainingPlan resumed(steps, steps > 0 ? 0 : 1.5);
    resumed.restore(straight.state());
    for (; !straight.done(); straight.advance(0.3), resumed.advance(0.3)) {
      ASSERT_FALSE(resumed.done());
      ASSERT_EQ(resumed.progress(), straight.progress());
      ASSERT_EQ(resumed.seconds_left(), straight.seconds_left());
    }
    EXPECT_TRUE(resumed.done());
  }
}

}  // namespace
}  // namespace ddpmts::test
