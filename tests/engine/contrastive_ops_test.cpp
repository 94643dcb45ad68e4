// The contrastive loss against a double-precision twin, and its gradient against finite differences.
#include "engine/contrastive_ops.h"

#include "tests/engine/gradient_check.h"

namespace ddpmts::test {
namespace {

class ContrastiveOps : public EngineTest {};
DDPMTS_ON_EVERY_PLACEMENT(ContrastiveOps);

/// From the embeddings as they are, normalisation included.
double twin_of(const Doubles& x, std::size_t rows, double temperature) {
  const std::size_t columns = x.size() / rows;
  const auto cosine = [&](std::size_t i, std::size_t j) {
    double dot = 0, first = 0, second = 0;
    for (std::size_t c = 0; c < columns; ++c) {
      const double a = x[i * columns + c], b = x[j * columns + c];
      dot += a * b;
      first += a * a;
      second += b * b;
    }
    return dot / std::sqrt(first * second);
  };
  double loss = 0;
  for (std::size_t i = 0; i < rows; ++i) {
    double sum = 0;
    for (std::size_t j = 0; j < rows; ++j) sum += j == i ? 0 : std::exp(cosine(i, j) / temperature);
    loss += std::log(sum) - cosine(i, (i + rows / 2) % rows) / temperature;
  }
  return loss / static_cast<double>(rows);
}

TEST_P(ContrastiveOps, LossMatchesThePlainTwin) {
  for (const Shape& shape : {Shape{4, 3}, Shape{10, 1, 1, 17}, Shape{64, 1, 1, 128}}) {
    const Tensor x = random_tensor(shape, GetParam(), 5, -2, 2);
    const ContrastiveLoss loss = contrastive_loss(x, 0.1f);
    const double expected = twin_of(doubles(x), static_cast<std::size_t>(shape[0]), double(0.1f));
    EXPECT_NEAR(loss.total.item(), expected, 2e-4 * (1 + expected)) << shape.text();
    EXPECT_GE(loss.accuracy.item(), 0.0f);
    EXPECT_LE(loss.accuracy.item(), 1.0f);
  }
}

TEST_P(ContrastiveOps, PartnersThatAgreeAreFound) {
  const std::vector<float> one = random_floats(8 * 32, 6);
  std::vector<float> values = one;
  for (const float value : one) values.push_back(3 * value);  // length does not count
  const Tensor x = Tensor::from_host<float>({16, 32}, values, device()).cast(type());
  const ContrastiveLoss loss = contrastive_loss(x, 0.05f);
  EXPECT_EQ(loss.accuracy.item(), 1.0f);
  EXPECT_LT(loss.total.item(), 0.2f);
}

TEST_P(ContrastiveOps, GradientIsTheTwins) {
  const Shape shape{12, 1, 1, 20};
  Tensor x = random_tensor(shape, GetParam(), 7, -2, 2);
  x.set_needs_grad();
  const ContrastiveLoss loss = contrastive_loss(x, 0.2f);
  const LossTerm term{loss.total, 0.5f};
  backward({&term, 1});
  ASSERT_TRUE(x.grad());
  EXPECT_EQ(x.grad().type(), type());
  EXPECT_EQ(x.grad().shape(), shape);
  const Doubles base = doubles(x);
  Doubles expected(base.size());
  for (std::size_t i = 0; i < base.size(); ++i) {
    Doubles above = base, below = base;
    above[i] += 1e-4;
    below[i] -= 1e-4;
    expected[i] = 0.5 * (twin_of(above, 12, double(0.2f)) - twin_of(below, 12, double(0.2f))) / 2e-4;
  }
  expect_close(x.grad(), expected, type() == DType::bf16 ? 0x1p-8 : 1e-5, "gradient");
}

TEST_P(ContrastiveOps, SaysWhatDoesNotFit) {
  const auto loss_of = [](const Shape& shape, DType element, float temperature) {
    return [=] { contrastive_loss(Tensor::zeros(shape, element, device()), temperature); };
  };
  expect_error<ShapeError>(loss_of({2, 3}, type(), 0.1f), {"[2, 3]", "pairs"});
  expect_error<ShapeError>(loss_of({5, 3}, type(), 0.1f), {"[5, 3]"});
  expect_error<ShapeError>(loss_of({4}, type(), 0.1f), {"[4]"});
  expect_error<ShapeError>(loss_of({4, 3}, DType::u8, 0.1f), {"u8"});
  expect_error<Error>(loss_of({4, 3}, type(), 0.01f), {"0.01", "0.025"});
}

}  // namespace
}  // namespace ddpmts::test
