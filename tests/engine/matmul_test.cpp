// The matrix product in all its transpositions and the linear layer above it.
#include "engine/ops.h"
#include "engine/primitives.h"
#include "tests/engine/gradient_check.h"

namespace ddpmts::test {
namespace {

std::size_t at(std::int64_t row, std::int64_t column, std::int64_t columns) {
  return static_cast<std::size_t>(row * columns + column);
}

Doubles reference(const MatmulShape& s, const Doubles& a, const Doubles& b, const Doubles& bias) {
  Doubles c(static_cast<std::size_t>(s.m * s.n));
  for (std::int64_t i = 0; i < s.m; ++i) {
    for (std::int64_t j = 0; j < s.n; ++j) {
      double sum = bias.empty() ? 0.0 : bias[static_cast<std::size_t>(j)];
      for (std::int64_t l = 0; l < s.k; ++l) {
        sum += a[s.transpose_a ? at(l, i, s.m) : at(i, l, s.k)] *
               b[s.transpose_b ? at(j, l, s.k) : at(l, j, s.n)];
      }
      c[at(i, j, s.n)] = sum;
    }
  }
  return c;
}

class MatrixProduct : public EngineTest {};
DDPMTS_ON_EVERY_PLACEMENT(MatrixProduct);

TEST_P(MatrixProduct, MatchesTheLoopInEveryForm) {
  const std::array<std::int64_t, 3> sizes[] = {{13, 7, 5}, {1, 7, 5},    {13, 1, 5},   {13, 7, 1},
                                               {1, 1, 1},  {32, 64, 32}, {33, 65, 129}};
  for (const auto& [m, n, k] : sizes) {
    for (int form = 0; form < 8; ++form) {
      for (const DType result : {DType::f32, type()}) {
        const MatmulShape s{m, n, k, (form & 1) != 0, (form & 2) != 0, type(), result};
        const bool with_bias = form & 4;
        const Tensor a = random_tensor(s.transpose_a ? Shape{k, m} : Shape{m, k}, GetParam(), 1);
        const Tensor b = random_tensor(s.transpose_b ? Shape{n, k} : Shape{k, n}, GetParam(), 2);
        const Tensor bias = random_tensor({n}, {device(), DType::f32}, 3);
        const Tensor c = poisoned({m, n}, {device(), result});
        matmul(device(), s, a.raw(), b.raw(), with_bias ? bias.data<float>() : nullptr, c.raw());
        expect_close(c, reference(s, doubles(a), doubles(b), with_bias ? doubles(bias) : Doubles()),
                     tolerance(result),
                     fmt::format("{}x{}x{} {}{}{} to {}", m, n, k, s.transpose_a ? "T" : "N",
                                 s.transpose_b ? "T" : "N", with_bias ? " bias" : "", name_of(result)));
      }
    }
  }
}

TEST_P(MatrixProduct, LinearMatchesTheLoop) {
  for (const auto& [rows, in, out] : {std::array<std::int64_t, 3>{3, 13, 7}, {1, 5, 1}, {32, 64, 32}}) {
    Tensor x = random_tensor({rows, in}, GetParam(), 4);
    x.set_needs_grad();
    const ParameterPtr weight = random_parameter("weight", {out, in}, GetParam(), 5);
    const ParameterPtr bias = random_parameter("bias", {out}, {device(), DType::f32}, 6);
    const Tensor dy = random_tensor({rows, out}, GetParam(), 7);
    const Doubles w = doubles(weight->compute(type()));
    const Tensor y = linear(x, weight, bias);
    expect_close(y, reference({rows, out, in, false, true}, doubles(x), w, doubles(bias->value())),
                 tolerance(type()), "y");
    expect_close(linear(x, weight, nullptr), reference({rows, out, in, false, true}, doubles(x), w, {}),
                 tolerance(type()), "y without bias");
    backward_from(y, dy);
    expect_close(x.grad(), reference({rows, in, out}, doubles(dy), w, {}), tolerance(type()), "dx");
    expect_close(weight->grad(), reference({out, in, rows, true, false}, doubles(dy), doubles(x), {}), 1e-5,
                 "dw");
    expect_close(bias->grad(),
                 reference({1, out, rows}, Doubles(static_cast<std::size_t>(rows), 1.0), doubles(dy), {}),
                 1e-5, "dbias");
  }
}

class LinearTape : public TapeTest {};

TEST_F(LinearTape, GradientsMatchFiniteDifferences) {
  const Tensor x = random_tensor({5, 13}, {}, 8);
  const ParameterPtr weight = random_parameter("weight", {7, 13}, {}, 9);
  const ParameterPtr bias = random_parameter("bias", {7}, {}, 10);
  check_gradients({leaf("x", x), leaf(weight), leaf(bias)}, [&] { return linear(x, weight, bias); });
}

TEST_F(LinearTape, SaysWhatDoesNotFit) {
  const Tensor x = random_tensor({5, 13}, {}, 11);
  const ParameterPtr weight = random_parameter("weight", {7, 13}, {}, 12);
  const ParameterPtr other = random_parameter("other", {7, 12}, {}, 12);
  const ParameterPtr bias = random_parameter("bias", {6}, {}, 13);
  expect_error<ShapeError>([&] { linear(x, other, nullptr); }, {"linear", "[5, 13]", "[7, 12]"});
  expect_error<ShapeError>(
      [&] {
        linear(random_tensor({5, 13, 1}, {}, 11), weight, nullptr);
      },
      {"linear", "2 dim"});
  expect_error<ShapeError>([&] { linear(x, weight, bias); }, {"linear", "bias", "[6]", "[7, 13]"});
  expect_error<ShapeError>([&] { linear(Tensor::zeros({5, 13}, DType::u8), weight, nullptr); }, {"u8"});
}

}  // namespace
}  // namespace ddpmts::test
