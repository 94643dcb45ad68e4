#include "kernels/noise_loss.h"

#include <stdexcept>

#include "tests/kernels/kernel_test.h"

#if DDPMTS_CPU_TESTS
#include <omp.h>
#endif

namespace ddpmts::kernels {
namespace {

using test::Array;
using test::Buffer;
using test::random_floats;

struct Twin {
  std::vector<double> per_picture;
  double loss = 0.0;
};

Twin twin_of(std::size_t n, const std::vector<double>& prediction, const Array<float>& noise) {
  Twin twin;
  const std::size_t count = prediction.size() / n;
  for (std::size_t i = 0; i < n; ++i) {
    double sum = 0.0;
    for (std::size_t e = i * count; e < (i + 1) * count; ++e) {
      const double d = prediction[e] - static_cast<double>(noise[e]);
      sum += d * d;
    }
    twin.per_picture.push_back(sum / static_cast<double>(count));
    twin.loss += twin.per_picture.back() / static_cast<double>(n);
  }
  return twin;
}

/// The arrays of one call.
struct Call {
  Call(DType type, std::int64_t n, std::int64_t count)
      : prediction(type, random_floats(n * count, 1, -3.0f, 3.0f)),
        gradient(type, n * count),
        noise(random_floats(n * count, 2, -3.0f, 3.0f)),
        per_picture(static_cast<std::size_t>(n)) {
    args.type = type;
    args.n = n;
    args.count = count;
    args.prediction = prediction.data();
    args.noise = noise.data();
    args.per_picture = per_picture.data();
    args.loss = loss.data();
    args.grad_loss = grad_loss.data();
    args.prediction_grad = gradient.data();
  }
  Call(const Call&) = delete;
  Buffer prediction, gradient;
  Array<float> noise, per_picture, loss{-1.0f}, grad_loss{0.7f};
  NoiseLossArgs args;
};

TEST(NoiseLoss, MatchesThePlainTwin) {
  for (const auto& [n, count] :
       {std::pair{1, 1}, {3, 1}, {2, 17}, {5, 63}, {1, 65}, {2, 3 * 65 * 65}, {3, 40000}}) {
    for (const DType type : {DType::f32, DType::bf16}) {
      SCOPED_TRACE(::testing::Message() << n << "x" << count << " " << name_of(type));
      test::for_each_isa([&, n = n, count = count](CpuIsa isa) {
        Call call(type, n, count);
        DDPMTS_RUN_KERNEL(isa, noise_loss_forward, call.args);
        DDPMTS_RUN_KERNEL(isa, noise_loss_backward, call.args);
        const std::vector<float> prediction = call.prediction.floats();
        const Twin twin =
            twin_of(static_cast<std::size_t>(n), {prediction.begin(), prediction.end()}, call.noise);
        EXPECT_NEAR(call.loss[0], twin.loss, 2e-6 * (1.0 + twin.loss));
        test::expect_near(call.per_picture, twin.per_picture, twin.per_picture.size(), 2e-6, "per_picture");
        const double scale = double(0.7f) * 2.0 / static_cast<double>(prediction.size());
        for (std::size_t i = 0; i < prediction.size(); ++i) {
          const double expected =
              scale * (static_cast<double>(prediction[i]) - static_cast<double>(call.noise[i]));
          const double rounding = type == DType::bf16 ? 0x1p-8 : 1e-6;
          ASSERT_NEAR(call.gradient[i], expected, std::abs(expected) * rounding + 1e-40) << i;
        }
        EXPECT_TRUE(call.gradient.guard_is_intact());
      });
    }
  }
}

TEST(NoiseLoss, GradientMatchesFiniteDifferencesOfTheTwin) {
  Call call(DType::f32, 2, 11);
  DDPMTS_RUN_KERNEL(CpuIsa::baseline, noise_loss_backward, call.args);
  const std::vector<float> prediction = call.prediction.floats();
  for (std::size_t i = 0; i < prediction.size(); ++i) {
    std::vector<double> above(prediction.begin(), prediction.end()), below = above;
    above[i] += 1e-3;
    below[i] -= 1e-3;
    const double slope = (twin_of(2, above, call.noise).loss - twin_of(2, below, call.noise).loss) / 2e-3;
    EXPECT_NEAR(call.gradient[i], double(0.7f) * slope, 1e-6) << i;
  }
}

#if DDPMTS_CPU_TESTS
TEST(NoiseLoss, SameBitsWhateverTheThreadCount) {
  const int threads = omp_get_max_threads();
  test::for_each_isa([&](CpuIsa isa) {
    Call first(DType::bf16, 3, 50001);
    DDPMTS_RUN_KERNEL(isa, noise_loss_forward, first.args);
    for (const int count : {1, 2, 3}) {
      omp_set_num_threads(count);
      Call call(DType::bf16, 3, 50001);
      DDPMTS_RUN_KERNEL(isa, noise_loss_forward, call.args);
      EXPECT_EQ(call.loss[0], first.loss[0]);
      EXPECT_EQ(call.per_picture, first.per_picture);
    }
    omp_set_num_threads(threads);
  });
}
#endif

TEST(NoiseLoss, NanReachesTheLossOfItsPicture) {
  test::for_each_isa([](CpuIsa isa) {
    Call call(DType::f32, 2, 40);
    call.prediction.set(45, std::nanf(""));
    DDPMTS_RUN_KERNEL(isa, noise_loss_forward, call.args);
    EXPECT_TRUE(std::isnan(call.loss[0]));
    EXPECT_FALSE(std::isnan(call.per_picture[0]));
    EXPECT_TRUE(std::isnan(call.per_picture[1]));
  });
}

TEST(NoiseLoss, RefusesWrongArguments) {
  Call call(DType::f32, 2, 3);
  for (int wrong = 0; wrong < 3; ++wrong) {
    NoiseLossArgs args = call.args;
    if (wrong == 0) args.n = 0;
    if (wrong == 1) args.count = 0;
    if (wrong == 2) args.type = DType::u8;
    EXPECT_THROW(DDPMTS_RUN_KERNEL(CpuIsa::baseline, noise_loss_forward, args), std::invalid_argument);
    EXPECT_THROW(DDPMTS_RUN_KERNEL(CpuIsa::baseline, noise_loss_backward, args), std::invalid_argument);
  }
}

}  // namespace
}  // namespace ddpmts::kernels
