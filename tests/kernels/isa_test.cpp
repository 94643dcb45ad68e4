#include <cstdio>
#include <cstdlib>
#include <stdexcept>

#include "tests/kernels/kernel_test.h"

namespace ddpmts::kernels {
namespace {

// cpu_isa() decides once in a process, so each case asks a fresh one: gtest's "threadsafe" death tests run the
// program again from the start.
class CpuIsaDeathTest : public ::testing::Test {
 protected:
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

[[noreturn]] void print_choice(const char* wanted) {
  setenv("DDPMTS_ISA", wanted, 1);
  try {
    std::fprintf(stderr, "chose %s\n", name_of(cpu_isa()));
    std::exit(0);
  } catch (const std::runtime_error& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    std::exit(3);
  }
}

TEST_F(CpuIsaDeathTest, TheEnvironmentCanNarrowTheChoice) {
  test::for_each_isa([](CpuIsa isa) {
    EXPECT_EXIT(print_choice(name_of(isa)), ::testing::ExitedWithCode(0),
                std::string("chose ") + name_of(isa));
  });
}

TEST_F(CpuIsaDeathTest, WithoutAWishItIsTheWidest) {
  CpuIsa widest = CpuIsa::baseline;
  test::for_each_isa([&](CpuIsa isa) { widest = isa; });
  EXPECT_EXIT(print_choice(""), ::testing::ExitedWithCode(0), std::string("chose ") + name_of(widest));
}

TEST_F(CpuIsaDeathTest, AnUnknownNameIsAnError) {
  EXPECT_EXIT(print_choice("sse9"), ::testing::ExitedWithCode(3),
              "DDPMTS_ISA=sse9: expected baseline, avx2 or avx512");
}

}  // namespace
}  // namespace ddpmts::kernels
