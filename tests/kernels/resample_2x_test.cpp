#include "kernels/resample_2x.h"

#include <stdexcept>

#include "tests/kernels/kernel_test.h"

namespace ddpmts::kernels {
namespace {

using test::Buffer;
using test::random_floats;

struct Shape {
  std::int64_t n, h, w, channels;

  std::int64_t coarse() const { return n * h * w * channels; }
  /// Where the four fine values of a coarse one lie.
  std::vector<std::size_t> fine_of(std::int64_t at) const {
    const std::int64_t c = at % channels, j = at / channels % w, i = at / channels / w % h,
                       picture = at / channels / w / h;
    std::vector<std::size_t> places;
    for (const std::int64_t a : {0, 1}) {
      for (const std::int64_t b : {0, 1}) {
        places.push_back(
            static_cast<std::size_t>(((picture * 2 * h + 2 * i + a) * 2 * w + 2 * j + b) * channels + c));
      }
    }
    return places;
  }
};
const Shape kShapes[] = {{1, 1, 1, 1}, {2, 3, 5, 3},    {1, 7, 2, 65},
                         {3, 4, 4, 6}, {2, 16, 16, 64}, {1, 1, 9, 16}};

Resample2xArgs args_of(DType type, const Shape& s, float scale, const Buffer& x, Buffer& y) {
  return Resample2xArgs{type, s.n, s.h, s.w, s.channels, scale, x.data(), y.data()};
}

TEST(Resample2x, MatchesThePlainTwin) {
  for (const Shape& s : kShapes) {
    for (const DType type : {DType::f32, DType::bf16}) {
      for (const float scale : {1.0f, 0.25f}) {
        SCOPED_TRACE(::testing::Message()
                     << s.n << "x" << s.h << "x" << s.w << "x" << s.channels << " " << name_of(type));
        const Buffer coarse(type, random_floats(s.coarse(), 1)), fine(type, random_floats(4 * s.coarse(), 2));
        test::for_each_isa([&](CpuIsa isa) {
          Buffer spread(type, 4 * s.coarse()), gathered(type, s.coarse());
          DDPMTS_RUN_KERNEL(isa, spread_2x, args_of(type, s, scale, coarse, spread));
          DDPMTS_RUN_KERNEL(isa, gather_2x, args_of(type, s, scale, fine, gathered));
          for (std::int64_t at = 0; at < s.coarse(); ++at) {
            const std::size_t i = static_cast<std::size_t>(at);
            double sum = 0.0;
            for (const std::size_t place : s.fine_of(at)) {
              ASSERT_EQ(spread[place], coarse[i] * scale) << i;  // scales are powers of two: exact
              sum += static_cast<double>(fine[place]);
            }
            const double expected = sum * static_cast<double>(scale);
            ASSERT_NEAR(gathered[i], expected,
                        type == DType::bf16 ? 0x1p-8 * (4e-7 + std::abs(expected)) : 4e-7)
                << i;
          }
          EXPECT_TRUE(spread.guard_is_intact());
          EXPECT_TRUE(gathered.guard_is_intact());
        });
      }
    }
  }
}

TEST(Resample2x, TheTwoAreAdjoint) {
  const Shape s{2, 5, 3, 19};
  const Buffer coarse(DType::f32, random_floats(s.coarse(), 1)),
      fine(DType::f32, random_floats(4 * s.coarse(), 2));
  test::for_each_isa([&](CpuIsa isa) {
    Buffer spread(DType::f32, 4 * s.coarse()), gathered(DType::f32, s.coarse());
    DDPMTS_RUN_KERNEL(isa, spread_2x, args_of(DType::f32, s, 0.3f, coarse, spread));
    DDPMTS_RUN_KERNEL(isa, gather_2x, args_of(DType::f32, s, 0.3f, fine, gathered));
    double forward = 0.0, backward = 0.0;
    for (std::size_t i = 0; i < fine.count(); ++i) forward += double(spread[i]) * double(fine[i]);
    for (std::size_t i = 0; i < coarse.count(); ++i) backward += double(gathered[i]) * double(coarse[i]);
    EXPECT_NEAR(forward, backward, 1e-5);
  });
}

TEST(Resample2x, RefusesWrongArguments) {
  const Shape s{1, 2, 2, 3};
  const Buffer x(DType::f32, 4 * s.coarse());
  Buffer y(DType::f32, 4 * s.coarse());
  for (int wrong = 0; wrong < 5; ++wrong) {
    Resample2xArgs args = args_of(DType::f32, s, 1.0f, x, y);
    if (wrong == 0) args.type = DType::u8;
    if (wrong == 1) args.h = 0;
    if (wrong == 2) args.w = 0;
    if (wrong == 3) args.channels = 0;
    if (wrong == 4) args.n = -1;
    EXPECT_THROW(DDPMTS_RUN_KERNEL(CpuIsa::baseline, spread_2x, args), std::invalid_argument);
    EXPECT_THROW(DDPMTS_RUN_KERNEL(CpuIsa::baseline, gather_2x, args), std::invalid_argument);
  }
}

}  // namespace
}  // namespace ddpmts::kernels
