// The formulas of made-up scenes against plain double-precision ones (plain_scene.h).
#include "kernels/scene_math.h"

#include <numbers>

#include "tests/kernels/plain_scene.h"
#include "tests/kernels/scene_formulas.h"

namespace ddpmts::kernels {
namespace {

using test::Array;
using test::in_double;

NoiseTable table_of(std::uint64_t step) {
  NoiseTable table;
  const Philox random{3, RandomStream::texture, step};
  for (int p = 0; p < kNoisePoints; ++p) noise_table_point(table, random, 0, p);
  return table;
}

TEST(SceneMath, NearestTwoAreThoseOfAllPointsAround) {
  const NoiseTable table = table_of(1);
  const Array<float> places = test::random_floats(400, 21, -20.0f, 20.0f);
  for (std::size_t i = 0; i < places.size(); i += 2) {
    const float u = places[i], v = places[i + 1];
    std::vector<std::pair<double, double>> all;  // squared distance, value
    for (int row = static_cast<int>(v) - 4; row <= static_cast<int>(v) + 4; ++row) {
      for (int column = static_cast<int>(u) - 4; column <= static_cast<int>(u) + 4; ++column) {
        const test::PlainPoint point = test::plain_point(table, column, row);
        const double x = column + point.offset_x - in_double(u), y = row + point.offset_y - in_double(v);
        all.emplace_back(x * x + y * y, point.value());
      }
    }
    std::sort(all.begin(), all.end());
    const NearestTwo nearest = nearest_two(table, u, v);
    if (all[0].first < 1.0) {  // beyond, the nine squares looked at may not hold the nearest
      EXPECT_NEAR(nearest.first, all[0].first, 1e-4);
      EXPECT_NEAR(nearest.value, all[0].second, 1e-5);
    }
    if (all[1].first < 1.0) {
      EXPECT_NEAR(nearest.second, all[1].first, 1e-4);
    }
    EXPECT_LE(nearest.first, nearest.second);
  }
}

class SceneFields : public ::testing::TestWithParam<int> {
 protected:
  /// With what its kind takes drawn from the ranges that data/scene_recipe.cpp draws from.
  static FieldRecipe recipe(const Array<float>& numbers, std::size_t i) {
    FieldRecipe field;
    field.kind = static_cast<FieldKind>(GetParam());
    field.detail = 0.2f + 0.75f * numbers[i];
    field.p = 0.15f + 0.8f * numbers[i + 1];
    field.q = 0.1f + 0.75f * numbers[i + 2];
    sincos_turns(numbers[i + 3], field.s, field.r);
    if (field.kind == FieldKind::fibres) field.q = 1.5f + 8.0f * numbers[i + 2];
    if (field.kind == FieldKind::julia) {
      field.p = 1.2f * numbers[i + 1] - 0.6f;
      field.q = 1.2f * numbers[i + 2] - 0.6f;
    }
    return field;
  }
};
INSTANTIATE_TEST_SUITE_P(, SceneFields, ::testing::Range(0, kFieldKinds));

TEST_P(SceneFields, FollowThePlainFormula) {
  const NoiseTable table = table_of(2);
  const Array<float> numbers = test::random_floats(6 * 1500, 23, 0.0f, 1.0f);
  // Fourteen squarings in a row carry rounding errors far; everything else stays close.
  const double allowed = GetParam() == static_cast<int>(FieldKind::julia) ? 0.02 : 1e-4;
  double lowest = HUGE_VAL, highest = -HUGE_VAL, in_range = 0;
  for (std::size_t i = 0; i < numbers.size(); i += 6) {
    const FieldRecipe field = recipe(numbers, i);
    const bool is_julia = field.kind == FieldKind::julia;
    const float reach = is_julia ? 1.5f : 20.0f;
    const float u = reach * (2.0f * numbers[i + 4] - 1.0f), v = reach * (2.0f * numbers[i + 5] - 1.0f);
    const test::PlainNearest nearest = test::plain_nearest(table, in_double(u), in_double(v));
    if (field.kind == FieldKind::patches && nearest.second - nearest.first < 1e-4) continue;  // either's
    const float raw = test::any_raw_field(field, table, u, v);
    ASSERT_TRUE(std::isfinite(raw)) << u << ", " << v;
    EXPECT_NEAR(raw, test::plain_field(field, table, in_double(u), in_double(v)), allowed) << u << ", " << v;
    lowest = std::min(lowest, in_double(raw));
    highest = std::max(highest, in_double(raw));
    in_range += raw >= 0.0f && raw <= 1.0f ? 1.0 / 1500 : 0.0;
  }
  // "About [0, 1]", says the contract; contrast then takes the middle of it.
  EXPECT_GT(lowest, -1.3);
  EXPECT_LT(highest, 1.6);
  EXPECT_GT(in_range, 0.75);
  EXPECT_GT(highest - lowest, 0.4) << "a field that is flat is none";
}

TEST_P(SceneFields, ContrastIsAboutTheMiddle) {
  const NoiseTable table = table_of(2);
  const Array<float> numbers = test::random_floats(6 * 200, 24, 0.0f, 1.0f);
  for (std::size_t i = 0; i < numbers.size(); i += 6) {
    FieldRecipe field = recipe(numbers, i);
    field.middle = 0.3f + 0.4f * numbers[i + 1];
    field.sharpness = 8.0f * numbers[i + 2];
    const float u = 3.0f * numbers[i + 4], v = 3.0f * numbers[i + 5];
    const double raw = in_double(test::any_raw_field(field, table, u, v));
    const double expected = (raw - in_double(field.middle)) * in_double(field.sharpness) + 0.5;
    EXPECT_NEAR(test::any_field(field, table, u, v), std::clamp(expected, 0.0, 1.0), 1e-5);
  }
}

class SceneShapes : public ::testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(, SceneShapes, ::testing::Range(0, kShapeKinds));

TEST_P(SceneShapes, FollowThePlainOutline) {
  const Array<float> numbers = test::random_floats(400 * 4, 25, 0.0f, 1.0f);
  const Array<float> normals = test::random_floats(2 * kMaxSides, 26, -1.4f, 1.4f);
  int inside_count = 0, outside_count = 0;
  for (std::size_t i = 0; i < numbers.size(); i += 4) {
    ShapeRecipe shape;
    shape.kind = static_cast<ShapeKind>(GetParam());
    shape.p = 0.03f + 0.57f * numbers[i];
    shape.sides = 2 + static_cast<std::int32_t>(7.0f * numbers[i + 1]);
    for (std::size_t k = 0; k < kMaxSides; ++k) {
      shape.normal_x[k] = normals[2 * k];
      shape.normal_y[k] = normals[2 * k + 1];
    }
    const float u = 3.0f * numbers[i + 2] - 1.5f, v = 3.0f * numbers[i + 3] - 1.5f;
    const float inside = test::any_inside(shape, u, v);
    EXPECT_NEAR(inside, test::plain_inside(shape, in_double(u), in_double(v)), 2e-5)
        << u << ", " << v << " p " << shape.p << " sides " << shape.sides;
    (inside > 0.0f ? inside_count : outside_count) += 1;
  }
  EXPECT_GT(inside_count, 20);
  EXPECT_GT(outside_count, 20);
}

TEST(SceneMath, OutlinesLieWhereTheirNamesSay) {
  ShapeRecipe shape;
  EXPECT_FLOAT_EQ(inside_shape<ShapeKind::ellipse>(shape, 0.6f, 0.8f), 0.0f);
  EXPECT_EQ(inside_shape<ShapeKind::band>(shape, 30.0f, -1.0f), 0.0f);
  EXPECT_EQ(inside_shape<ShapeKind::half_plane>(shape, -7.0f, 0.0f), 0.0f);
  shape.p = 0.25f;
  EXPECT_FLOAT_EQ(inside_shape<ShapeKind::box>(shape, 1.0f, 0.5f), 0.0f);
  const float corner = 0.75f + 0.25f * std::numbers::sqrt2_v<float> / 2.0f;
  EXPECT_NEAR(inside_shape<ShapeKind::box>(shape, corner, corner), 0.0f, 1e-6f);
  EXPECT_LT(inside_shape<ShapeKind::box>(shape, 1.0f, 1.0f), 0.0f);
  EXPECT_NEAR(inside_shape<ShapeKind::ring>(shape, 0.0f, 0.5f), 0.0f, 1e-6f);
  EXPECT_NEAR(inside_shape<ShapeKind::ring>(shape, 1.0f, 0.0f), 0.0f, 1e-6f);
  EXPECT_FLOAT_EQ(inside_shape<ShapeKind::cross>(shape, 0.8f, 0.25f), 0.0f);
  shape.sides = 4;  // petals lie between the axes: there the outline is farthest out
  EXPECT_NEAR(inside_shape<ShapeKind::flower>(shape, 0.8f, 0.0f), 0.0f, 1e-6f);
  const float petal = 1.0f / 0.75f / std::numbers::sqrt2_v<float>;
  EXPECT_NEAR(inside_shape<ShapeKind::flower>(shape, petal, petal), 0.0f, 1e-5f);
  EXPECT_EQ(inside_shape<ShapeKind::flower>(shape, 0.0f, 0.0f), 1.0f) << "no direction, no petal";
}

TEST(SceneMath, ThePaletteGoesFromColourToColour) {
  MaterialRecipe material;
  const Array<float> colours = test::random_floats(kPaletteColours * 3, 27, 0.0f, 255.0f);
  for (std::size_t k = 0; k < kPaletteColours; ++k) {
    for (std::size_t c = 0; c < 3; ++c) material.colour[k][c] = colours[3 * k + c];
  }
  for (int c = 0; c < 3; ++c) {
    for (double value = 0.0; value <= 1.0; value += 0.01) {
      const auto below = static_cast<std::size_t>(std::min(2.0, std::floor(3 * value)));
      const double share = 3 * value - static_cast<double>(below);
      const double expected = (1 - share) * in_double(material.colour[below][c]) +
                              share * in_double(material.colour[below + 1][c]);
      EXPECT_NEAR(palette_at(material, c, static_cast<float>(value)), expected, 1e-3) << value;
    }
  }
}

TEST(SceneMath, RepeatingShapesAreSeenInTheNearestPeriod) {
  for (const float x : test::random_floats(200, 28, -5.0f, 5.0f)) {
    EXPECT_EQ(in_period(x, 0.0f), x);
    const double period = 0.7, expected = in_double(x) - period * std::round(in_double(x) / period);
    const double off = std::abs(in_double(in_period(x, 0.7f)) - expected);
    EXPECT_LT(std::min(off, period - off), 1e-5) << x;  // half a period away both ends are right
    EXPECT_LE(std::abs(in_period(x, 0.7f)), 0.35001f);
  }
}

TEST(SceneMath, BlurIsAGaussianHoweverSmall) {
  for (const float sigma : {1e-30f, 0.01f, 0.2f, 0.3f, 0.3005f, 0.31f, 0.35f, 0.7f, 1.3f, 2.0f}) {
    const SceneBlur blur = scene_blur(sigma);
    double weights[kMaxSceneBlur + 1], total = 0;
    for (int d = 0; d <= kMaxSceneBlur; ++d) {
      weights[d] = std::exp(-d * d / (2 * in_double(sigma) * in_double(sigma)));
      total += d == 0 ? weights[d] : 2 * weights[d];
    }
    for (int d = 0; d <= kMaxSceneBlur; ++d) {
      EXPECT_TRUE(std::isfinite(blur.weight[d])) << sigma << ", " << d;
      EXPECT_GE(blur.weight[d], 0.0f) << sigma << ", " << d;
      EXPECT_NEAR(blur.weight[d], weights[d] / total, 1e-6) << sigma << ", " << d;
    }
  }
}

}  // namespace
}  // namespace ddpmts::kernels
