// Plans by steps and by minutes, on simulated clocks.
#include "models/training_plan.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <vector>

#include "tests/engine/engine_test.h"

namespace ddpmts::test {
namespace {

/// Seconds that step `step` takes when `seconds` of the run have passed.
using Clock = std::function<double(std::int64_t step, double seconds)>;

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

struct Machine {
  const char* name;
  double minutes;
  Clock clock;
};

class TrainingPlanByMinutes : public ::testing::TestWithParam<Machine> {};

TEST_P(TrainingPlanByMinutes, EndsOnTimeWithProgressThatOnlyRises) {
  const Machine& machine = GetParam();
  TrainingPlan plan(0, machine.minutes);
  const double wanted = machine.minutes * 60.0;
  double seconds = 0, progress = 0, farthest_from_clock = 0;
  for (std::int64_t step = 0; !plan.done(); ++step) {
    ASSERT_LT(step, 1'000'000) << "the plan never ends";
    const double took = machine.clock(step, seconds);
    seconds += took;
    plan.advance(took);
    EXPECT_GE(plan.progress(), progress) << "step " << step;
    EXPECT_LE(plan.progress(), 1.0) << "step " << step;
    progress = plan.progress();
    farthest_from_clock = std::max(farthest_from_clock, std::abs(progress - std::min(1.0, seconds / wanted)));
  }
  EXPECT_EQ(progress, 1.0);
  EXPECT_DOUBLE_EQ(plan.state().seconds, seconds);
  EXPECT_NEAR(seconds, wanted, 0.05 * wanted);
  // Learning rate and stages follow progress, so it must not run far away from the clock on the way either.
  EXPECT_LT(farthest_from_clock, 0.3);
}

INSTANTIATE_TEST_SUITE_P(
    , TrainingPlanByMinutes,
    ::testing::Values(
        Machine{"fast", 2, [](std::int64_t, double) { return 0.02; }},
        Machine{"usual", 10, [](std::int64_t, double) { return 0.4; }},
        Machine{"large_steps", 10, [](std::int64_t, double) { return 4.0; }},
        Machine{"slow_first_steps", 10, [](std::int64_t step, double) { return step < 3 ? 5.0 : 0.2; }},
        Machine{"fast_with_slow_first_steps", 5,
                [](std::int64_t step, double) { return step < 2 ? 4.0 : 0.01; }},
        Machine{"becomes_slower", 10, [](std::int64_t, double seconds) { return seconds < 240 ? 0.2 : 0.5; }},
        Machine{"becomes_faster", 10, [](std::int64_t, double seconds) { return seconds < 240 ? 0.5 : 0.2; }},
        Machine{"pauses_once", 10, [](std::int64_t step, double) { return step == 400 ? 20.0 : 0.3; }},
        Machine{"uneven", 10, [](std::int64_t step, double) { return step % 7 == 0 ? 1.1 : 0.25; }}),
    [](const auto& machine) { return std::string(machine.param.name); });

TEST(TrainingPlan, RestoredGoesOnAsBefore) {
  const auto clock = [](std::int64_t step) { return 0.3 + 0.1 * std::sin(static_cast<double>(step)); };
  for (const std::int64_t steps : {0, 300}) {
    TrainingPlan straight(steps, steps > 0 ? 0 : 1.5);
    for (std::int64_t i = 0; i < 73; ++i) straight.advance(clock(i));
    TrainingPlan resumed(steps, steps > 0 ? 0 : 1.5);
    resumed.restore(straight.state());
    std::int64_t step = 73;
    while (!straight.done()) {
      ASSERT_FALSE(resumed.done());
      straight.advance(clock(step));
      resumed.advance(clock(step++));
      ASSERT_EQ(resumed.progress(), straight.progress()) << step;
      ASSERT_EQ(resumed.state().increment, straight.state().increment) << step;
      ASSERT_EQ(resumed.seconds_left(), straight.seconds_left()) << step;
    }
    EXPECT_TRUE(resumed.done());
    EXPECT_GT(step, 150);  // past a new plan or two
  }
}

}  // namespace
}  // namespace ddpmts::test
