// Max and average pooling with their gradients against plain loops.
#include <limits>

#include "engine/ops.h"
#include "engine/primitives.h"
#include "tests/engine/gradient_check.h"

namespace ddpmts::test {
namespace {

// Calls f(index of x, index of y, inputs in the window) for every input of every window.
template <class F>
void for_each_window_input(const PoolShape& s, F&& f) {
  for (std::int64_t n = 0; n < s.n; ++n) {
    for (std::int64_t p = 0; p < s.out_h(); ++p) {
      for (std::int64_t q = 0; q < s.out_w(); ++q) {
        const std::int64_t top = std::max<std::int64_t>(0, p * s.stride - s.padding);
        const std::int64_t bottom = std::min(s.h, p * s.stride - s.padding + s.window_h);
        const std::int64_t left = std::max<std::int64_t>(0, q * s.stride - s.padding);
        const std::int64_t right = std::min(s.w, q * s.stride - s.padding + s.window_w);
        for (std::int64_t i = top; i < bottom; ++i) {
          for (std::int64_t j = left; j < right; ++j) {
            for (std::int64_t c = 0; c < s.c; ++c) {
              f(static_cast<std::size_t>(((n * s.h + i) * s.w + j) * s.c + c),
                static_cast<std::size_t>(((n * s.out_h() + p) * s.out_w() + q) * s.c + c),
                static_cast<double>((bottom - top) * (right - left)));
            }
          }
        }
      }
    }
  }
}

struct PoolReference {
  Doubles y, dx;
};

PoolReference reference(const PoolShape& s, const Doubles& x, const Doubles& dy) {
  PoolReference result{Doubles(dy.size()), Doubles(x.size())};
  if (s.kind != PoolKind::max) {
    for_each_window_input(s, [&](std::size_t xi, std::size_t yi, double inputs) {
      if (s.kind == PoolKind::average_padded) inputs = static_cast<double>(s.window_h * s.window_w);
      result.y[yi] += x[xi] / inputs;
      result.dx[xi] += dy[yi] / inputs;
    });
    return result;
  }
  std::vector<std::size_t> best(dy.size(), x.size());
  for_each_window_input(s, [&](std::size_t xi, std::size_t yi, double) {
    if (best[yi] == x.size() || x[xi] > x[best[yi]]) best[yi] = xi;
  });
  for (std::size_t yi = 0; yi < dy.size(); ++yi) {
    result.y[yi] = x[best[yi]];
    result.dx[best[yi]] += dy[yi];
  }
  return result;
}

const PoolShape kMaxCases[] = {
    {PoolKind::max, 3, 13, 9, 5}, {PoolKind::max, 2, 12, 8, 32}, {PoolKind::max, 2, 1, 1, 5},
    {PoolKind::max, 1, 2, 3, 1},  {PoolKind::max, 1, 7, 1, 17},
};

// Average over whole maps and over padded windows.
const PoolShape kAverageCases[] = {
    {PoolKind::average, 3, 13, 9, 5, 13, 9, 1, 0},       {PoolKind::average, 2, 8, 8, 32, 8, 8, 1, 0},
    {PoolKind::average, 2, 1, 1, 5, 1, 1, 1, 0},         {PoolKind::average, 2, 13, 9, 5, 3, 3, 2, 1},
    {PoolKind::average_padded, 2, 13, 9, 5, 3, 3, 1, 1}, {PoolKind::average_padded, 1, 16, 8, 32, 4, 4, 2, 1},
};

// All different, in bf16 too, so that each window has one maximum.
Tensor distinct_values(const Shape& shape, const Placement& where) {
  std::vector<float> values(static_cast<std::size_t>(shape.count()));
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto shuffled = static_cast<std::uint32_t>(i * 2654435761u) % 251u;
    values[i] = (static_cast<float>(shuffled) - 125.0f) / 128.0f;
  }
  return Tensor::from_host<float>(shape, values, where.device).cast(where.type);
}

class Pooling : public EngineTest {
 protected:
  static void check(PoolShape s) {
    s.type = type();
    SCOPED_TRACE(
        fmt::format("{} {}x{}x{}x{}", s.kind == PoolKind::max ? "max" : "average", s.n, s.h, s.w, s.c));
    const Shape in{s.n, s.h, s.w, s.c}, out{s.n, s.out_h(), s.out_w(), s.c};
    const Tensor x = random_tensor(in, GetParam(), 1, -3.0f, -1.0f);  // below the padding's zero
    const Tensor dy = random_tensor(out, GetParam(), 2);
    const PoolReference expected = reference(s, doubles(x), doubles(dy));

    const Tensor y = poisoned(out, GetParam());
    pool_forward(device(), s, x.raw(), y.raw(), nullptr);
    expect_close(y, expected.y, s.kind == PoolKind::max ? 0.0 : tolerance(type()), "inference y");

    const auto bytes = static_cast<std::int64_t>(pool_workspace_bytes(device(), s));
    const Tensor workspace = Tensor::empty({bytes}, DType::u8, device());
    const Tensor trained = poisoned(out, GetParam());
    pool_forward(device(), s, x.raw(), trained.raw(), bytes > 0 ? workspace.raw() : nullptr);
    expect_same_values(trained, y, "training y");
    const Tensor dx = poisoned(in, GetParam());
    pool_backward(device(), s, dy.raw(), bytes > 0 ? workspace.raw() : nullptr, dx.raw());
    // An input of several windows gets the sum of their gradients; in bf16 the library rounds every partial sum.
    const bool overlap = s.stride < s.window_h && s.out_h() > 1;
    expect_close(dx, expected.dx, (overlap ? 8 : 1) * tolerance(type()), "dx");
  }
};
DDPMTS_ON_EVERY_PLACEMENT(Pooling);

TEST_P(Pooling, MaxMatchesTheLoop) {
  for (const PoolShape& s : kMaxCases) check(s);
}

TEST_P(Pooling, NotANumberIsNoMaximumThatGetsLost) {
  for (const std::int64_t at : {0, 4, 8}) {  // first, in between and last of the window
    PoolShape s{PoolKind::max, 1, 3, 3, 1, 3, 3, 1, 0};
    s.type = type();
    std::vector<float> values(9, 2.0f);
    values[static_cast<std::size_t>(at)] = std::numeric_limits<float>::quiet_NaN();
    const Tensor x = Tensor::from_host<float>({1, 3, 3, 1}, values, device()).cast(type());
    const Tensor y = poisoned({1, 1, 1, 1}, GetParam());
    pool_forward(device(), s, x.raw(), y.raw(), nullptr);
    EXPECT_TRUE(std::isnan(y.to_floats()[0])) << at;
  }
}

TEST_P(Pooling, AverageMatchesTheLoopAndNeedsNoRecord) {
  for (const PoolShape& s : kAverageCases) {
    EXPECT_EQ(pool_workspace_bytes(device(), s), 0u);
    check(s);
  }
}

TEST_P(Pooling, RecordedGradientsMatchTheLoop) {
  Tensor x = distinct_values({1, 13, 9, 2}, GetParam());
  x.set_needs_grad();
  PoolShape s{PoolKind::max, 1, 13, 9, 2};
  Tensor dy = random_tensor({1, 7, 5, 2}, GetParam(), 3);
  Tensor y = max_pool_3x3_stride2(x);
  backward_from(y, dy);
  PoolReference expected = reference(s, doubles(x), doubles(dy));
  expect_close(y, expected.y, 0.0, "max");
  expect_close(x.grad(), expected.dx, 8 * tolerance(type()), "max dx");

  x.set_grad(Tensor());
  dy = random_tensor({1, 1, 1, 2}, GetParam(), 4);
  y = global_average_pool(x);
  ASSERT_EQ(y.shape(), (Shape{1, 1, 1, 2}));
  backward_from(y, dy);
  s = {PoolKind::average, 1, 13, 9, 2, 13, 9, 1, 0};
  expected = reference(s, doubles(x), doubles(dy));
  expect_close(y, expected.y, tolerance(type()), "average");
  expect_close(x.grad(), expected.dx, tolerance(type()), "average dx");
}

class PoolingTape : public TapeTest {};

TEST_F(PoolingTape, GradientsMatchFiniteDifferences) {
  // Values 1/128 apart: a step of 1e-3 changes no maximum.
  const Tensor x = distinct_values({2, 9, 7, 1}, {});
  check_gradients({leaf("x", x)}, [&] { return max_pool_3x3_stride2(x); },
                  {.step = 1e-3f, .tolerance = 2e-3});
  const Tensor wide = random_tensor({3, 13, 9, 5}, {}, 5);
  check_gradients({leaf("x", wide)}, [&] { return global_average_pool(wide); });
}

TEST_F(PoolingTape, SaysWhatDoesNotFit) {
  expect_error<ShapeError>(
      [] {
        max_pool_3x3_stride2(random_tensor({4, 4, 2}, {}, 1));
      },
      {"max_pool", "[4, 4, 2]"});
  expect_error<ShapeError>([] { max_pool_3x3_stride2(Tensor::zeros({1, 4, 4, 2}, DType::u8)); }, {"u8"});
  expect_error<ShapeError>(
      [] {
        global_average_pool(random_tensor({4, 2}, {}, 1));
      },
      {"global_average_pool"});
  expect_error<ShapeError>([] { global_average_pool(Tensor::zeros({1, 4, 4, 2}, DType::i32)); }, {"i32"});
}

TEST(AveragePool, CountsWhatLiesOutsideAsZero) {
  const Tensor x = Tensor::from_host<float>({1, 2, 3, 1}, std::vector<float>{1, 2, 3, 4, 5, 6});
  const Tensor y = average_pool(x, 3, 1, 1);
  EXPECT_EQ(y.shape(), (Shape{1, 2, 3, 1}));
  expect_close(y, Doubles{12 / 9., 21 / 9., 16 / 9., 12 / 9., 21 / 9., 16 / 9.}, 1e-6, "3x3 means");
  EXPECT_EQ(average_pool(Tensor::zeros({2, 16, 12, 5}, DType::f32), 4, 2, 1).shape(), (Shape{2, 8, 6, 5}));
  expect_error<ShapeError>([&] { average_pool(x, 5, 1, 1); }, {"average_pool", "window 5"});
  expect_error<ShapeError>([&] { average_pool(x, 3, 0, 1); }, {"stride 0"});
  expect_error<ShapeError>([&] { average_pool(x, 3, 1, 3); }, {"padding 3"});
}

}  // namespace
}  // namespace ddpmts::test
