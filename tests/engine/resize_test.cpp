// Bilinear resizing and concatenation as an operation.
#include "engine/ops.h"
#include "tests/engine/gradient_check.h"
#include "tests/engine/reference.h"

namespace ddpmts::test {
namespace {

struct Joined {
  std::vector<Shape> inputs;
  std::int64_t h, w;
};

const Joined kCases[] = {
    {{{2, 13, 9, 5}}, 13, 9},                               // a copy
    {{{2, 13, 9, 5}}, 26, 18},                              // twice the size
    {{{2, 13, 9, 5}, {2, 1, 1, 3}, {2, 4, 11, 1}}, 13, 9},  // one of each kind
    {{{1, 7, 5, 17}, {1, 14, 10, 16}}, 5, 13},              // smaller one way, larger the other
    {{{3, 1, 1, 1}}, 1, 1},
    {{{1, 8, 8, 64}, {1, 4, 4, 128}}, 8, 8},
};

class Resize : public EngineTest {};
DDPMTS_ON_EVERY_PLACEMENT(Resize);

TEST_P(Resize, MatchesTheLoopWithItsGradients) {
  for (const Joined& c : kCases) {
    std::vector<Tensor> inputs;
    std::int64_t total = 0;
    for (std::size_t i = 0; i < c.inputs.size(); ++i) {
      inputs.push_back(random_tensor(c.inputs[i], GetParam(), 1 + i));
      inputs.back().set_needs_grad();
      total += c.inputs[i][3];
    }
    const Shape out{c.inputs[0][0], c.h, c.w, total};
    SCOPED_TRACE(out.text());
    const Tensor y = concat_resized(inputs, c.h, c.w);
    ASSERT_EQ(y.shape(), out);
    const Tensor dy = random_tensor(out, GetParam(), 10);
    backward_from(y, dy);

    Doubles expected(static_cast<std::size_t>(out.count()));
    const Doubles dys = doubles(dy);
    std::int64_t offset = 0;
    for (const Tensor& x : inputs) {
      const ResizeShape s{x.dim(0), x.dim(1), x.dim(2), c.h, c.w, x.dim(3), total, offset};
      const Doubles xs = doubles(x);
      Doubles dx(xs.size());
      for_each_resize_tap(s, [&](std::size_t src, std::size_t dst, double weight) {
        expected[dst] += weight * xs[src];
        dx[src] += weight * dys[dst];
      });
      expect_close(x.grad(), dx, tolerance(type()), "dx of " + x.shape().text());
      offset += x.dim(3);
    }
    expect_close(y, expected, tolerance(type()), "y");
  }
}

class ResizeTape : public TapeTest {};

TEST_F(ResizeTape, GradientsMatchFiniteDifferences) {
  const Tensor a = random_tensor({2, 13, 9, 5}, {}, 1), b = random_tensor({2, 1, 1, 3}, {}, 2);
  const Tensor frozen = random_tensor({2, 4, 5, 2}, {}, 3);
  // a appears twice: its two gradients add.
  check_gradients({leaf("a", a), leaf("b", b)}, [&] { return concat_resized({a, b, frozen, a}, 7, 12); });
  EXPECT_FALSE(frozen.grad());
}

TEST_F(ResizeTape, SaysWhatDoesNotFit) {
  const Tensor x = random_tensor({2, 3, 3, 4}, {}, 1);
  expect_error<ShapeError>([] { concat_resized({}, 3, 3); }, {"concat_resized", "no inputs"});
  expect_error<ShapeError>(
      [&] {
        concat_resized({x, random_tensor({1, 3, 3, 4}, {}, 1)}, 3, 3);
      },
      {"concat_resized", "[2, 3, 3, 4]", "[1, 3, 3, 4]"});
  expect_error<ShapeError>([&] { concat_resized({x, x.cast(DType::bf16)}, 3, 3); }, {"concat_resized"});
  expect_error<ShapeError>([&] { concat_resized({random_tensor({3, 3, 4}, {}, 1)}, 3, 3); }, {"4 dim"});
  expect_error<ShapeError>([&] { concat_resized({Tensor::zeros({1, 2, 2, 3}, DType::u8)}, 3, 3); }, {"u8"});
  expect_error<ShapeError>([&] { concat_resized({x}, 0, 3); }, {"concat_resized", "0 x 3"});
  expect_error<ShapeError>(
      [&] {
        concat_resized({random_tensor({2, 0, 3, 4}, {}, 1)}, 3, 3);
      },
      {"[2, 0, 3, 4]"});
}

}  // namespace
}  // namespace ddpmts::test
