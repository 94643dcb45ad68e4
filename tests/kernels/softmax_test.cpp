#include "kernels/softmax.h"

#include <limits>
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

struct Shape {
  std::int64_t rows, columns;
};
const Shape kShapes[] = {{1, 1},   {3, 2},     {5, 15},   {4, 16},   {7, 17},  {2, 65},
                         {33, 64}, {129, 257}, {3, 1000}, {2, 1028}, {3, 1501}};

std::vector<double> plain_softmax(const std::vector<double>& x, const Shape& s, double scale) {
  std::vector<double> y(x.size());
  const std::size_t columns = static_cast<std::size_t>(s.columns);
  for (std::size_t r = 0; r < x.size(); r += columns) {
    double largest = -std::numeric_limits<double>::infinity(), sum = 0.0;
    for (std::size_t c = r; c < r + columns; ++c) largest = std::max(largest, scale * x[c]);
    for (std::size_t c = r; c < r + columns; ++c) sum += std::exp(scale * x[c] - largest);
    for (std::size_t c = r; c < r + columns; ++c) y[c] = std::exp(scale * x[c] - largest) / sum;
  }
  return y;
}

SoftmaxArgs args_of(DType type, const Shape& s, float scale, const Array<float>& x, Buffer& y) {
  SoftmaxArgs args;
  args.type = type;
  args.rows = s.rows;
  args.columns = s.columns;
  args.scale = scale;
  args.x = x.data();
  args.y = y.data();
  return args;
}

TEST(Softmax, ForwardMatchesThePlainTwin) {
  for (const Shape& s : kShapes) {
    for (const DType type : {DType::f32, DType::bf16}) {
      for (const float scale : {0.125f, 1.0f, -3.0f}) {
        for (const float offset : {0.0f, 1e4f}) {
          SCOPED_TRACE(::testing::Message()
                       << s.rows << "x" << s.columns << " " << name_of(type) << " " << scale);
          const Array<float> x = random_floats(s.rows * s.columns, 1, offset - 20.0f, offset + 20.0f);
          const std::vector<double> expected =
              plain_softmax({x.begin(), x.end()}, s, static_cast<double>(scale));
          test::for_each_isa([&](CpuIsa isa) {
            Buffer y(type, s.rows * s.columns);
            DDPMTS_RUN_KERNEL(isa, softmax_forward, args_of(type, s, scale, x, y));
            // scale·x is rounded to f32 before the largest is subtracted.
            const double products = 2e-7 * std::abs(static_cast<double>(scale * (20.0f + offset)));
            const double rounding = type == DType::bf16 ? 0x1p-8 : 0.0;
            for (std::size_t i = 0; i < expected.size(); ++i) {
              ASSERT_NEAR(y[i], expected[i], expected[i] * (1e-5 + products + rounding) + 1e-37) << i;
            }
            EXPECT_TRUE(y.guard_is_intact());
          });
        }
      }
    }
  }
}

TEST(Softmax, BackwardMatchesThePlainTwin) {
  for (const Shape& s : kShapes) {
    for (const DType type : {DType::f32, DType::bf16}) {
      SCOPED_TRACE(::testing::Message() << s.rows << "x" << s.columns << " " << name_of(type));
      test::for_each_isa([&](CpuIsa isa) {
        const Array<float> x = random_floats(s.rows * s.columns, 1, -3.0f, 3.0f);
        Buffer y(type, s.rows * s.columns), dx(DType::f32, s.rows * s.columns);
        const Buffer dy(type, random_floats(s.rows * s.columns, 2));
        SoftmaxArgs args = args_of(type, s, 0.7f, x, y);
        DDPMTS_RUN_KERNEL(isa, softmax_forward, args);
        args.dy = dy.data();
        args.dx = static_cast<float*>(dx.data());
        DDPMTS_RUN_KERNEL(isa, softmax_backward, args);
        const std::size_t columns = static_cast<std::size_t>(s.columns);
        std::vector<double> expected(x.size());
        for (std::size_t i = 0; i < expected.size(); ++i) {
          double dot = 0.0;
          for (std::size_t c = i / columns * columns; c < (i / columns + 1) * columns; ++c) {
            dot += static_cast<double>(y[c]) * static_cast<double>(dy[c]);
          }
          expected[i] = double(0.7f) * static_cast<double>(y[i]) * (static_cast<double>(dy[i]) - dot);
        }
        test::expect_near(dx, expected, expected.size(), 1e-6, "dx");
        EXPECT_TRUE(dx.guard_is_intact());
      });
    }
  }
}

TEST(Softmax, GradientMatchesFiniteDifferencesOfTheTwin) {
  const Shape s{3, 7};
  const Array<float> x = random_floats(21, 5, -2.0f, 2.0f), dy = random_floats(21, 6);
  const auto weighted = [&](const std::vector<double>& at) {
    const std::vector<double> y = plain_softmax(at, s, double(0.6f));
    double sum = 0.0;
    for (std::size_t i = 0; i < y.size(); ++i) sum += y[i] * static_cast<double>(dy[i]);
    return sum;
  };
  test::for_each_isa([&](CpuIsa isa) {
    Buffer y(DType::f32, 21);
    Array<float> dx(21);
    SoftmaxArgs args = args_of(DType::f32, s, 0.6f, x, y);
    DDPMTS_RUN_KERNEL(isa, softmax_forward, args);
    args.dy = dy.data();
    args.dx = dx.data();
    DDPMTS_RUN_KERNEL(isa, softmax_backward, args);
    for (std::size_t i = 0; i < x.size(); ++i) {
      std::vector<double> above(x.begin(), x.end()), below(x.begin(), x.end());
      above[i] += 1e-4;
      below[i] -= 1e-4;
      EXPECT_NEAR(dx[i], (weighted(above) - weighted(below)) / 2e-4, 1e-6) << i;
    }
  });
}

TEST(Softmax, MinusInfinityIsMaskedAndNanStaysInItsRow) {
  const float infinity = std::numeric_limits<float>::infinity();
  test::for_each_isa([&](CpuIsa isa) {
    for (const std::int64_t columns : {3, 19, 64}) {
      const std::size_t width = static_cast<std::size_t>(columns);
      Array<float> x = random_floats(2 * columns, 9);
      x[1] = -infinity;
      x[width + 1] = std::nanf("");
      Buffer y(DType::f32, 2 * columns);
      DDPMTS_RUN_KERNEL(isa, softmax_forward, args_of(DType::f32, {2, columns}, 1.0f, x, y));
      EXPECT_NEAR(y[1], 0.0f, 1e-37f);
      double sum = 0.0;
      for (std::size_t c = 0; c < width; ++c) {
        sum += static_cast<double>(y[c]);
        EXPECT_TRUE(std::isnan(y[width + c])) << c;
      }
      EXPECT_NEAR(sum, 1.0, 1e-6);
    }
  });
}

#if DDPMTS_CPU_TESTS
TEST(Softmax, SameBitsWhateverTheThreadCount) {
  const int threads = omp_get_max_threads();
  const Shape s{301, 129};
  const Array<float> x = random_floats(s.rows * s.columns, 3, -5.0f, 5.0f);
  test::for_each_isa([&](CpuIsa isa) {
    Buffer first(DType::bf16, s.rows * s.columns);
    DDPMTS_RUN_KERNEL(isa, softmax_forward, args_of(DType::bf16, s, 1.0f, x, first));
    for (const int count : {1, 3}) {
      omp_set_num_threads(count);
      Buffer y(DType::bf16, s.rows * s.columns);
      DDPMTS_RUN_KERNEL(isa, softmax_forward, args_of(DType::bf16, s, 1.0f, x, y));
      EXPECT_EQ(y.bytes(), first.bytes());
    }
    omp_set_num_threads(threads);
  });
}
#endif

TEST(Softmax, RefusesWrongArguments) {
  const Array<float> x(6);
  Buffer y(DType::f32, 6);
  SoftmaxArgs args = args_of(DType::f32, {2, 3}, 1.0f, x, y);
  args.type = DType::i32;
  EXPECT_THROW(DDPMTS_RUN_KERNEL(CpuIsa::baseline, softmax_forward, args), std::invalid_argument);
  EXPECT_THROW(DDPMTS_RUN_KERNEL(CpuIsa::baseline, softmax_backward, args), std::invalid_argument);
  args.type = DType::f32;
  args.columns = 0;
  EXPECT_THROW(DDPMTS_RUN_KERNEL(CpuIsa::baseline, softmax_forward, args), std::invalid_argument);
  args.columns = 3;
  args.rows = -1;
  EXPECT_THROW(DDPMTS_RUN_KERNEL(CpuIsa::baseline, softmax_backward, args), std::invalid_argument);
  args.rows = 0;
  EXPECT_NO_THROW(DDPMTS_RUN_KERNEL(CpuIsa::baseline, softmax_forward, args));
}

}  // namespace
}  // namespace ddpmts::kernels
