#include "kernels/mask_downsample.h"

#include "tests/kernels/kernel_test.h"

namespace ddpmts::kernels {
namespace {

using test::Array;

struct Shape {
  std::int64_t n, src_h, src_w, dst_h, dst_w;
};

/// The plain twin: the interpolated mask, in double.
std::vector<double> interpolated(const Shape& s, const Array<std::uint8_t>& src) {
  const auto place = [](std::int64_t i, std::int64_t from, std::int64_t to) {
    return std::max(0.0, (double(i) + 0.5) * double(from) / double(to) - 0.5);
  };
  std::vector<double> out;
  for (std::int64_t n = 0; n < s.n; ++n) {
    for (std::int64_t i = 0; i < s.dst_h; ++i) {
      for (std::int64_t j = 0; j < s.dst_w; ++j) {
        const double y = place(i, s.src_h, s.dst_h), x = place(j, s.src_w, s.dst_w);
        const auto at = [&](std::int64_t row, std::int64_t column) {
          row = std::min(row, s.src_h - 1);
          column = std::min(column, s.src_w - 1);
          return double(src[static_cast<std::size_t>((n * s.src_h + row) * s.src_w + column)]);
        };
        const std::int64_t y0 = static_cast<std::int64_t>(y), x0 = static_cast<std::int64_t>(x);
        const double v = y - double(y0), u = x - double(x0);
        out.push_back((at(y0, x0) * (1 - u) + at(y0, x0 + 1) * u) * (1 - v) +
                      (at(y0 + 1, x0) * (1 - u) + at(y0 + 1, x0 + 1) * u) * v);
      }
    }
  }
  return out;
}

Array<std::uint8_t> random_mask(std::int64_t count, std::uint64_t step) {
  const Array<float> noise = test::random_floats(count, step);
  Array<std::uint8_t> mask(noise.size());
  for (std::size_t i = 0; i < mask.size(); ++i) mask[i] = noise[i] > 0.1f ? 1 : 0;
  return mask;
}

TEST(MaskDownsample, CutsTheInterpolatedMask) {
  const Shape shapes[] = {{1, 1, 1, 1, 1},  {2, 64, 64, 16, 16}, {1, 7, 13, 3, 5}, {3, 37, 21, 9, 21},
                          {1, 5, 4, 11, 9}, {2, 96, 64, 96, 64}, {1, 1, 50, 1, 7}, {1, 100, 1, 33, 1}};
  test::for_each_isa([&](CpuIsa isa) {
    for (const Shape& s : shapes) {
      for (const float threshold : {0.5f, 0.3f, 0.9f}) {
        SCOPED_TRACE(::testing::Message() << s.src_h << "x" << s.src_w << " to " << s.dst_h << "x" << s.dst_w
                                          << ", " << threshold);
        const Array<std::uint8_t> src = random_mask(s.n * s.src_h * s.src_w, 3);
        Array<std::uint8_t> dst(static_cast<std::size_t>(s.n * s.dst_h * s.dst_w) + 16, 7);
        const MaskDownsampleArgs args{s.n,     s.src_h,    s.src_w,    s.dst_h,
                                      s.dst_w, src.data(), dst.data(), threshold};
        DDPMTS_RUN_KERNEL(isa, mask_downsample, args);
        const std::vector<double> expected = interpolated(s, src);
        for (std::size_t i = 0; i < expected.size(); ++i) {
          // A value that is the threshold but for rounding may fall to either side.
          if (std::abs(expected[i] - double(threshold)) < 1e-5 && expected[i] != double(threshold)) continue;
          ASSERT_EQ(dst[i], expected[i] >= double(threshold) ? 1 : 0) << i << ": " << expected[i];
        }
        for (std::size_t i = expected.size(); i < dst.size(); ++i) ASSERT_EQ(dst[i], 7) << "behind the end";
      }
    }
  });
}

TEST(MaskDownsample, ExactlyTheThresholdIsInside) {
  test::for_each_isa([](CpuIsa isa) {
    const Array<std::uint8_t> src = {1, 0, 1, 0};  // every 2×2 mean is 1/2
    Array<std::uint8_t> dst(1, 7);
    const MaskDownsampleArgs args{1, 2, 2, 1, 1, src.data(), dst.data(), 0.5f};
    DDPMTS_RUN_KERNEL(isa, mask_downsample, args);
    EXPECT_EQ(dst[0], 1);
  });
}

}  // namespace
}  // namespace ddpmts::kernels
