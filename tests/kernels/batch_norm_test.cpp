#include "kernels/batch_norm.h"

#include <array>

#include "bench/shapes.h"
#include "tests/kernels/kernel_test.h"

#if DDPMTS_CPU_TESTS
#include <omp.h>
#endif

namespace ddpmts::kernels {
namespace {

using test::Buffer;
using test::random_floats;

struct Case {
  std::int64_t rows, channels;
  DType type;
  bool residual, relu;

  std::string name() const {
    return std::to_string(rows) + "x" + std::to_string(channels) + " " + name_of(type) +
           (residual ? " +residual" : "") + (relu ? " +relu" : "");
  }
};

std::vector<Case> all_cases() {
  std::vector<std::array<std::int64_t, 2>> shapes = {{1, 3},    {2, 16},   {7, 1},   {64, 32},   {65, 5},
                                                     {129, 65}, {90, 200}, {600, 7}, {2500, 33}, {5000, 64}};
  for (const bench::MapShape& map : bench::kOdd) shapes.push_back({2 * map.pixels(), map.c});
  const bench::MapShape& coarsest = std::end(bench::kDetector256)[-1];
  shapes.push_back({coarsest.pixels(), coarsest.c});
  std::vector<Case> cases;
  for (const auto& shape : shapes) {
    for (const DType type : {DType::f32, DType::bf16}) {
      for (const bool residual : {false, true}) {
        for (const bool relu : {false, true}) cases.push_back(Case{shape[0], shape[1], type, residual, relu});
      }
    }
  }
  return cases;
}

/// One layer's arrays, filled reproducibly.
struct Layer {
  explicit Layer(const Case& c, float offset = 0.5f)
      : spec(c),
        x(c.type, random_floats(c.rows * c.channels, 1, offset - 2.0f, offset + 2.0f)),
        residual(c.type, random_floats(c.rows * c.channels, 2)),
        dy(c.type, random_floats(c.rows * c.channels, 3)),
        y(c.type, c.rows * c.channels),
        dx(c.type, c.rows * c.channels),
        dresidual(c.type, c.rows * c.channels),
        gamma(DType::f32, random_floats(c.channels, 4, 0.5f, 1.5f)),
        beta(DType::f32, random_floats(c.channels, 5)),
        running_mean(DType::f32, random_floats(c.channels, 6)),
        running_var(DType::f32, random_floats(c.channels, 7, 0.5f, 2.0f)),
        saved_mean(DType::f32, c.channels),
        saved_rstd(DType::f32, c.channels),
        dgamma(DType::f32, c.channels),
        dbeta(DType::f32, c.channels) {}

  BatchNormForwardArgs forward_args(bool training) {
    BatchNormForwardArgs args;
    args.type = spec.type;
    args.rows = spec.rows;
    args.channels = spec.channels;
    args.x = x.data();
    args.residual = spec.residual ? residual.data() : nullptr;
    args.y = y.data();
    args.gamma = floats(gamma);
    args.beta = floats(beta);
    args.relu = spec.relu;
    args.training = training;
    args.running_mean = floats(running_mean);
    args.running_var = floats(running_var);
    args.saved_mean = training ? floats(saved_mean) : nullptr;
    args.saved_rstd = training ? floats(saved_rstd) : nullptr;
    return args;
  }
  BatchNormBackwardArgs backward_args() {
    BatchNormBackwardArgs args;
    args.type = spec.type;
    args.rows = spec.rows;
    args.channels = spec.channels;
    args.x = x.data();
    args.y = y.data();
    args.dy = dy.data();
    args.dx = dx.data();
    args.dresidual = spec.residual ? dresidual.data() : nullptr;
    args.gamma = floats(gamma);
    args.saved_mean = floats(saved_mean);
    args.saved_rstd = floats(saved_rstd);
    args.dgamma = floats(dgamma);
    args.dbeta = floats(dbeta);
    args.relu = spec.relu;
    return args;
  }
  bool guards_are_intact() const {
    for (const Buffer* b :
         {&y, &dx, &dresidual, &running_mean, &running_var, &saved_mean, &saved_rstd, &dgamma, &dbeta}) {
      if (!b->guard_is_intact()) return false;
    }
    return true;
  }
  static float* floats(Buffer& b) { return static_cast<float*>(b.data()); }

  Case spec;
  Buffer x, residual, dy, y, dx, dresidual;
  Buffer gamma, beta, running_mean, running_var, saved_mean, saved_rstd, dgamma, dbeta;
};

struct Statistics {
  std::vector<double> mean, variance;  // biased
};

Statistics statistics_of(const Layer& layer) {
  const std::size_t rows = static_cast<std::size_t>(layer.spec.rows);
  const std::size_t channels = static_cast<std::size_t>(layer.spec.channels);
  Statistics s{std::vector<double>(channels), std::vector<double>(channels)};
  for (std::size_t i = 0; i < rows * channels; ++i)
    s.mean[i % channels] += layer.x[i] / static_cast<double>(rows);
  for (std::size_t i = 0; i < rows * channels; ++i) {
    const double d = layer.x[i] - s.mean[i % channels];
    s.variance[i % channels] += d * d / static_cast<double>(rows);
  }
  return s;
}

std::vector<double> reference_output(const Layer& layer, const Statistics& s, double epsilon) {
  const std::size_t channels = static_cast<std::size_t>(layer.spec.channels);
  std::vector<double> y(layer.x.count());
  for (std::size_t i = 0; i < y.size(); ++i) {
    const std::size_t c = i % channels;
    y[i] =
        (layer.x[i] - s.mean[c]) / std::sqrt(s.variance[c] + epsilon) * static_cast<double>(layer.gamma[c]) +
        static_cast<double>(layer.beta[c]);
    if (layer.spec.residual) y[i] += static_cast<double>(layer.residual[i]);
    if (layer.spec.relu && y[i] < 0.0) y[i] = 0.0;
  }
  return y;
}

TEST(BatchNorm, TrainingForwardMatchesTheReference) {
  for (const Case& c : all_cases()) {
    SCOPED_TRACE(c.name());
    test::for_each_isa([&](CpuIsa isa) {
      Layer layer(c);
      const Layer before = layer;
      const BatchNormForwardArgs args = layer.forward_args(true);
      DDPMTS_RUN_KERNEL(isa, batch_norm_forward, args);
      const Statistics s = statistics_of(layer);
      const std::size_t channels = static_cast<std::size_t>(c.channels);
      const double epsilon = static_cast<double>(args.epsilon);
      std::vector<double> rstd(channels), mean(channels), variance(channels);
      for (std::size_t i = 0; i < channels; ++i) {
        rstd[i] = 1.0 / std::sqrt(s.variance[i] + epsilon);
        mean[i] = 0.9 * static_cast<double>(before.running_mean[i]) + 0.1 * s.mean[i];
        const double rows = static_cast<double>(c.rows);
        const double unbiased = c.rows > 1 ? s.variance[i] * rows / (rows - 1.0) : 0.0;
        variance[i] = 0.9 * static_cast<double>(before.running_var[i]) + 0.1 * unbiased;
      }
      test::expect_near(layer.saved_mean, s.mean, channels, 1e-6, "saved_mean");
      test::expect_near(layer.saved_rstd, rstd, channels, 2e-5, "saved_rstd");
      test::expect_near(layer.running_mean, mean, channels, 1e-6, "running_mean");
      test::expect_near(layer.running_var, variance, channels, 2e-6, "running_var");
      test::expect_near(layer.y, reference_output(layer, s, epsilon), layer.y.count(),
                        test::tolerance(c.type), "y");
      EXPECT_TRUE(layer.guards_are_intact());
    });
  }
}

TEST(BatchNorm, InferenceUsesAndKeepsTheRunningStatistics) {
  for (const Case& c : all_cases()) {
    SCOPED_TRACE(c.name());
    test::for_each_isa([&](CpuIsa isa) {
      Layer layer(c);
      const Layer before = layer;
      const BatchNormForwardArgs args = layer.forward_args(false);
      DDPMTS_RUN_KERNEL(isa, batch_norm_forward, args);
      Statistics s;
      for (std::size_t i = 0; i < static_cast<std::size_t>(c.channels); ++i) {
        s.mean.push_back(static_cast<double>(before.running_mean[i]));
        s.variance.push_back(static_cast<double>(before.running_var[i]));
      }
      const std::vector<double> expected = reference_output(layer, s, static_cast<double>(args.epsilon));
      test::expect_near(layer.y, expected, expected.size(), test::tolerance(c.type), "y");
      EXPECT_EQ(layer.running_mean.bytes(), before.running_mean.bytes());
      EXPECT_EQ(layer.running_var.bytes(), before.running_var.bytes());
      EXPECT_TRUE(layer.guards_are_intact());
    });
  }
}

TEST(BatchNorm, BackwardMatchesTheReference) {
  for (const Case& c : all_cases()) {
    SCOPED_TRACE(c.name());
    test::for_each_isa([&](CpuIsa isa) {
      Layer layer(c);
      const BatchNormForwardArgs forward = layer.forward_args(true);
      DDPMTS_RUN_KERNEL(isa, batch_norm_forward, forward);
      const BatchNormBackwardArgs args = layer.backward_args();
      DDPMTS_RUN_KERNEL(isa, batch_norm_backward, args);

      const Statistics s = statistics_of(layer);
      const std::size_t channels = static_cast<std::size_t>(c.channels);
      const double rows = static_cast<double>(c.rows);
      const std::size_t count = layer.x.count();
      std::vector<double> g(count), normalised(count), dgamma(channels), dbeta(channels), dx(count);
      for (std::size_t i = 0; i < count; ++i) {
        const std::size_t k = i % channels;
        g[i] = c.relu && !(layer.y[i] > 0.0f) ? 0.0 : static_cast<double>(layer.dy[i]);
        normalised[i] =
            (layer.x[i] - s.mean[k]) / std::sqrt(s.variance[k] + static_cast<double>(forward.epsilon));
        dbeta[k] += g[i];
        dgamma[k] += g[i] * normalised[i];
      }
      for (std::size_t i = 0; i < count; ++i) {
        const std::size_t k = i % channels;
        const double rstd = 1.0 / std::sqrt(s.variance[k] + static_cast<double>(forward.epsilon));
        dx[i] = static_cast<double>(layer.gamma[k]) * rstd *
                (g[i] - (dbeta[k] + normalised[i] * dgamma[k]) / rows);
      }
      test::expect_near(layer.dbeta, dbeta, channels, 1e-5, "dbeta");
      test::expect_near(layer.dgamma, dgamma, channels, 5e-5, "dgamma");
      // With one or two rows rstd is up to 1/√epsilon and dx is a small difference of large numbers.
      const double slack = c.rows <= 2 ? 10.0 : 1.0;
      test::expect_near(layer.dx, dx, count, slack * test::tolerance(c.type), "dx");
      if (c.residual) test::expect_near(layer.dresidual, g, count, 0.0, "dresidual");
      EXPECT_TRUE(layer.guards_are_intact());
    });
  }
}

/// Σ weight·y of a training forward in f32.
double weighted_output(CpuIsa isa, Layer& layer) {
  const BatchNormForwardArgs args = layer.forward_args(true);
  DDPMTS_RUN_KERNEL(isa, batch_norm_forward, args);
  double sum = 0.0;
  for (std::size_t i = 0; i < layer.y.count(); ++i) {
    sum += static_cast<double>(layer.dy[i]) * static_cast<double>(layer.y[i]);
  }
  return sum;
}

std::vector<bool> open_units(const Layer& layer) {
  std::vector<bool> open(layer.y.count());
  for (std::size_t i = 0; i < open.size(); ++i) open[i] = layer.y[i] > 0.0f;
  return open;
}

/// Compares `gradient` of weighted_output by `variable` with central differences, where no ReLU opens or closes.
void check_by_differences(CpuIsa isa, Layer& layer, Buffer& variable, const Buffer& gradient,
                          const char* what) {
  const double h = 1e-2;
  std::size_t checked = 0;
  for (std::size_t i = 0; i < variable.count(); ++i) {
    const float value = variable[i];
    variable.set(i, value + static_cast<float>(h));
    const double above = weighted_output(isa, layer);
    const std::vector<bool> open_above = open_units(layer);
    variable.set(i, value - static_cast<float>(h));
    const double below = weighted_output(isa, layer);
    const std::vector<bool> open_below = open_units(layer);
    variable.set(i, value);
    if (layer.spec.relu && open_above != open_below) continue;
    ++checked;
    EXPECT_NEAR((above - below) / (2.0 * h), static_cast<double>(gradient[i]), 2e-3) << what << " " << i;
  }
  EXPECT_GT(2 * checked, variable.count()) << what;
}

TEST(BatchNorm, GradientsMatchFiniteDifferences) {
  for (const bool residual : {false, true}) {
    for (const bool relu : {false, true}) {
      const Case c{12, 5, DType::f32, residual, relu};
      SCOPED_TRACE(c.name());
      test::for_each_isa([&](CpuIsa isa) {
        Layer layer(c);
        weighted_output(isa, layer);
        const BatchNormBackwardArgs args = layer.backward_args();
        DDPMTS_RUN_KERNEL(isa, batch_norm_backward, args);
        check_by_differences(isa, layer, layer.x, layer.dx, "dx");
        check_by_differences(isa, layer, layer.gamma, layer.dgamma, "dgamma");
        check_by_differences(isa, layer, layer.beta, layer.dbeta, "dbeta");
        if (residual) check_by_differences(isa, layer, layer.residual, layer.dresidual, "dresidual");
      });
    }
  }
}

TEST(BatchNorm, ALargeCommonOffsetCostsNoPrecision) {
  // Squares of 10^4 leave f32 no digits for a variance of about 1: E[x²] − E[x]² would be noise.
  for (const bool outliers : {false, true}) {
    test::for_each_isa([&](CpuIsa isa) {
      Layer layer(Case{5000, 19, DType::f32, false, false}, 1e4f);
      if (outliers) {  // in the first row, from which deviations are taken
        for (std::size_t c = 0; c < 19; ++c) layer.x.set(c, -1e4f + static_cast<float>(c) * 2000.0f);
      }
      const BatchNormForwardArgs args = layer.forward_args(true);
      DDPMTS_RUN_KERNEL(isa, batch_norm_forward, args);
      const Statistics s = statistics_of(layer);
      for (std::size_t c = 0; c < 19; ++c) {
        const double rstd = 1.0 / std::sqrt(s.variance[c] + static_cast<double>(args.epsilon));
        EXPECT_NEAR(static_cast<double>(layer.saved_rstd[c]) / rstd, 1.0, outliers ? 1e-4 : 1e-5) << c;
        EXPECT_NEAR(static_cast<double>(layer.saved_mean[c]), s.mean[c], 6e-4)
            << c;  // 10^4 has steps of 0.001
      }
      const std::vector<double> expected = reference_output(layer, s, static_cast<double>(args.epsilon));
      test::expect_near(layer.y, expected, expected.size(), outliers ? 1e-4 : 2e-5, "y");
    });
  }
}

#if DDPMTS_CPU_TESTS
TEST(BatchNorm, SameBitsInEveryRunAndThreadCount) {
  const int threads = omp_get_max_threads();
  for (const DType type : {DType::f32, DType::bf16}) {
    test::for_each_isa([&](CpuIsa isa) {
      const Case c{4099, 37, type, true, true};
      std::vector<Layer> runs;
      for (const int count : {1, 2, 2, 3}) {
        omp_set_num_threads(count);
        Layer layer(c);
        const BatchNormForwardArgs forward = layer.forward_args(true);
        DDPMTS_RUN_KERNEL(isa, batch_norm_forward, forward);
        const BatchNormBackwardArgs backward = layer.backward_args();
        DDPMTS_RUN_KERNEL(isa, batch_norm_backward, backward);
        runs.push_back(layer);
      }
      omp_set_num_threads(threads);
      for (const Layer& run : runs) {
        EXPECT_EQ(run.y.bytes(), runs[0].y.bytes());
        EXPECT_EQ(run.dx.bytes(), runs[0].dx.bytes());
        EXPECT_EQ(run.running_var.bytes(), runs[0].running_var.bytes());
        EXPECT_EQ(run.dgamma.bytes(), runs[0].dgamma.bytes());
        EXPECT_EQ(run.dbeta.bytes(), runs[0].dbeta.bytes());
      }
    });
  }
}
#endif

TEST(BatchNorm, NanReachesTheOutput) {
  test::for_each_isa([](CpuIsa isa) {
    Layer layer(Case{9, 18, DType::f32, false, true});
    layer.x.set(20, std::nanf(""));
    const BatchNormForwardArgs args = layer.forward_args(true);
    DDPMTS_RUN_KERNEL(isa, batch_norm_forward, args);
    for (std::size_t i = 0; i < layer.y.count(); ++i) EXPECT_EQ(std::isnan(layer.y[i]), i % 18 == 2) << i;
  });
}

}  // namespace
}  // namespace ddpmts::kernels
