#include "kernels/gaussian_blur.h"

#include "tests/kernels/kernel_test.h"

namespace ddpmts::kernels {
namespace {

using test::Array;

/// Walks the border step by step, so that it shares nothing with the kernel's arithmetic.
std::size_t reflect(std::int64_t i, std::int64_t size) {
  while (i < 0 || i >= size) i = i < 0 ? -1 - i : 2 * size - 1 - i;
  return static_cast<std::size_t>(i);
}

/// The plain twin: the two-dimensional sum, in double.
std::vector<double> twin_of(const Array<float>& src, std::int64_t n, std::int64_t h, std::int64_t w,
                            float sigma) {
  const std::int64_t radius = static_cast<std::int64_t>(4.0 * double(sigma) + 0.5);
  std::vector<double> taps;
  double total = 0.0;
  for (std::int64_t i = -radius; i <= radius; ++i) {
    taps.push_back(sigma > 0.0f ? std::exp(-0.5 * double(i * i) / (double(sigma) * double(sigma))) : 1.0);
    total += taps.back();
  }
  std::vector<double> out;
  for (std::int64_t picture = 0; picture < n; ++picture) {
    const std::size_t first = static_cast<std::size_t>(picture * h * w);
    for (std::int64_t y = 0; y < h; ++y) {
      for (std::int64_t x = 0; x < w; ++x) {
        double sum = 0.0;
        for (std::int64_t dy = -radius; dy <= radius; ++dy) {
          for (std::int64_t dx = -radius; dx <= radius; ++dx) {
            const std::size_t at =
                first + reflect(y + dy, h) * static_cast<std::size_t>(w) + reflect(x + dx, w);
            sum += taps[static_cast<std::size_t>(dy + radius)] * taps[static_cast<std::size_t>(dx + radius)] *
                   double(src[at]);
          }
        }
        out.push_back(sum / (total * total));
      }
    }
  }
  return out;
}

Array<float> run(CpuIsa isa, const Array<float>& src, std::int64_t n, std::int64_t h, std::int64_t w,
                 float sigma) {
  Array<float> dst(src.size(), -99.0f);
  const GaussianBlurArgs args{n, h, w, sigma, src.data(), dst.data()};
  DDPMTS_RUN_KERNEL(isa, gaussian_blur, args);
  return dst;
}

TEST(GaussianBlur, MatchesThePlainTwin) {
  struct Shape {
    std::int64_t n, h, w;
    float sigma;
  };
  const std::vector<Shape> shapes = {{1, 1, 1, 4.0f},   {2, 3, 5, 4.0f},  {1, 7, 13, 1.0f},
                                     {2, 20, 33, 0.5f}, {1, 9, 70, 3.0f}, {1, 3, 1100, 2.0f},
                                     {1, 2, 520, 5.0f}, {1, 40, 3, 9.0f}};
  test::for_each_isa([&](CpuIsa isa) {
    for (const Shape& s : shapes) {
      SCOPED_TRACE(::testing::Message() << s.h << "x" << s.w << " sigma " << s.sigma);
      const Array<float> src = test::random_floats(s.n * s.h * s.w, 1);
      const std::vector<double> expected = twin_of(src, s.n, s.h, s.w, s.sigma);
      test::expect_near(run(isa, src, s.n, s.h, s.w, s.sigma), expected, expected.size(), 1e-6, "dst");
    }
  });
}

TEST(GaussianBlur, SigmaZeroCopies) {
  test::for_each_isa([](CpuIsa isa) {
    const Array<float> src = test::random_floats(2 * 7 * 13, 2);
    EXPECT_EQ(run(isa, src, 2, 7, 13, 0.0f), src);
  });
}

TEST(GaussianBlur, AConstantMapStaysAndTheLargestSigmaWorks) {
  test::for_each_isa([](CpuIsa isa) {
    EXPECT_EQ(gaussian_blur_radius(kGaussianBlurMaxSigma), kGaussianBlurMaxRadius);
    const Array<float> src(static_cast<std::size_t>(30 * 600), 0.75f);
    for (const float x : run(isa, src, 1, 30, 600, kGaussianBlurMaxSigma)) ASSERT_NEAR(x, 0.75f, 2e-6f);
  });
}

// Reflection about the outer edge keeps the sum of a map: every pixel's weight lands somewhere inside.
TEST(GaussianBlur, KeepsTheSum) {
  test::for_each_isa([](CpuIsa isa) {
    const Array<float> src = test::random_floats(64 * 64, 3, 0.0f, 1.0f);
    double before = 0.0, after = 0.0;
    for (const float x : src) before += double(x);
    for (const float x : run(isa, src, 1, 64, 64, 4.0f)) after += double(x);
    EXPECT_NEAR(after, before, 1e-5 * before);
  });
}

}  // namespace
}  // namespace ddpmts::kernels
