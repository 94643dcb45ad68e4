#include "engine/profile.h"

#include <gtest/gtest.h>

#include "engine/error.h"
#include "engine/event_time.h"

namespace ddpmts {
namespace {

TEST(Profile, RunsTheWorkOnceOnTheCpu) {
  int runs = 0;
  profiled({}, "work", [&] { ++runs; });
  EXPECT_EQ(runs, 1);
  EXPECT_THROW(profiled({}, "work", [] { throw std::runtime_error("failed"); }), std::runtime_error);
}

TEST(Profile, RefusesADeviceThatIsNotThereBeforeTheWork) {
  const Device missing{DeviceType::cuda, 1000};
  int runs = 0;
  EXPECT_THROW(profiled(missing, "work", [&] { ++runs; }), DeviceError);
  EXPECT_EQ(runs, 0);
  EXPECT_THROW(cuda::event_seconds(missing.index, [&] { ++runs; }), DeviceError);
  EXPECT_EQ(runs, 0);
}

}  // namespace
}  // namespace ddpmts
