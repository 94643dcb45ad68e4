#include "kernels/segmentation_loss.h"

#include "tests/kernels/kernel_test.h"

#if DDPMTS_CPU_TESTS
#include <omp.h>
#endif

namespace ddpmts::kernels {
namespace {

using test::Array;
using test::Buffer;

/// The plain twin, in double, straight from the formulas in the header.
struct Twin {
  double focal = 0.0, l1 = 0.0;
};

double softplus(double x) { return x > 0.0 ? x + std::log1p(std::exp(-x)) : std::log1p(std::exp(x)); }

Twin pixel_twin(double z, bool inside, double gamma) {
  const double a = inside ? z : -z;
  const double u =
      a > 0.0 ? std::exp(-a) / (1.0 + std::exp(-a)) : 1.0 / (1.0 + std::exp(a));  // 1 − p_t = |p − mask|
  return Twin{std::pow(u, gamma) * softplus(-a), u};
}

Twin twin_of(const std::vector<float>& logits, const Array<std::uint8_t>& mask, double gamma) {
  Twin sum;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const Twin pixel = pixel_twin(double(logits[i]), mask[i] != 0, gamma);
    sum.focal += pixel.focal;
    sum.l1 += pixel.l1;
  }
  const double count = static_cast<double>(logits.size());
  return Twin{sum.focal / count, sum.l1 / count};
}

Array<std::uint8_t> mask_of(std::size_t count) {
  Array<std::uint8_t> mask(count);
  for (std::size_t i = 0; i < count; ++i) mask[i] = (i * 7 + i / 5) % 3 == 0 ? 1 : 0;
  return mask;
}

struct Result {
  Array<float> loss = Array<float>(3);
  Buffer grad;
};

Result run(CpuIsa isa, const Buffer& logits, const Array<std::uint8_t>& mask, float gamma, float focal_weight,
           float l1_weight) {
  Result result;
  result.grad = Buffer(logits.type(), static_cast<std::int64_t>(logits.count()));
  const Array<float> grad_loss = {1.0f};
  SegmentationLossArgs args;
  args.type = logits.type();
  args.count = static_cast<std::int64_t>(logits.count());
  args.logits = logits.data();
  args.mask = mask.data();
  args.gamma = gamma;
  args.focal_weight = focal_weight;
  args.l1_weight = l1_weight;
  args.loss = result.loss.data();
  args.grad_loss = grad_loss.data();
  args.grad_logits = result.grad.data();
  DDPMTS_RUN_KERNEL(isa, segmentation_loss_forward, args);
  DDPMTS_RUN_KERNEL(isa, segmentation_loss_backward, args);
  return result;
}

TEST(SegmentationLoss, MatchesThePlainTwin) {
  test::for_each_isa([](CpuIsa isa) {
    for (const DType type : {DType::f32, DType::bf16}) {
      for (const std::int64_t count : {1, 3, 15, 16, 17, 91, 1023, 4096, 30000}) {
        for (const float gamma : {0.0f, 1.0f, 2.0f, 2.5f, 4.0f}) {
          SCOPED_TRACE(::testing::Message() << name_of(type) << " count " << count << " gamma " << gamma);
          const Buffer logits(type, test::random_floats(count, 5, -9.0f, 9.0f));
          const Array<std::uint8_t> mask = mask_of(static_cast<std::size_t>(count));
          const Result result = run(isa, logits, mask, gamma, 1.5f, 0.5f);
          const Twin twin = twin_of(logits.floats(), mask, double(gamma));
          EXPECT_NEAR(result.loss[1], twin.focal, 2e-6 * twin.focal);
          EXPECT_NEAR(result.loss[2], twin.l1, 2e-6 * twin.l1);
          EXPECT_NEAR(result.loss[0], 1.5 * twin.focal + 0.5 * twin.l1, 2e-6 * (twin.focal + twin.l1) * 1.5);
        }
      }
    }
  });
}

// One pixel at a time, where nothing averages an error away; also the accuracy of the vector exponential and logarithm.
TEST(SegmentationLoss, EachPixelIsAccurate) {
  test::for_each_isa([](CpuIsa isa) {
    for (float z = -40.0f; z <= 40.0f; z += 0.37f) {
      for (const std::uint8_t inside : {std::uint8_t{0}, std::uint8_t{1}}) {
        const Result result = run(isa, Buffer(DType::f32, std::vector<float>{z}), {inside}, 1.0f, 1.0f, 1.0f);
        const Twin twin = pixel_twin(double(z), inside != 0, 1.0);
        ASSERT_NEAR(result.loss[1], twin.focal, 1.5e-6 * twin.focal) << "z " << z;
        ASSERT_NEAR(result.loss[2], twin.l1, 1e-6 * twin.l1) << "z " << z;
      }
    }
  });
}

TEST(SegmentationLoss, GradientMatchesFiniteDifferencesOfTheTwin) {
  test::for_each_isa([](CpuIsa isa) {
    for (const DType type : {DType::f32, DType::bf16}) {
      for (const float gamma : {0.0f, 2.0f, 2.5f, 4.0f}) {
        const std::int64_t count = 91;
        const Buffer logits(type, test::random_floats(count, 15, -8.0f, 8.0f));
        const Array<std::uint8_t> mask = mask_of(static_cast<std::size_t>(count));
        const Result result = run(isa, logits, mask, gamma, 1.5f, 0.5f);
        for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) {
          const double z = double(logits[i]), step = 1e-4;
          const Twin high = pixel_twin(z + step, mask[i] != 0, double(gamma));
          const Twin low = pixel_twin(z - step, mask[i] != 0, double(gamma));
          const double slope = (1.5 * (high.focal - low.focal) + 0.5 * (high.l1 - low.l1)) / (2.0 * step) /
                               static_cast<double>(count);
          const double relative = type == DType::bf16 ? 0x1p-8 : 3e-6;
          ASSERT_NEAR(result.grad[i], slope, relative * std::abs(slope) + 1e-9)
              << "gamma " << gamma << " z " << z;
        }
      }
    }
  });
}

TEST(SegmentationLoss, ExtremeLogitsStayFinite) {
  test::for_each_isa([](CpuIsa isa) {
    for (const DType type : {DType::f32, DType::bf16}) {
      for (const float size : {87.0f, 88.0f, 100.0f, 1e4f, 1e37f}) {
        const Buffer logits(type, std::vector<float>{size, -size, size, -size});
        const Result result = run(isa, logits, {1, 0, 0, 1}, 4.0f, 1.0f, 1.0f);
        const double value = double(logits[0]);
        EXPECT_NEAR(result.loss[1], value / 2.0,
                    1e-6 * value);  // two right, two wrong: focal is |z| where wrong
        EXPECT_FLOAT_EQ(result.loss[2], 0.5f);
        for (std::size_t i = 0; i < 4; ++i) ASSERT_TRUE(std::isfinite(result.grad[i])) << i;
        EXPECT_NEAR(result.grad[0], 0.0f, 1e-30f);
        EXPECT_NEAR(result.grad[1], 0.0f, 1e-30f);
        EXPECT_FLOAT_EQ(result.grad[2], 0.25f);
        EXPECT_FLOAT_EQ(result.grad[3], -0.25f);
      }
    }
  });
}

TEST(SegmentationLoss, L1GradientIsZeroWhereProbabilityEqualsMask) {
  test::for_each_isa([](CpuIsa isa) {
    const Result result =
        run(isa, Buffer(DType::f32, std::vector<float>{200.0f, -200.0f}), {1, 0}, 4.0f, 0.0f, 1.0f);
    EXPECT_EQ(result.loss[2], 0.0f);
    EXPECT_EQ(result.grad[0], 0.0f);
    EXPECT_EQ(result.grad[1], 0.0f);
  });
}

TEST(SegmentationLoss, NanReachesLossAndGradient) {
  test::for_each_isa([](CpuIsa isa) {
    for (const DType type : {DType::f32, DType::bf16}) {
      for (const std::int64_t count : {3, 40}) {
        for (const float gamma : {0.0f, 2.5f, 4.0f}) {
          Buffer logits(type, test::random_floats(count, 7));
          logits.set(1, std::nanf(""));
          const Result result = run(isa, logits, mask_of(static_cast<std::size_t>(count)), gamma, 1.0f, 1.0f);
          EXPECT_TRUE(std::isnan(result.loss[0]));
          EXPECT_TRUE(std::isnan(result.grad[1]));
          EXPECT_FALSE(std::isnan(result.grad[0]));
        }
      }
    }
  });
}

#if DDPMTS_CPU_TESTS
TEST(SegmentationLoss, SameBitsWhateverTheThreadCount) {
  const Buffer logits(DType::bf16, test::random_floats(50000, 9, -5.0f, 5.0f));
  const Array<std::uint8_t> mask = mask_of(50000);
  const int threads = omp_get_max_threads();
  std::vector<float> losses;
  for (const int count : {1, 2, 3, 7}) {
    omp_set_num_threads(count);
    losses.push_back(run(cpu_isa(), logits, mask, 4.0f, 1.0f, 1.0f).loss[0]);
  }
  omp_set_num_threads(threads);
  for (const float loss : losses) EXPECT_EQ(loss, losses[0]);
}
#endif

}  // namespace
}  // namespace ddpmts::kernels
