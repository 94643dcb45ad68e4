// How the programs start.
#include <gtest/gtest.h>

#include "tests/app/program.h"

namespace ddpmts::test {
namespace {

std::string spin_count(const std::string& environment) {
  const std::string shown = run_shell("unset GOMP_SPINCOUNT OMP_WAIT_POLICY; " + environment +
                                      " OMP_DISPLAY_ENV=VERBOSE \"" DDPMTS_PROGRAM "\" --version")
                                .output;
  // The last of them: the program that starts itself again shows the environment twice.
  const std::size_t at = shown.rfind("GOMP_SPINCOUNT = '");
  if (at == std::string::npos) return shown;
  const std::size_t begin = shown.find('\'', at) + 1;
  return shown.substr(begin, shown.find('\'', begin) - begin);
}

TEST(Start, ThreadsDoNotWaitAwakeForLong) { EXPECT_EQ(spin_count(""), "5000"); }

TEST(Start, TheEnvironmentDecidesWhereItIsSet) {
  EXPECT_EQ(spin_count("GOMP_SPINCOUNT=123"), "123");
  EXPECT_EQ(spin_count("OMP_WAIT_POLICY=passive"), "0");
}

}  // namespace
}  // namespace ddpmts::test
