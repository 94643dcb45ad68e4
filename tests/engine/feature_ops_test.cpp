// Cosine loss, feature product and segmentation loss as operations: against the papers' formulas in double, and their
// gradients through a graph.
#include "engine/ops.h"
#include "tests/engine/gradient_check.h"
#include "tests/engine/reference.h"

namespace ddpmts::test {
namespace {

std::vector<Shape> three_levels() { return {{3, 13, 9, 5}, {3, 7, 5, 8}, {3, 4, 3, 33}}; }

FeaturePair random_features(const std::vector<Shape>& levels, const Placement& where) {
  FeaturePair features;
  for (std::size_t k = 0; k < levels.size(); ++k) {
    features.teacher.push_back(random_tensor(levels[k], where, 1 + k, -1.0f, 2.0f));
    features.student.push_back(random_tensor(levels[k], where, 11 + k, -1.0f, 2.0f));
    features.student.back().set_needs_grad();
  }
  return features;
}

// One position's two vectors and what is computed from them.
struct Position {
  std::size_t first, channels;
  double teacher_norm = 0, student_norm = 0, dot = 0;

  Position(const Doubles& teacher, const Doubles& student, std::size_t position, std::size_t count)
      : first(position * count), channels(count) {
    for (std::size_t i = first; i < first + channels; ++i) {
      teacher_norm += teacher[i] * teacher[i];
      student_norm += student[i] * student[i];
      dot += teacher[i] * student[i];
    }
    teacher_norm = std::sqrt(teacher_norm);
    student_norm = std::sqrt(student_norm);
  }
  double cosine() const { return dot / (teacher_norm * student_norm); }
};

template <class F>
void for_each_position(const Tensor& teacher, const Tensor& student, F&& f) {
  const Doubles t = doubles(teacher), s = doubles(student);
  const auto channels = static_cast<std::size_t>(teacher.dim(3));
  for (std::size_t p = 0; p < t.size() / channels; ++p) f(Position(t, s, p, channels), t, s, p);
}

class FeatureOps : public EngineTest {};
DDPMTS_ON_EVERY_PLACEMENT(FeatureOps);

TEST_P(FeatureOps, CosineLossMatchesTheFormulaWithItsGradient) {
  const FeaturePair features = random_features(three_levels(), GetParam());
  const Tensor loss = cosine_loss(features);
  ASSERT_EQ(loss.shape(), (Shape{1}));
  ASSERT_EQ(loss.type(), DType::f32);
  const std::vector<Tensor> distances = cosine_distances(features);
  ASSERT_EQ(distances.size(), 3u);
  const float weight = 1.75f;
  backward(std::vector<LossTerm>{{loss, weight}});

  double expected = 0;
  for (std::size_t k = 0; k < 3; ++k) {
    const Tensor& teacher = features.teacher[k];
    const double positions = static_cast<double>(teacher.count() / teacher.dim(3));
    Doubles distance, gradient(static_cast<std::size_t>(teacher.count()));
    for_each_position(teacher, features.student[k],
                      [&](const Position& at, const Doubles& t, const Doubles& s, std::size_t) {
                        distance.push_back(1 - at.cosine());
                        expected += (1 - at.cosine()) / positions;
                        for (std::size_t i = at.first; i < at.first + at.channels; ++i) {
                          const double dcosine = t[i] / (at.teacher_norm * at.student_norm) -
                                                 at.cosine() * s[i] / (at.student_norm * at.student_norm);
                          gradient[i] = -weight * dcosine / positions;
                        }
                      });
    EXPECT_EQ(distances[k].shape(), (Shape{3, teacher.dim(1), teacher.dim(2)}));
    expect_close(distances[k], distance, 1e-5, fmt::format("distances of level {}", k));
    expect_close(features.student[k].grad(), gradient, tolerance(type()),
                 fmt::format("gradient of level {}", k));
  }
  EXPECT_NEAR(loss.item(), expected, 1e-5 * expected);
}

TEST_P(FeatureOps, ProductMatchesTheFormulaWithItsGradient) {
  const FeaturePair features = random_features(three_levels(), GetParam());
  const Tensor y = feature_product(features);
  const Shape out{3, 13, 9, 5 + 8 + 33};
  ASSERT_EQ(y.shape(), out);
  const Tensor dy = random_tensor(out, GetParam(), 20);
  backward_from(y, dy);

  Doubles expected(static_cast<std::size_t>(out.count()));
  const Doubles dys = doubles(dy);
  std::int64_t offset = 0;
  for (std::size_t k = 0; k < 3; ++k) {
    const Tensor& teacher = features.teacher[k];
    const std::int64_t channels = teacher.dim(3);
    const ResizeShape resize{3, teacher.dim(1), teacher.dim(2), 13, 9, channels, out[3], offset};
    Doubles product(static_cast<std::size_t>(teacher.count())), dproduct(product.size()),
        gradient(product.size());
    for_each_position(teacher, features.student[k],
                      [&](const Position& at, const Doubles& t, const Doubles& s, std::size_t) {
                        for (std::size_t i = at.first; i < at.first + at.channels; ++i) {
                          product[i] = -t[i] * s[i] / (at.teacher_norm * at.student_norm);
                        }
                      });
    for_each_resize_tap(resize, [&](std::size_t src, std::size_t dst, double weight) {
      expected[dst] += weight * product[src];
      dproduct[src] += weight * dys[dst];
    });
    // With u = −T̂·dP: dS = (u − Ŝ(Ŝ·u))/‖S‖.
    for_each_position(teacher, features.student[k],
                      [&](const Position& at, const Doubles& t, const Doubles& s, std::size_t) {
                        double along = 0;
                        for (std::size_t i = at.first; i < at.first + at.channels; ++i) {
                          along += -t[i] / at.teacher_norm * dproduct[i] * s[i] / at.student_norm;
                        }
                        for (std::size_t i = at.first; i < at.first + at.channels; ++i) {
                          gradient[i] =
                              (-t[i] / at.teacher_norm * dproduct[i] - s[i] / at.student_norm * along) /
                              at.student_norm;
                        }
                      });
    expect_close(features.student[k].grad(), gradient, tolerance(type()),
                 fmt::format("gradient of level {}", k));
    offset += channels;
  }
  expect_close(y, expected, tolerance(type()), "product");
}

double softplus(double z) { return z > 0 ? z + std::log1p(std::exp(-z)) : std::log1p(std::exp(z)); }

TEST_P(FeatureOps, SegmentationLossMatchesTheFormulaWithItsGradient) {
  Tensor logits = random_tensor({3, 13, 9, 1}, GetParam(), 21, -6.0f, 6.0f);
  logits.set_needs_grad();
  std::vector<std::uint8_t> bits(3 * 13 * 9);
  for (std::size_t i = 0; i < bits.size(); ++i) bits[i] = i * 7919 % 5 == 0;
  const Tensor mask = Tensor::from_host<std::uint8_t>({3, 13, 9}, bits, device());
  const SegmentationLossOptions options{.gamma = 4.0f, .focal_weight = 1.5f, .l1_weight = 0.5f};
  const SegmentationLoss loss = segmentation_loss(logits, mask, options);
  backward(std::vector<LossTerm>{{loss.total, 3.0f}});

  const Doubles z = doubles(logits);
  const double count = static_cast<double>(z.size());
  double focal = 0, l1 = 0;
  Doubles gradient(z.size());
  for (std::size_t i = 0; i < z.size(); ++i) {
    const double sign = bits[i] ? 1.0 : -1.0;  // p_t = σ(sign·z)
    const double pt = 1 / (1 + std::exp(-sign * z[i])), miss = 1 - pt;
    const double log_pt = -softplus(-sign * z[i]);
    focal += -std::pow(miss, 4) * log_pt / count;
    l1 += miss / count;
    // d p_t/dz = sign·p_t·(1−p_t).
    const double dfocal = sign * (4 * std::pow(miss, 3) * log_pt * pt * miss - std::pow(miss, 5));
    gradient[i] = 3.0 * (1.5 * dfocal - 0.5 * sign * pt * miss) / count;
  }
  const std::vector<float> terms = loss.terms.to_floats();
  EXPECT_NEAR(terms[1], focal, 1e-5 * focal);
  EXPECT_NEAR(terms[2], l1, 1e-5 * l1);
  EXPECT_NEAR(terms[0], 1.5 * focal + 0.5 * l1, 1e-5);
  EXPECT_EQ(loss.total.item(), terms[0]);
  expect_close(logits.grad(), gradient, tolerance(type()), "gradient");
}

class FeatureOpsTape : public TapeTest {};

TEST_F(FeatureOpsTape, LossesStayFiniteAtTheEnds) {
  Tensor logits = Tensor::from_host<float>({1, 1, 4, 1}, std::vector<float>{-200, 200, -200, 200});
  logits.set_needs_grad();
  const std::vector<std::uint8_t> bits{0, 0, 1, 1};
  const SegmentationLoss loss = segmentation_loss(logits, Tensor::from_host<std::uint8_t>({1, 1, 4}, bits));
  EXPECT_NEAR(loss.terms.to_floats()[1], 100.0, 1e-3);
  EXPECT_NEAR(loss.terms.to_floats()[2], 0.5, 1e-6);
  backward(loss.total);
  for (const float g : logits.grad().to_floats()) EXPECT_TRUE(std::isfinite(g));

  // A position where the student is zero has distance 1 and no infinite gradient.
  Tensor student = Tensor::zeros({1, 2, 2, 3}, DType::f32);
  student.set_needs_grad();
  const FeaturePair features{{random_tensor({1, 2, 2, 3}, {}, 22)}, {student}};
  EXPECT_NEAR(cosine_loss({{features.teacher[0]}, {Tensor::zeros({1, 2, 2, 3}, DType::f32)}}).item(), 1.0,
              1e-6);
  for (const float v : feature_product(features).to_floats()) EXPECT_EQ(v, 0.0f);
  for (const float v : cosine_distances(features)[0].to_floats()) EXPECT_EQ(v, 1.0f);
}

TEST_F(FeatureOpsTape, GradientsMatchFiniteDifferences) {
  const FeaturePair features = random_features(three_levels(), {});
  std::vector<Leaf> leaves;
  for (std::size_t k = 0; k < 3; ++k) leaves.push_back(leaf(fmt::format("level {}", k), features.student[k]));
  check_gradients(leaves, [&] { return feature_product(features); }, {.step = 2e-3f, .tolerance = 3e-3});
  for (std::size_t k = 0; k < 3; ++k) leaves[k] = leaf(leaves[k].name, features.student[k]);
  // A single f32 of about 3: its rounding is 1e-3 of what one element changes.
  check_gradients(leaves, [&] { return cosine_loss(features); }, {.step = 1e-2f, .tolerance = 2e-2});

  const Tensor logits = random_tensor({2, 5, 4, 1}, {}, 23, -3.0f, 3.0f);
  std::vector<std::uint8_t> bits(40);
  for (std::size_t i = 0; i < bits.size(); ++i) bits[i] = i % 3 == 0;
  const Tensor mask = Tensor::from_host<std::uint8_t>({2, 5, 4}, bits);
  check_gradients({leaf("logits", logits)}, [&] { return segmentation_loss(logits, mask).total; },
                  {.step = 1e-2f, .tolerance = 5e-3});
}

// The detector's two losses on one student: convolution, BatchNorm, two levels, head, focal + L1 and cosine.
TEST_F(FeatureOpsTape, WholeLossMatchesFiniteDifferences) {
  const Placement f32;
  const Tensor x = random_tensor({2, 9, 7, 3}, f32, 24);
  const ParameterPtr fine = random_parameter("fine", {4, 3, 3, 3}, f32, 25);
  const ParameterPtr coarse = random_parameter("coarse", {6, 3, 3, 4}, f32, 26);
  const ParameterPtr head = random_parameter("head", {1, 1, 1, 10}, f32, 27);
  const ParameterPtr head_bias = random_parameter("head_bias", {1}, f32, 28);
  const BatchNormParameters norm{random_parameter("gamma", {4}, f32, 29, 0.5f, 1.5f),
                                 random_parameter("beta", {4}, f32, 30),
                                 random_parameter("mean", {4}, f32, 31, 0, 0, false),
                                 random_parameter("var", {4}, f32, 32, 1, 1, false)};
  const std::vector<Tensor> teacher{random_tensor({2, 9, 7, 4}, f32, 33),
                                    random_tensor({2, 5, 4, 6}, f32, 34)};
  std::vector<std::uint8_t> bits(2 * 9 * 7);
  for (std::size_t i = 0; i < bits.size(); ++i) bits[i] = i % 4 == 0;
  const Tensor mask = Tensor::from_host<std::uint8_t>({2, 9, 7}, bits);
  check_gradients({leaf("x", x), leaf(fine), leaf(coarse), leaf(norm.weight), leaf(norm.bias), leaf(head),
                   leaf(head_bias)},
                  [&] {
                    const Tensor h = batch_norm(conv2d(x, fine, nullptr, {1, 1, 1}), norm, {}, false,
                                                BatchNormMode::training);
                    const FeaturePair features{teacher, {h, conv2d(h, coarse, nullptr, {2, 1, 1})}};
                    const Tensor logits = conv2d(feature_product(features), head, head_bias, {});
                    const Tensor losses[] = {cosine_loss(features), segmentation_loss(logits, mask).total};
                    // Both scalars side by side, so that each is weighted.
                    Tensor both = Tensor::empty({2}, DType::f32);
                    for (int i = 0; i < 2; ++i) both.data<float>()[i] = losses[i].item();
                    if (!grad_enabled()) return both;
                    record(both, [first = losses[0], second = losses[1]](const Tensor& dy) {
                      add_grad(first, Tensor::from_host<float>({1}, std::vector<float>{dy.to_floats()[0]}));
                      add_grad(second, Tensor::from_host<float>({1}, std::vector<float>{dy.to_floats()[1]}));
                    });
                    return both;
                  },
                  {.step = 5e-3f, .tolerance = 2e-2});
}

TEST_F(FeatureOpsTape, SaysWhatDoesNotFit) {
  const Placement f32;
  const Tensor a = random_tensor({2, 3, 3, 4}, f32, 1), b = random_tensor({2, 3, 3, 5}, f32, 1);
  const Tensor other_batch = random_tensor({1, 3, 3, 4}, f32, 1);
  const auto each = [](const FeaturePair& features, const std::vector<std::string>& parts) {
    expect_error<ShapeError>([&] { cosine_loss(features); }, parts);
    expect_error<ShapeError>([&] { cosine_distances(features); }, parts);
    expect_error<ShapeError>([&] { feature_product(features); }, parts);
  };
  each({{}, {}}, {"features", "0 teacher and 0 student"});
  each({{a}, {}}, {"features", "1 teacher and 0 student"});
  each({{a, a}, {a}}, {"features", "2 teacher and 1 student"});
  each({{a, a, a, a, a}, {a, a, a, a, a}}, {"5 teacher"});
  each({{a, b}, {a, a}}, {"level 1", "[2, 3, 3, 5]", "[2, 3, 3, 4]"});
  each({{a, other_batch}, {a, other_batch}}, {"level 1"});
  each({{a}, {a.cast(DType::bf16)}}, {"level 0", "bf16"});
  each({{random_tensor({3, 4}, f32, 1)}, {random_tensor({3, 4}, f32, 1)}}, {"level 0", "[3, 4]"});
  const Tensor bytes = Tensor::zeros({2, 3, 3, 4}, DType::u8);
  each({{bytes}, {bytes}}, {"u8"});

  const Tensor logits = random_tensor({2, 3, 4, 1}, f32, 1);
  const auto loss = [&](const Tensor& z, const Tensor& mask) { return [=] { segmentation_loss(z, mask); }; };
  expect_error<ShapeError>(loss(logits, Tensor::zeros({2, 3, 3}, DType::u8)), {"[2, 3, 4, 1]", "[2, 3, 3]"});
  expect_error<ShapeError>(loss(logits, Tensor::zeros({2, 3, 4}, DType::f32)), {"segmentation_loss", "f32"});
  expect_error<ShapeError>(loss(Tensor::zeros({2, 3, 4, 1}, DType::u8), Tensor::zeros({2, 3, 4}, DType::u8)),
                           {"u8"});
  expect_error<ShapeError>(loss(logits, Tensor::zeros({3, 2, 4}, DType::u8)), {"[2, 3, 4, 1]", "[3, 2, 4]"});
}

}  // namespace
}  // namespace ddpmts::test
