#include "kernels/winograd.h"

#include <algorithm>
#include <limits>

#include "tests/kernels/kernel_test.h"

namespace ddpmts::kernels {
namespace {

using test::Array;

struct Shape {
  std::int64_t n, h, w, c, k, dilation = 1;
  std::int64_t inputs() const { return n * h * w * c; }
  std::int64_t outputs() const { return n * h * w * k; }
  std::string text() const {
    return std::to_string(n) + "x" + std::to_string(h) + "x" + std::to_string(w) + " " + std::to_string(c) +
           "-" + std::to_string(k) + ", dilation " + std::to_string(dilation);
  }
};

// Pictures smaller than a tile, sides that 4 does not divide, channels that no vector divides, dilation beyond the picture.
const Shape kShapes[] = {
    {1, 1, 1, 1, 1},      {2, 1, 1, 17, 3},      {3, 2, 3, 3, 16},       {1, 5, 7, 16, 17},
    {2, 5, 7, 17, 1},     {1, 33, 17, 3, 64},    {1, 33, 17, 64, 3},     {3, 4, 4, 64, 33},
    {2, 9, 6, 100, 65},   {1, 33, 17, 100, 31},  {1, 16, 16, 130, 160},  {2, 13, 9, 16, 17, 2},
    {1, 13, 9, 5, 33, 6}, {1, 13, 9, 5, 33, 18}, {1, 33, 17, 17, 16, 3},
};

/// The plain twin: nine taps in doubles.
std::vector<double> plain(const Shape& s, const Array<float>& x, const Array<float>& weights) {
  std::vector<double> y(static_cast<std::size_t>(s.outputs()));
  const auto at = [&](std::int64_t n, std::int64_t i, std::int64_t j, std::int64_t channels) {
    return ((n * s.h + i) * s.w + j) * channels;
  };
  for (std::int64_t n = 0; n < s.n; ++n) {
    for (std::int64_t p = 0; p < s.h; ++p) {
      for (std::int64_t q = 0; q < s.w; ++q) {
        for (std::int64_t tap = 0; tap < 9; ++tap) {
          const std::int64_t i = p + (tap / 3 - 1) * s.dilation, j = q + (tap % 3 - 1) * s.dilation;
          if (i < 0 || j < 0 || i >= s.h || j >= s.w) continue;
          const float* in = x.data() + at(n, i, j, s.c);
          for (std::int64_t k = 0; k < s.k; ++k) {
            const float* w = weights.data() + (k * 9 + tap) * s.c;
            double sum = 0.0;
            for (std::int64_t c = 0; c < s.c; ++c) sum += double(in[c]) * double(w[c]);
            y[static_cast<std::size_t>(at(n, p, q, s.k) + k)] += sum;
          }
        }
      }
    }
  }
  return y;
}

/// [k, 9, c] → [c, 9, k], every filter turned by 180°.
Array<float> turned(const Shape& s, const Array<float>& weights) {
  Array<float> result(weights.size());
  for (std::int64_t k = 0; k < s.k; ++k) {
    for (std::int64_t tap = 0; tap < 9; ++tap) {
      for (std::int64_t c = 0; c < s.c; ++c) {
        result[static_cast<std::size_t>((c * 9 + 8 - tap) * s.k + k)] =
            weights[static_cast<std::size_t>((k * 9 + tap) * s.c + c)];
      }
    }
  }
  return result;
}

struct Extras {
  const float* bias = nullptr;
  const float* residual = nullptr;
  bool relu = false;
  std::int64_t threads = 1;
};

/// Everything that a call writes lies in memory of exactly the size asked for, with a guard behind it, and holds NaN before.
class Memory {
 public:
  explicit Memory(std::size_t count) : buffer_(DType::f32, static_cast<std::int64_t>(count)) {
    for (std::size_t i = 0; i < count; ++i) buffer_.set(i, std::numeric_limits<float>::quiet_NaN());
  }
  ~Memory() { EXPECT_TRUE(buffer_.guard_is_intact()) << "wrote too far"; }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  float* data() { return static_cast<float*>(buffer_.data()); }

 private:
  test::Buffer buffer_;
};

void convolve(CpuIsa isa, const Shape& s, const float* x, const Array<float>& weights, bool turn,
              const Extras& extras, float* y) {
  Memory transformed(winograd_weight_floats(s.c, s.k));
  const WinogradWeightsArgs filters{s.c, s.k, turn, weights.data(), transformed.data()};
  DDPMTS_RUN_KERNEL(isa, winograd_weights, filters);
  WinogradConvArgs args{s.n,
                        s.h,
                        s.w,
                        s.c,
                        s.k,
                        s.dilation,
                        x,
                        transformed.data(),
                        extras.bias,
                        extras.residual,
                        extras.relu,
                        y,
                        extras.threads};
  Memory workspace(winograd_workspace_floats(args));
  args.workspace = workspace.data();
  DDPMTS_RUN_KERNEL(isa, winograd_conv, args);
}

Array<float> convolved(CpuIsa isa, const Shape& s, const Array<float>& x, const Array<float>& weights,
                       const Extras& extras = {}) {
  Memory y(static_cast<std::size_t>(s.outputs()));
  convolve(isa, s, x.data(), weights, false, extras, y.data());
  return {y.data(), y.data() + s.outputs()};
}

/// The error, as a share of the result's root mean square: at most 2e-6 in the root mean square and 3e-5 anywhere.
void expect_accurate(const float* actual, const std::vector<double>& expected) {
  double error = 0.0, most = 0.0, square = 0.0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double difference = std::abs(double(actual[i]) - expected[i]);
    ASSERT_FALSE(std::isnan(difference)) << i;
    most = std::max(most, difference);
    error += difference * difference;
    square += expected[i] * expected[i];
  }
  EXPECT_LE(error, 2e-6 * 2e-6 * square);
  const double scale = std::sqrt(square / static_cast<double>(expected.size()));
  EXPECT_LE(most, 3e-5 * scale);
}

TEST(Winograd, MatchesThePlainConvolution) {
  for (const Shape& s : kShapes) {
    SCOPED_TRACE(s.text());
    const Array<float> x = test::random_floats(s.inputs(), 1),
                       weights = test::random_floats(9 * s.c * s.k, 2);
    const std::vector<double> expected = plain(s, x, weights);
    test::for_each_isa([&](CpuIsa isa) { expect_accurate(convolved(isa, s, x, weights).data(), expected); });
  }
}

TEST(Winograd, TurnedWeightsGiveTheGradientOfTheData) {
  for (const Shape& s : kShapes) {
    SCOPED_TRACE(s.text());
    // The gradient of a convolution of s.k channels to s.c, whose weights are [s.c, 3, 3, s.k].
    const Array<float> dy = test::random_floats(s.inputs(), 3),
                       weights = test::random_floats(9 * s.c * s.k, 4);
    const std::vector<double> expected = plain(s, dy, turned({s.n, s.h, s.w, s.k, s.c}, weights));
    test::for_each_isa([&](CpuIsa isa) {
      Memory dx(static_cast<std::size_t>(s.outputs()));
      convolve(isa, s, dy.data(), weights, true, {}, dx.data());
      expect_accurate(dx.data(), expected);
    });
  }
}

TEST(Winograd, AddsBiasAndResidualThenCutsOff) {
  for (const Shape& s : {Shape{2, 9, 6, 19, 37}, Shape{1, 7, 5, 3, 64, 2}}) {
    const Array<float> x = test::random_floats(s.inputs(), 5),
                       weights = test::random_floats(9 * s.c * s.k, 6);
    const Array<float> bias = test::random_floats(s.k, 7, -3.0f, 3.0f);
    const Array<float> residual = test::random_floats(s.outputs(), 8, -3.0f, 3.0f);
    const std::vector<double> sums = plain(s, x, weights);
    for (int round = 0; round < 16; ++round) {
      const bool with_bias = round & 1, with_residual = round & 2, relu = round & 4, in_place = round & 8;
      SCOPED_TRACE(s.text() + ", round " + std::to_string(round));
      std::vector<double> expected = sums;
      for (std::size_t i = 0; i < expected.size(); ++i) {
        if (with_bias) expected[i] += double(bias[i % bias.size()]);
        if (with_residual) expected[i] += double(residual[i]);
        if (relu) expected[i] = std::max(expected[i], 0.0);
      }
      test::for_each_isa([&](CpuIsa isa) {
        Memory y(residual.size());
        if (in_place) std::copy(residual.begin(), residual.end(), y.data());
        const float* added = in_place ? y.data() : residual.data();
        convolve(isa, s, x.data(), weights, false,
                 {with_bias ? bias.data() : nullptr, with_residual ? added : nullptr, relu}, y.data());
        expect_accurate(y.data(), expected);
      });
    }
  }
}

TEST(Winograd, AnyNumberOfThreadsGivesTheSameBits) {
  for (const Shape& s : {Shape{2, 33, 17, 70, 40}, Shape{1, 5, 7, 16, 260}, Shape{1, 3, 3, 200, 64}}) {
    SCOPED_TRACE(s.text());
    const Array<float> x = test::random_floats(s.inputs(), 9),
                       weights = test::random_floats(9 * s.c * s.k, 10);
    test::for_each_isa([&](CpuIsa isa) {
      const Array<float> alone = convolved(isa, s, x, weights);
      for (const std::int64_t threads : {2, 3, 5, 16}) {
        EXPECT_EQ(convolved(isa, s, x, weights, {.threads = threads}), alone) << threads << " threads";
      }
    });
  }
}

TEST(Winograd, PicturesDoNotSeeEachOther) {
  const Shape three{3, 9, 6, 19, 37}, one{1, 9, 6, 19, 37};
  const Array<float> x = test::random_floats(three.inputs(), 11),
                     weights = test::random_floats(9 * 19 * 37, 12);
  test::for_each_isa([&](CpuIsa isa) {
    const Array<float> together = convolved(isa, three, x, weights);
    for (std::int64_t n = 0; n < 3; ++n) {
      const Array<float> picture(x.begin() + n * one.inputs(), x.begin() + (n + 1) * one.inputs());
      const Array<float> expected(together.begin() + n * one.outputs(),
                                  together.begin() + (n + 1) * one.outputs());
      EXPECT_EQ(convolved(isa, one, picture, weights), expected) << "picture " << n;
    }
  });
}

TEST(Winograd, NoPictureGivesNothing) {
  test::for_each_isa([](CpuIsa isa) {
    const Array<float> weights = test::random_floats(9 * 4 * 4, 13);
    EXPECT_EQ(convolved(isa, {0, 8, 8, 4, 4}, {}, weights), Array<float>());
  });
}

// Every tile and every output channel belongs to one task, whatever the threads; small work is shared by channels.
TEST(WinogradPlan, CutsAllOfTheWork) {
  for (const Shape& s : kShapes) {
    for (const std::int64_t threads : {1, 2, 3, 8, 100}) {
      SCOPED_TRACE(s.text() + ", " + std::to_string(threads) + " threads");
      WinogradConvArgs args;
      args.n = s.n, args.h = s.h, args.w = s.w, args.c = s.c, args.k = s.k;
      args.dilation = s.dilation, args.threads = threads;
      const WinogradPlan plan = winograd_plan(args);
      EXPECT_GE(plan.row_phases * plan.tile_rows * kWinogradOutputs, s.h);
      EXPECT_GE(plan.column_phases * plan.tile_columns * kWinogradOutputs, s.w);
      EXPECT_GE(plan.chunks * plan.chunk, plan.tiles);
      EXPECT_LT((plan.chunks - 1) * plan.chunk, plan.tiles);
      EXPECT_GE(plan.groups * plan.group, s.k);
      EXPECT_LT((plan.groups - 1) * plan.group, s.k);
      EXPECT_EQ(plan.group % kWinogradOutputStep, 0);
      EXPECT_LE(plan.depth, s.c);
    }
  }
  WinogradConvArgs small;
  small.n = 1, small.h = small.w = 8, small.c = small.k = 512, small.threads = 8;
  EXPECT_EQ(winograd_plan(small).chunks, 1);
  EXPECT_EQ(winograd_plan(small).groups, 8);
}

}  // namespace
}  // namespace ddpmts::kernels
