#include "kernels/group_norm.h"

#include <limits>
#include <stdexcept>

#include "bench/shapes.h"
#include "tests/kernels/kernel_test.h"

#if DDPMTS_CPU_TESTS
#include <omp.h>
#endif

namespace ddpmts::kernels {
namespace {

using test::Buffer;
using test::random_floats;

constexpr double kEpsilon = 1e-5;

struct Case {
  std::int64_t n, pixels, channels, groups;
  DType type = DType::f32;
  bool add = false, scale_shift = false, silu = false;

  std::string name() const {
    return std::to_string(n) + "x" + std::to_string(pixels) + "x" + std::to_string(channels) + "/" +
           std::to_string(groups) + " " + name_of(type) + (add ? " +add" : "") +
           (scale_shift ? " +scale-shift" : "") + (silu ? " +silu" : "");
  }
};

std::vector<Case> all_cases() {
  std::vector<Case> shapes = {{1, 1, 1, 1},    {2, 1, 6, 3},     {1, 7, 3, 3},     {2, 5, 6, 2},
                              {1, 9, 65, 5},   {1, 9, 65, 65},   {2, 33, 65, 1},   {5, 64, 64, 32},
                              {3, 600, 24, 8}, {2, 701, 40, 20}, {1, 2500, 33, 11}};
  for (const bench::MapShape& map : bench::kOdd) shapes.push_back({2, map.pixels(), map.c, map.groups()});
  const bench::MapShape& coarsest = std::end(bench::kUNet64)[-1];
  shapes.push_back({1, coarsest.pixels(), coarsest.c, coarsest.groups()});
  std::vector<Case> cases;
  for (Case c : shapes) {
    for (const DType type : {DType::f32, DType::bf16}) {
      for (int variant = 0; variant < 8; ++variant) {
        c.type = type;
        c.add = (variant & 1) != 0;
        c.scale_shift = (variant & 2) != 0;
        c.silu = (variant & 4) != 0;
        cases.push_back(c);
      }
    }
  }
  return cases;
}

std::vector<double> doubles(const std::vector<float>& values) { return {values.begin(), values.end()}; }

/// The plain twin: the contract's formulas, in double, one group after the other.
struct Twin {
  Case spec;
  std::vector<double> x, add, scale_shift, gamma, beta, dy;
  std::vector<double> y, mean, rstd;
  std::vector<double> dx, dadd, dscale_shift, dgamma, dbeta;

  void run() {
    const std::size_t n = size(spec.n), pixels = size(spec.pixels), channels = size(spec.channels);
    const std::size_t groups = size(spec.groups), width = channels / groups;
    const double values = static_cast<double>(pixels * width);
    y.assign(x.size(), 0.0);
    dx = y;
    mean.assign(n * groups, 0.0);
    rstd = mean;
    dadd.assign(n * channels, 0.0);
    dscale_shift.assign(2 * n * channels, 0.0);
    dgamma.assign(channels, 0.0);
    dbeta = dgamma;
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t g = 0; g < groups; ++g) {
        const auto for_each = [&](const auto& body) {
          for (std::size_t p = 0; p < pixels; ++p) {
            for (std::size_t c = g * width; c < (g + 1) * width; ++c)
              body(c, (i * pixels + p) * channels + c);
          }
        };
        const auto u = [&](std::size_t c, std::size_t at) {
          return x[at] + (spec.add ? add[i * channels + c] : 0.0);
        };
        double& m = mean[i * groups + g];
        for_each([&](std::size_t c, std::size_t at) { m += u(c, at) / values; });
        double variance = 0.0;
        for_each(
            [&](std::size_t c, std::size_t at) { variance += (u(c, at) - m) * (u(c, at) - m) / values; });
        const double r = rstd[i * groups + g] = 1.0 / std::sqrt(variance + kEpsilon);
        std::vector<double> normalised(x.size()), gradient(x.size());
        double gradient_mean = 0.0, product_mean = 0.0;
        for_each([&](std::size_t c, std::size_t at) {
          const double scale = spec.scale_shift ? 1.0 + scale_shift[2 * i * channels + c] : 1.0;
          const double shift = spec.scale_shift ? scale_shift[(2 * i + 1) * channels + c] : 0.0;
          normalised[at] = (u(c, at) - m) * r;
          const double v = normalised[at] * gamma[c] + beta[c];
          const double w = v * scale + shift;
          const double sigmoid = 1.0 / (1.0 + std::exp(-w));
          y[at] = spec.silu ? w * sigmoid : w;
          const double dw = dy[at] * (spec.silu ? sigmoid * (1.0 + w * (1.0 - sigmoid)) : 1.0);
          dscale_shift[2 * i * channels + c] += dw * v;
          dscale_shift[(2 * i + 1) * channels + c] += dw;
          dgamma[c] += dw * scale * normalised[at];
          dbeta[c] += dw * scale;
          gradient[at] = dw * scale * gamma[c];
          gradient_mean += gradient[at] / values;
          product_mean += gradient[at] * normalised[at] / values;
        });
        for_each([&](std::size_t c, std::size_t at) {
          dx[at] = r * (gradient[at] - gradient_mean - normalised[at] * product_mean);
          dadd[i * channels + c] += dx[at];
        });
      }
    }
  }
  static std::size_t size(std::int64_t count) { return static_cast<std::size_t>(count); }
};

/// One layer's arrays, filled reproducibly.
struct Layer {
  explicit Layer(const Case& c, float x_offset = 0.5f, float add_offset = 0.0f)
      : spec(c),
        x(c.type, random_floats(c.n * c.pixels * c.channels, 1, x_offset - 2.0f, x_offset + 2.0f)),
        add(c.type, random_floats(c.n * c.channels, 2, add_offset - 1.0f, add_offset + 1.0f)),
        scale_shift(c.type, random_floats(2 * c.n * c.channels, 3)),
        dy(c.type, random_floats(c.n * c.pixels * c.channels, 4)),
        y(c.type, c.n * c.pixels * c.channels),
        dx(c.type, c.n * c.pixels * c.channels),
        dadd(c.type, c.n * c.channels),
        dscale_shift(c.type, 2 * c.n * c.channels),
        gamma(DType::f32, random_floats(c.channels, 5, 0.5f, 1.5f)),
        beta(DType::f32, random_floats(c.channels, 6)),
        saved_mean(DType::f32, c.n * c.groups),
        saved_rstd(DType::f32, c.n * c.groups),
        dgamma(DType::f32, c.channels),
        dbeta(DType::f32, c.channels) {}

  GroupNormForwardArgs forward_args() {
    GroupNormForwardArgs args;
    args.type = spec.type;
    args.n = spec.n;
    args.pixels = spec.pixels;
    args.channels = spec.channels;
    args.groups = spec.groups;
    args.x = x.data();
    args.add = spec.add ? add.data() : nullptr;
    args.scale_shift = spec.scale_shift ? scale_shift.data() : nullptr;
    args.gamma = floats(gamma);
    args.beta = floats(beta);
    args.silu = spec.silu;
    args.epsilon = static_cast<float>(kEpsilon);
    args.y = y.data();
    args.saved_mean = floats(saved_mean);
    args.saved_rstd = floats(saved_rstd);
    return args;
  }
  GroupNormBackwardArgs backward_args() {
    GroupNormBackwardArgs args;
    args.type = spec.type;
    args.n = spec.n;
    args.pixels = spec.pixels;
    args.channels = spec.channels;
    args.groups = spec.groups;
    args.x = x.data();
    args.add = spec.add ? add.data() : nullptr;
    args.scale_shift = spec.scale_shift ? scale_shift.data() : nullptr;
    args.gamma = floats(gamma);
    args.beta = floats(beta);
    args.silu = spec.silu;
    args.saved_mean = floats(saved_mean);
    args.saved_rstd = floats(saved_rstd);
    args.dy = dy.data();
    args.dx = dx.data();
    args.dadd = spec.add ? dadd.data() : nullptr;
    args.dscale_shift = spec.scale_shift ? dscale_shift.data() : nullptr;
    args.dgamma = floats(dgamma);
    args.dbeta = floats(dbeta);
    return args;
  }
  void run(CpuIsa isa) {
    DDPMTS_RUN_KERNEL(isa, group_norm_forward, forward_args());
    DDPMTS_RUN_KERNEL(isa, group_norm_backward, backward_args());
  }
  Twin twin() const {
    Twin t{spec,
           doubles(x.floats()),
           doubles(add.floats()),
           doubles(scale_shift.floats()),
           doubles(gamma.floats()),
           doubles(beta.floats()),
           doubles(dy.floats()),
           {},
           {},
           {},
           {},
           {},
           {},
           {},
           {}};
    t.run();
    return t;
  }
  bool guards_are_intact() const {
    for (const Buffer* b : {&y, &dx, &dadd, &dscale_shift, &saved_mean, &saved_rstd, &dgamma, &dbeta}) {
      if (!b->guard_is_intact()) return false;
    }
    return true;
  }
  static float* floats(Buffer& b) { return static_cast<float*>(b.data()); }

  Case spec;
  Buffer x, add, scale_shift, dy, y, dx, dadd, dscale_shift;
  Buffer gamma, beta, saved_mean, saved_rstd, dgamma, dbeta;
};

TEST(GroupNorm, MatchesThePlainTwin) {
  for (const Case& c : all_cases()) {
    SCOPED_TRACE(c.name());
    const Twin twin = Layer(c).twin();
    test::for_each_isa([&](CpuIsa isa) {
      Layer layer(c);
      layer.run(isa);
      test::expect_near(layer.saved_mean, twin.mean, twin.mean.size(), 2e-6, "saved_mean");
      test::expect_near(layer.saved_rstd, twin.rstd, twin.rstd.size(), 2e-5, "saved_rstd");
      test::expect_near(layer.y, twin.y, twin.y.size(), test::tolerance(c.type), "y");
      // In a group of few values rstd is up to 1/√epsilon and dx is a small difference of large numbers.
      const double slack = c.pixels * c.channels / c.groups <= 4 ? 30.0 : 1.0;
      test::expect_near(layer.dx, twin.dx, twin.dx.size(), slack * test::tolerance(c.type), "dx");
      // The logistic function that is for bf16 is good to 2^-13; a sum over pixels adds such errors up.
      const double sums = c.type == DType::bf16 && c.silu ? 1e-3 : 5e-5;
      test::expect_near(layer.dgamma, twin.dgamma, twin.dgamma.size(), slack * sums, "dgamma");
      test::expect_near(layer.dbeta, twin.dbeta, twin.dbeta.size(), sums, "dbeta");
      const double rounding = c.type == DType::bf16 ? 0x1p-8 : 0.0;
      if (c.add)
        test::expect_near(layer.dadd, twin.dadd, twin.dadd.size(), slack * (3.0 * sums + rounding), "dadd");
      if (c.scale_shift) {
        test::expect_near(layer.dscale_shift, twin.dscale_shift, twin.dscale_shift.size(),
                          slack * (sums + rounding), "dscale_shift");
      }
      EXPECT_TRUE(layer.guards_are_intact());
    });
  }
}

/// Σ dy·y of the twin.
double weighted_output(Twin twin) {
  twin.run();
  double sum = 0.0;
  for (std::size_t i = 0; i < twin.y.size(); ++i) sum += twin.dy[i] * twin.y[i];
  return sum;
}

void check_by_differences(const Twin& twin, std::vector<double> Twin::*variable, const Buffer& gradient,
                          const char* what) {
  const double h = 1e-4;
  for (std::size_t i = 0; i < (twin.*variable).size(); ++i) {
    Twin above = twin, below = twin;
    (above.*variable)[i] += h;
    (below.*variable)[i] -= h;
    const double slope = (weighted_output(above) - weighted_output(below)) / (2.0 * h);
    EXPECT_NEAR(slope, static_cast<double>(gradient[i]), 2e-5 * (1.0 + std::abs(slope))) << what << " " << i;
  }
}

TEST(GroupNorm, GradientsMatchFiniteDifferencesOfTheTwin) {
  for (const bool silu : {false, true}) {
    for (const Case& shape : {Case{2, 5, 6, 3}, Case{1, 4, 5, 5}, Case{2, 3, 4, 1}}) {
      Case c = shape;
      c.add = c.scale_shift = true;
      c.silu = silu;
      SCOPED_TRACE(c.name());
      test::for_each_isa([&](CpuIsa isa) {
        Layer layer(c);
        layer.run(isa);
        const Twin twin = layer.twin();
        check_by_differences(twin, &Twin::x, layer.dx, "dx");
        check_by_differences(twin, &Twin::add, layer.dadd, "dadd");
        check_by_differences(twin, &Twin::scale_shift, layer.dscale_shift, "dscale_shift");
        check_by_differences(twin, &Twin::gamma, layer.dgamma, "dgamma");
        check_by_differences(twin, &Twin::beta, layer.dbeta, "dbeta");
      });
    }
  }
}

TEST(GroupNorm, ALargeCommonOffsetCostsNoPrecision) {
  // Squares of 1000 leave f32 no digits for a variance of about 1: E[u²] − E[u]² would be noise.
  for (const Case& shape : {Case{2, 900, 24, 3}, Case{1, 50, 65, 65}, Case{1, 4096, 64, 32}}) {
    for (const bool through_add : {false, true}) {
      Case c = shape;
      c.add = through_add;
      SCOPED_TRACE(c.name());
      test::for_each_isa([&](CpuIsa isa) {
        Layer layer(c, 1000.0f, through_add ? -1000.0f : 0.0f);
        layer.run(isa);
        const Twin twin = layer.twin();
        test::expect_near(layer.saved_rstd, twin.rstd, twin.rstd.size(), 1e-5, "saved_rstd");
        test::expect_near(layer.y, twin.y, twin.y.size(), 3e-5, "y");
        // The saved mean is an f32 number: near 1000 it is off by up to 3e-5.
        test::expect_near(layer.dx, twin.dx, twin.dx.size(), 1e-4, "dx");
      });
    }
  }
}

TEST(GroupNorm, SavedStatisticsAreOptional) {
  test::for_each_isa([](CpuIsa isa) {
    Layer with(Case{2, 65, 12, 4}), without(Case{2, 65, 12, 4});
    GroupNormForwardArgs args = without.forward_args();
    args.saved_mean = args.saved_rstd = nullptr;
    DDPMTS_RUN_KERNEL(isa, group_norm_forward, args);
    DDPMTS_RUN_KERNEL(isa, group_norm_forward, with.forward_args());
    EXPECT_EQ(with.y.bytes(), without.y.bytes());
  });
}

#if DDPMTS_CPU_TESTS
TEST(GroupNorm, SameBitsInEveryRunAndThreadCount) {
  const int threads = omp_get_max_threads();
  for (const Case& shape : {Case{1, 4099, 36, 12}, Case{3, 1031, 64, 32}, Case{8, 512, 16, 4}}) {
    for (const DType type : {DType::f32, DType::bf16}) {
      Case c = shape;
      c.type = type;
      c.add = c.scale_shift = c.silu = true;
      SCOPED_TRACE(c.name());
      test::for_each_isa([&](CpuIsa isa) {
        std::vector<Layer> runs;
        for (const int count : {1, 2, 2, 3}) {
          omp_set_num_threads(count);
          runs.emplace_back(c);
          runs.back().run(isa);
        }
        omp_set_num_threads(threads);
        for (const Layer& run : runs) {
          EXPECT_EQ(run.y.bytes(), runs[0].y.bytes());
          EXPECT_EQ(run.saved_rstd.bytes(), runs[0].saved_rstd.bytes());
          EXPECT_EQ(run.dx.bytes(), runs[0].dx.bytes());
          EXPECT_EQ(run.dadd.bytes(), runs[0].dadd.bytes());
          EXPECT_EQ(run.dscale_shift.bytes(), runs[0].dscale_shift.bytes());
          EXPECT_EQ(run.dgamma.bytes(), runs[0].dgamma.bytes());
          EXPECT_EQ(run.dbeta.bytes(), runs[0].dbeta.bytes());
        }
      });
    }
  }
}
#endif

TEST(GroupNorm, NanStaysInItsGroup) {
  for (const DType type : {DType::f32, DType::bf16}) {
    test::for_each_isa([&](CpuIsa isa) {
      Layer layer(Case{2, 9, 18, 3, type, false, false, true});
      layer.x.set(20, std::nanf(""));  // picture 0, pixel 1, channel 2: group 0
      DDPMTS_RUN_KERNEL(isa, group_norm_forward, layer.forward_args());
      for (std::size_t i = 0; i < layer.y.count(); ++i) {
        EXPECT_EQ(std::isnan(layer.y[i]), i < 9 * 18 && i % 18 < 6) << i;
      }
    });
  }
}

TEST(GroupNorm, NoPicturesIsNothingToDo) {
  test::for_each_isa([](CpuIsa isa) {
    Layer layer(Case{0, 9, 6, 3});
    layer.dgamma.set(0, 7.0f);
    layer.run(isa);
    for (std::size_t c = 0; c < 6; ++c) EXPECT_EQ(layer.dgamma[c], 0.0f);
  });
}

TEST(GroupNorm, RefusesWrongArguments) {
  Layer layer(Case{1, 4, 6, 3, DType::f32, true, true, false});
  const auto refuses = [&](auto change) {
    GroupNormForwardArgs forward = layer.forward_args();
    change(forward);
    EXPECT_THROW(DDPMTS_RUN_KERNEL(CpuIsa::baseline, group_norm_forward, forward), std::invalid_argument);
    GroupNormBackwardArgs backward = layer.backward_args();
    change(backward);
    EXPECT_THROW(DDPMTS_RUN_KERNEL(CpuIsa::baseline, group_norm_backward, backward), std::invalid_argument);
  };
  refuses([](auto& args) { args.groups = 4; });
  refuses([](auto& args) { args.groups = 0; });
  refuses([](auto& args) { args.pixels = 0; });
  refuses([](auto& args) { args.channels = 0; });
  refuses([](auto& args) { args.n = -1; });
  refuses([](auto& args) { args.type = DType::u8; });
  for (int missing = 0; missing < 2; ++missing) {
    GroupNormBackwardArgs args = layer.backward_args();
    (missing == 0 ? args.dadd : args.dscale_shift) = nullptr;
    EXPECT_THROW(DDPMTS_RUN_KERNEL(CpuIsa::baseline, group_norm_backward, args), std::invalid_argument);
    args = layer.backward_args();
    (missing == 0 ? args.add : args.scale_shift) = nullptr;
    EXPECT_THROW(DDPMTS_RUN_KERNEL(CpuIsa::baseline, group_norm_backward, args), std::invalid_argument);
  }
}

}  // namespace
}  // namespace ddpmts::kernels
