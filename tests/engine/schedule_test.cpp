// The learning-rate schedule.
#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "engine/optimizer.h"

namespace ddpmts {
namespace {

TEST(CosineSchedule, WarmsUpLinearly) {
  EXPECT_EQ(cosine_schedule(0.0, 0.1, 0.01), 0.0f);
  EXPECT_FLOAT_EQ(cosine_schedule(0.025, 0.1, 0.01), 0.25f);
  EXPECT_FLOAT_EQ(cosine_schedule(0.05, 0.1, 0.01), 0.5f);
  EXPECT_FLOAT_EQ(cosine_schedule(0.1, 0.1, 0.01), 1.0f);
}

TEST(CosineSchedule, FallsFromOneToTheFloor) {
  for (const double warmup : {0.0, 0.1, 0.5}) {
    for (const double floor : {0.0, 0.01, 0.3}) {
      EXPECT_FLOAT_EQ(cosine_schedule(warmup, warmup, floor), 1.0f);
      EXPECT_NEAR(cosine_schedule(1.0, warmup, floor), floor, 1e-7);
      EXPECT_NEAR(cosine_schedule((1 + warmup) / 2, warmup, floor), (1 + floor) / 2, 1e-6);
      const double quarter = floor + (1 - floor) * 0.5 * (1 + std::cos(std::numbers::pi / 4));
      EXPECT_NEAR(cosine_schedule(warmup + (1 - warmup) / 4, warmup, floor), quarter, 1e-6);
    }
  }
  float previous = 1.0f;
  for (int i = 11; i <= 100; ++i) {
    const float now = cosine_schedule(i / 100.0, 0.1, 0.05);
    EXPECT_LT(now, previous);
    previous = now;
  }
}

TEST(CosineSchedule, StaysAtItsEndsOutsideTheRun) {
  EXPECT_EQ(cosine_schedule(-1.0, 0.1, 0.2), 0.0f);
  EXPECT_FLOAT_EQ(cosine_schedule(2.0, 0.1, 0.2), 0.2f);
  EXPECT_FLOAT_EQ(cosine_schedule(0.5, 1.0, 0.2), 0.5f) << "a run that is all warm-up";
}

}  // namespace
}  // namespace ddpmts
