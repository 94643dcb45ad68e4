// Where Winograd's algorithm is chosen, and that it keeps what the engine promises: agreement with oneDNN's direct kernels'
// contract at the networks' sizes, fresh weights, the same bits on any number of threads, no memory asked for twice.
#include "engine/cpu/winograd.h"

#include <omp.h>

#include "tests/engine/engine_test.h"
#include "tests/engine/reference.h"

namespace ddpmts::test {
namespace {

constexpr Placement kF32;

ConvShape conv3x3(std::int64_t n, std::int64_t side, std::int64_t c, std::int64_t k,
                  std::int64_t dilation = 1) {
  return {.n = n,
          .h = side,
          .w = side,
          .c = c,
          .k = k,
          .r = 3,
          .s = 3,
          .padding = dilation,
          .dilation = dilation};
}

bool forward(const ConvShape& s) { return cpu::uses_winograd(s, ConvPass::forward); }
bool backward(const ConvShape& s) { return cpu::uses_winograd(s, ConvPass::backward_data); }

TEST(WinogradChoice, TakesTheNetworksLargeConvolutions) {
  for (const ConvShape& s :
       {conv3x3(1, 64, 64, 64), conv3x3(1, 64, 448, 64), conv3x3(1, 64, 1024, 256), conv3x3(1, 32, 128, 128),
        conv3x3(1, 16, 256, 256), conv3x3(1, 16, 448, 192), conv3x3(1, 8, 512, 512),
        conv3x3(1, 64, 64, 64, 6), conv3x3(1, 64, 64, 64, 18)}) {
    EXPECT_TRUE(forward(s)) << s.h << " " << s.c << "-" << s.k << " dilation " << s.dilation;
    EXPECT_TRUE(backward(s)) << s.h << " " << s.c << "-" << s.k << " dilation " << s.dilation;
    EXPECT_FALSE(cpu::uses_winograd(s, ConvPass::backward_weights));
  }
}

TEST(WinogradChoice, LeavesWhatItCannotOrDoesNotSpeedUp) {
  ConvShape s = conv3x3(8, 64, 64, 64);
  s.type = DType::bf16;
  EXPECT_FALSE(forward(s));
  s = conv3x3(8, 64, 64, 64), s.stride = 2;
  EXPECT_FALSE(forward(s));
  s = conv3x3(8, 64, 64, 64), s.padding = 0;
  EXPECT_FALSE(forward(s));
  s = conv3x3(8, 64, 64, 64), s.r = 1;
  EXPECT_FALSE(forward(s));
  s = conv3x3(8, 64, 64, 64), s.s = 5;
  EXPECT_FALSE(forward(s));
  for (const ConvShape& slow : {conv3x3(8, 64, 64, 64, 12), conv3x3(8, 5, 256, 256), conv3x3(8, 1, 256, 256),
                                conv3x3(8, 8, 64, 64, 11), conv3x3(8, 64, 8, 64), conv3x3(8, 64, 64, 16)}) {
    EXPECT_FALSE(forward(slow)) << slow.h << " " << slow.c << "-" << slow.k << " dilation " << slow.dilation;
  }
  // Backward, the channels change places.
  EXPECT_TRUE(forward(conv3x3(8, 64, 16, 64)));
  EXPECT_FALSE(backward(conv3x3(8, 64, 16, 64)));
  EXPECT_TRUE(backward(conv3x3(8, 64, 64, 16)));
}

TEST(WinogradChoice, DoesNotDependOnTheNumberOfPictures) {
  for (std::int64_t side = 1; side < 40; ++side) {
    for (const std::int64_t n : {2, 8, 100})
      EXPECT_EQ(forward(conv3x3(n, side, 64, 64)), forward(conv3x3(1, side, 64, 64)));
  }
}

// Deeper sums than the table of conv_test.cpp has, at the accuracy that f32 leaves here (kernels/cpu/winograd_math.h).
TEST(WinogradConvolution, MatchesTheLoopAtANetworksDepth) {
  const ConvShape s = conv3x3(1, 16, 192, 96);
  const ParameterPtr weight = random_parameter("weight", {s.k, 3, 3, s.c}, kF32, 1);
  const Tensor x = random_tensor({1, 16, 16, s.c}, kF32, 2), dy = random_tensor({1, 16, 16, s.k}, kF32, 3);
  const Tensor y = poisoned(dy.shape(), kF32), dx = poisoned(x.shape(), kF32);
  ASSERT_TRUE(forward(s) && backward(s));
  conv_forward({}, s, x.raw(), *weight, {}, y.raw());
  conv_backward_data({}, s, dy.raw(), *weight, dx.raw());
  expect_close(y, conv_reference(s, doubles(x), doubles(weight->value())), 2e-5, "y");
  expect_close(dx, conv_data_gradient(s, doubles(dy), doubles(weight->value())), 2e-5, "dx");
}

TEST(WinogradConvolution, UsesTheNewWeightAfterAChangeAndAsksForNoMoreMemory) {
  const ConvShape s = conv3x3(2, 13, 24, 40);
  ASSERT_TRUE(forward(s) && !backward(s));  // 24 outputs are too few
  const ConvShape wide = conv3x3(2, 13, 40, 40);
  ASSERT_TRUE(forward(wide) && backward(wide));
  const ParameterPtr weight = random_parameter("weight", {40, 3, 3, 40}, kF32, 4);
  const Tensor x = random_tensor({2, 13, 13, 40}, kF32, 5), dy = random_tensor({2, 13, 13, 40}, kF32, 6);
  const Tensor y = poisoned(dy.shape(), kF32), dx = poisoned(x.shape(), kF32);
  std::size_t asked = 0;
  for (std::uint64_t round = 0; round < 3; ++round) {
    const std::vector<float> values = random_floats(weight->shape().count(), 100 + round);
    set_values(*weight, values);
    if (round == 1) asked = memory_stats({}).system_allocations;
    conv_forward({}, wide, x.raw(), *weight, {}, y.raw());
    conv_backward_data({}, wide, dy.raw(), *weight, dx.raw());
    if (round >= 1) {
      EXPECT_EQ(memory_stats({}).system_allocations, asked);
    }
    expect_close(y, conv_reference(wide, doubles(x), doubles(values)), 1e-5, "y");
    expect_close(dx, conv_data_gradient(wide, doubles(dy), doubles(values)), 1e-5, "dx");
  }
}

TEST(WinogradConvolution, AnyNumberOfThreadsGivesTheSameBits) {
  const ConvShape s = conv3x3(1, 40, 64, 64);
  ASSERT_TRUE(forward(s) && backward(s));
  const Tensor x = random_tensor({1, 40, 40, 64}, kF32, 7);
  const auto results = [&](int threads) {
    const int before = omp_get_max_threads();
    omp_set_num_threads(threads);
    const ParameterPtr weight = random_parameter("weight", {64, 3, 3, 64}, kF32, 8);
    const Tensor y = poisoned(x.shape(), kF32), dx = poisoned(x.shape(), kF32);
    conv_forward({}, s, x.raw(), *weight, {}, y.raw());
    conv_backward_data({}, s, x.raw(), *weight, dx.raw());
    omp_set_num_threads(before);
    return std::pair{y.to_floats(), dx.to_floats()};
  };
  const auto alone = results(1);
  for (const int threads : {2, 3, 8}) EXPECT_EQ(results(threads), alone) << threads << " threads";
}

}  // namespace
}  // namespace ddpmts::test
