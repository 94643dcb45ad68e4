#include "kernels/normalize_rows.h"

#include <stdexcept>

#include "tests/kernels/kernel_test.h"

namespace ddpmts::kernels {
namespace {

using test::Array;
using test::Buffer;
using test::random_floats;

TEST(NormalizeRows, MatchesThePlainTwin) {
  for (const auto& [rows, columns] :
       {std::pair<std::int64_t, std::int64_t>{1, 1}, {3, 5}, {4, 16}, {300, 131}}) {
    for (const DType type : {DType::f32, DType::bf16}) {
      SCOPED_TRACE(::testing::Message() << rows << "x" << columns << " " << name_of(type));
      test::for_each_isa([&, rows = rows, columns = columns](CpuIsa isa) {
        const auto count = static_cast<std::size_t>(rows * columns),
                   width = static_cast<std::size_t>(columns);
        Buffer x(type, random_floats(rows * columns, 3, -2.0f, 2.0f)), dx(type, rows * columns);
        if (rows > 1) {
          for (std::size_t c = 0; c < width; ++c) x.set(width + c, 0.0f);  // the second row
        }
        const Array<float> dy = random_floats(rows * columns, 4);
        Array<float> y(count), inverse_norms(static_cast<std::size_t>(rows));
        NormalizeRowsArgs args;
        args.type = type;
        args.rows = rows;
        args.columns = columns;
        args.x = x.data();
        args.y = y.data();
        args.inverse_norms = inverse_norms.data();
        args.dy = dy.data();
        args.dx = dx.data();
        DDPMTS_RUN_KERNEL(isa, normalize_rows_forward, args);
        DDPMTS_RUN_KERNEL(isa, normalize_rows_backward, args);
        std::vector<double> expected_y(count), expected_dx(count);
        for (std::size_t begin = 0; begin < count; begin += width) {
          double square = 0.0, dot = 0.0;
          for (std::size_t i = begin; i < begin + width; ++i)
            square += std::pow(static_cast<double>(x[i]), 2);
          const double inverse = square > 0.0 ? 1.0 / std::sqrt(square) : 0.0;
          for (std::size_t i = begin; i < begin + width; ++i) {
            expected_y[i] = static_cast<double>(x[i]) * inverse;
            dot += expected_y[i] * static_cast<double>(dy[i]);
          }
          for (std::size_t i = begin; i < begin + width; ++i) {
            expected_dx[i] = inverse * (static_cast<double>(dy[i]) - dot * expected_y[i]);
          }
        }
        test::expect_near(y, expected_y, count, 1e-6, "y");
        test::expect_near(dx, expected_dx, count, test::tolerance(type), "dx");
        EXPECT_TRUE(dx.guard_is_intact());
      });
    }
  }
}

TEST(NormalizeRows, RefusesWrongArguments) {
  for (int wrong = 0; wrong < 3; ++wrong) {
    NormalizeRowsArgs args;
    args.rows = wrong == 0 ? -1 : 0;
    args.columns = wrong == 1 ? 0 : 3;
    args.type = wrong == 2 ? DType::i32 : DType::f32;
    EXPECT_THROW(DDPMTS_RUN_KERNEL(CpuIsa::baseline, normalize_rows_forward, args), std::invalid_argument)
        << wrong;
    EXPECT_THROW(DDPMTS_RUN_KERNEL(CpuIsa::baseline, normalize_rows_backward, args), std::invalid_argument)
        << wrong;
  }
}

}  // namespace
}  // namespace ddpmts::kernels
