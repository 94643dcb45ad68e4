#include "kernels/scene_views.h"

#include <array>
#include <stdexcept>

#include "tests/kernels/drawing_test.h"
#include "tests/kernels/scene_formulas.h"

#if DDPMTS_CPU_TESTS
#include <omp.h>
#endif

namespace ddpmts::kernels {
namespace {

using test::any_field;
using test::any_inside;
using test::Array;

/// Numbers for made-up recipes, one after the other.
class Numbers {
 public:
  explicit Numbers(std::uint64_t step) : values_(test::random_floats(8192, step, 0.0f, 1.0f)) {}
  float in(float low, float high) { return low + (high - low) * values_.at(next_++); }

 private:
  Array<float> values_;
  std::size_t next_ = 0;
};

FieldRecipe made_up_field(FieldKind kind, Numbers& numbers) {
  FieldRecipe field;
  field.kind = kind;
  field.place = {numbers.in(-9, 9), numbers.in(-9, 9), numbers.in(-5, 5),
                 numbers.in(-9, 9), numbers.in(-9, 9), numbers.in(-5, 5)};
  field.warp = numbers.in(-1, 1);
  field.detail = numbers.in(0, 1);
  field.p = numbers.in(0.1f, 0.9f);
  field.q = numbers.in(0.1f, 0.9f);
  field.r = numbers.in(-1, 1);
  field.s = numbers.in(-1, 1);
  field.middle = numbers.in(0.3f, 0.7f);
  field.sharpness = numbers.in(0.5f, 3.0f);
  return field;
}

/// Every kind of field, blend and shape occurs in the first sixteen.
SceneRecipe made_up_scene(int number) {
  Numbers numbers(1000 + static_cast<std::uint64_t>(number));
  SceneRecipe scene;
  scene.seed = 7;
  scene.step = static_cast<std::uint64_t>(number);
  for (int m = 0; m < kMaxMaterials; ++m) {
    MaterialRecipe& material = scene.material[m];
    material.blend = static_cast<FieldBlend>((number + m) % kFieldBlends);
    material.push = numbers.in(-2, 2);
    material.field[0] = made_up_field(static_cast<FieldKind>((number + 3 * m) % kFieldKinds), numbers);
    material.field[1] = made_up_field(static_cast<FieldKind>((number + 5 * m + 1) % kFieldKinds), numbers);
    for (auto& colour : material.colour) {
      for (float& channel : colour) channel = numbers.in(0, 255);
    }
    material.relief = m % 2 == 0 ? numbers.in(0.2f, 2) : 0.0f;
    material.relief_x = numbers.in(-0.05f, 0.05f);
    material.relief_y = numbers.in(-0.05f, 0.05f);
  }
  scene.shapes = (number * 5) % (kMaxShapes + 1);
  for (int k = 0; k < scene.shapes; ++k) {
    ShapeRecipe& shape = scene.shape[k];
    shape.kind = static_cast<ShapeKind>((number + k) % kShapeKinds);
    shape.material = (number + k) % kMaxMaterials;
    shape.sides = 2 + k % (kMaxSides - 1);
    shape.place = {numbers.in(-4, 4), numbers.in(-4, 4), numbers.in(-2, 2),
                   numbers.in(-4, 4), numbers.in(-4, 4), numbers.in(-2, 2)};
    shape.p = numbers.in(0.05f, 0.6f);
    for (int side = 0; side < kMaxSides; ++side) {
      shape.normal_x[side] = numbers.in(-1, 1);
      shape.normal_y[side] = numbers.in(-1, 1);
    }
    shape.ragged = k % 3 == 0 ? numbers.in(0.05f, 0.3f) : 0.0f;
    shape.shift_x = numbers.in(-3, 3);
    shape.shift_y = numbers.in(-3, 3);
    for (float& gain : shape.gain) gain = numbers.in(0.6f, 1.4f);
    shape.rim = numbers.in(-0.8f, 0.8f);
    shape.dome = numbers.in(-0.5f, 0.5f);
    shape.slope_u = numbers.in(-0.4f, 0.4f);
    shape.slope_v = numbers.in(-0.4f, 0.4f);
    shape.shadow = numbers.in(0, 0.6f);
  }
  scene.period_x = number % 4 == 1 ? 0.6f : 0.0f;
  scene.period_y = number % 4 == 1 ? 0.45f : 0.0f;
  scene.wobble = number % 3 == 0 ? 0.08f : 0.0f;
  scene.wobble_frequency = 2.0f;
  scene.light_x = numbers.in(-0.4f, 0.4f);
  scene.light_y = numbers.in(-0.4f, 0.4f);
  scene.spot = numbers.in(-0.4f, 0.8f);
  scene.spot_x = numbers.in(-1, 1);
  return scene;
}

SceneViewRecipe made_up_view(int number, int scene, std::int64_t w) {
  Numbers numbers(2000 + static_cast<std::uint64_t>(number));
  SceneViewRecipe view;
  view.scene = scene;
  const float scale = numbers.in(0.8f, 2.0f) / static_cast<float>(w);
  view.place = {scale,
                numbers.in(-0.2f, 0.2f) * scale,
                numbers.in(-1, 0),
                numbers.in(-0.2f, 0.2f) * scale,
                scale,
                numbers.in(-1, 0)};
  view.blur = number % 2 == 0 ? numbers.in(0.3f, 2.0f) : 0.0f;
  for (auto& row : view.colour.mix) {
    for (float& value : row) value = numbers.in(-0.1f, 0.6f);
  }
  for (float& value : view.colour.offset) value = numbers.in(-20, 20);
  view.light_x = numbers.in(-0.01f, 0.01f);
  view.noise_sigma = number % 3 == 0 ? 0.0f : numbers.in(1, 8);
  view.noise_is_grey = number % 2 == 0;
  view.noise_step = static_cast<std::uint32_t>(number);
  return view;
}

struct Drawing {
  Drawing(std::int64_t h, std::int64_t w, int count = 16) {
    for (int i = 0; i < count; ++i) {
      scenes.push_back(made_up_scene(i));
      views.push_back(made_up_view(i, i, w));
    }
    pictures.assign(static_cast<std::size_t>(count * h * w * 3 + 1), 0xa5);
    args.n = args.scene_count = count;
    args.h = h;
    args.w = w;
    args.scenes = scenes.data();
    args.views = views.data();
    args.pictures = pictures.data();
  }
  Drawing(const Drawing&) = delete;
  Array<SceneRecipe> scenes;
  Array<SceneViewRecipe> views;
  Array<std::uint8_t> pictures;
  SceneViewsArgs args;
};

// ---- the slow twin: one sample after the other, as the contract has it; scene_math_test.cpp looks at the formulas ----

float field_value(const FieldRecipe& field, const NoiseTable& table, float x, float y, float push) {
  const Affine& a = field.place;
  const float u = a.xx * x + a.xy * y + a.x0 + push, v = a.yx * x + a.yy * y + a.y0 + 0.5f * push;
  if (field.warp <= 0.0f) return any_field(field, table, u, v);
  return any_field(field, table, u + warp_u(field, table, u, v), v + warp_v(field, table, u, v));
}

float material_value(const MaterialRecipe& material, const NoiseTable& table, float x, float y) {
  const float a = field_value(material.field[0], table, x, y, 0.0f);
  const bool pushes = material.blend == FieldBlend::push;
  const float b = field_value(material.field[1], table, x, y, pushes ? material.push * (a - 0.5f) : 0.0f);
  switch (material.blend) {
    case FieldBlend::first:
      return a;
    case FieldBlend::mean:
      return (a + b) / 2.0f;
    case FieldBlend::product:
      return a * b;
    case FieldBlend::larger:
      return std::max(a, b);
    case FieldBlend::smaller:
      return std::min(a, b);
    case FieldBlend::difference:
      return std::abs(a - b);
    case FieldBlend::choice:
      return (a > 0.5f ? 1.0f + b : b) / 2.0f;
    case FieldBlend::push:
      return b;
  }
  return -1.0f;
}

std::array<float, 3> sample(const SceneRecipe& scene, const NoiseTable& table, float x, float y) {
  if (scene.wobble > 0.0f) {
    const float f = scene.wobble_frequency;
    const float by_x = scene.wobble * noise_at(table, f * x + 7.7f, f * y + 1.9f);
    const float by_y = scene.wobble * noise_at(table, f * x + 21.3f, f * y + 14.6f);
    x += by_x;
    y += by_y;
  }
  float light = scene_light(scene, x, y);
  const ShapeRecipe* met = nullptr;
  const float in_x = in_period(x, scene.period_x), in_y = in_period(y, scene.period_y);
  for (int k = 0; k < scene.shapes && met == nullptr; ++k) {
    const ShapeRecipe& shape = scene.shape[k];
    const float u = shape.place.xx * in_x + shape.place.xy * in_y + shape.place.x0;
    const float v = shape.place.yx * in_x + shape.place.yy * in_y + shape.place.y0;
    float inside = any_inside(shape, u, v);
    if (shape.ragged > 0.0f) {
      inside +=
          shape.ragged * noise_at(table, shape.ragged_frequency * u + shape.p, shape.ragged_frequency * v);
    }
    light *= inside > 0.0f ? light_on_shape(shape, inside, u, v) : light_beside_shape(shape, inside);
    if (inside > 0.0f) met = &shape;
  }
  const MaterialRecipe& material = scene.material[met != nullptr ? met->material : 0];
  if (met != nullptr) {
    x += met->shift_x;
    y += met->shift_y;
  }
  const float value = material_value(material, table, x, y);
  if (material.relief > 0.0f) {
    const float beside = material_value(material, table, x + material.relief_x, y + material.relief_y);
    light *= std::clamp(1.0f + material.relief * (value - beside), 0.1f, 2.5f);
  }
  std::array<float, 3> levels;
  for (int c = 0; c < 3; ++c) {
    const float gain = met != nullptr ? met->gain[c] : 1.0f;
    levels[static_cast<std::size_t>(c)] =
        std::clamp(palette_at(material, c, value) * gain * light, 0.0f, 255.0f);
  }
  return levels;
}

/// [h·w·3] levels, not rounded.
std::vector<double> twin_of(const SceneRecipe& scene, const SceneViewRecipe& view, int h, int w) {
  NoiseTable table;
  const Philox random{scene.seed, RandomStream::texture, scene.step};
  for (int p = 0; p < kNoisePoints; ++p) noise_table_point(table, random, 0, p);
  std::vector<double> sharp(static_cast<std::size_t>(h * w * 3));
  for (int y = 0; y < h; ++y) {
    for (int x = 0; x < w; ++x) {
      for (int tap = 0; tap < kSceneTaps; ++tap) {
        const float at_x = static_cast<float>(x) + scene_tap_x(tap),
                    at_y = static_cast<float>(y) + scene_tap_y(tap);
        const Affine& a = view.place;
        const auto levels =
            sample(scene, table, a.xx * at_x + a.xy * at_y + a.x0, a.yx * at_x + a.yy * at_y + a.y0);
        for (std::size_t c = 0; c < 3; ++c) {
          sharp[static_cast<std::size_t>(y * w + x) * 3 + c] += static_cast<double>(levels[c]) / kSceneTaps;
        }
      }
    }
  }
  std::vector<double> blurred = sharp;
  if (view.blur > 0.0f) {
    const double sigma = static_cast<double>(view.blur);
    for (int y = 0; y < h; ++y) {
      for (int x = 0; x < w; ++x) {
        double sum[3] = {}, total = 0.0;
        for (int dy = -kMaxSceneBlur; dy <= kMaxSceneBlur; ++dy) {
          for (int dx = -kMaxSceneBlur; dx <= kMaxSceneBlur; ++dx) {
            const double weight = std::exp(-(dx * dx + dy * dy) / (2.0 * sigma * sigma));
            const int from = std::clamp(y + dy, 0, h - 1) * w + std::clamp(x + dx, 0, w - 1);
            total += weight;
            for (int c = 0; c < 3; ++c) sum[c] += weight * sharp[static_cast<std::size_t>(from * 3 + c)];
          }
        }
        for (int c = 0; c < 3; ++c) blurred[static_cast<std::size_t>((y * w + x) * 3 + c)] = sum[c] / total;
      }
    }
  }
  const Philox pixel{scene.seed, RandomStream::pixel, scene.step << 20 ^ std::uint64_t{view.noise_step}};
  std::vector<double> result(blurred.size());
  for (int y = 0; y < h; ++y) {
    for (int x = 0; x < w; ++x) {
      const auto p = static_cast<std::size_t>(y * w + x);
      const double light = std::max(0.1, 1.0 + static_cast<double>(view.light_x) * (x - (w - 1) / 2.0) +
                                             static_cast<double>(view.light_y) * (y - (h - 1) / 2.0));
      const Uint4 bits = pixel.bits(static_cast<std::uint32_t>(p));
      const std::uint32_t words[] = {bits.x, bits.y, bits.z};
      for (std::size_t c = 0; c < 3; ++c) {
        double level = static_cast<double>(view.colour.offset[c]);
        for (std::size_t k = 0; k < 3; ++k) {
          level += light * static_cast<double>(view.colour.mix[c][k]) * blurred[3 * p + k];
        }
        level += static_cast<double>(view.noise_sigma) *
                 static_cast<double>(gaussian_from_bytes(words[view.noise_is_grey ? 0 : c]));
        result[3 * p + c] = std::clamp(level, 0.0, 255.0);
      }
    }
  }
  return result;
}

void expect_like_twin(const Drawing& drawing, std::size_t i) {
  const auto h = static_cast<int>(drawing.args.h), w = static_cast<int>(drawing.args.w);
  const std::vector<double> twin = twin_of(drawing.scenes[i], drawing.views[i], h, w);
  std::size_t off = 0;
  for (std::size_t e = 0; e < twin.size(); ++e) {
    off += std::abs(twin[e] - drawing.pictures[i * twin.size() + e]) <= 0.52 ? 0 : 1;
  }
  // A place on the very edge of a leaf may round to the other side where this file fuses multiplications.
  EXPECT_LE(off, twin.size() / 200) << h << "x" << w << " scene " << i << " blur " << drawing.views[i].blur;
}

TEST(SceneViews, MatchThePlainTwin) {
  for (const auto& [h, w] : {std::pair{1, 1}, {23, 37}, {30, 19}}) {
    Drawing drawing(h, w);
    DDPMTS_RUN_KERNEL(test::fastest_isa(), scene_views, drawing.args);
    for (std::size_t i = 0; i < drawing.scenes.size(); ++i) {
      expect_like_twin(drawing, i);
    }
    EXPECT_EQ(drawing.pictures.back(), 0xa5);
  }
}

TEST(SceneViews, ABlurMayBeAsSmallAsItLikes) {
  for (const float sigma : {1e-30f, 0.01f, 0.3f, 0.3005f}) {
    test::for_each_isa([&](CpuIsa isa) {
      Drawing drawing(19, 21, 3);
      for (SceneViewRecipe& view : drawing.views) view.blur = sigma;
      DDPMTS_RUN_KERNEL(isa, scene_views, drawing.args);
      for (std::size_t i = 0; i < drawing.scenes.size(); ++i) expect_like_twin(drawing, i);
    });
  }
}

TEST(SceneViews, SameBitsOnEveryDevice) {
  test::for_each_isa([](CpuIsa isa) {
    Drawing drawing(35, 40);  // several tiles and shares of a picture, none of them whole
    DDPMTS_RUN_KERNEL(isa, scene_views, drawing.args);
    EXPECT_EQ(test::hash_of(drawing.pictures.data(), drawing.pictures.size()), 0xada496a3cfa0d552u);
  });
}

#if DDPMTS_CPU_TESTS
TEST(SceneViews, SameBitsOnEveryInstructionSetAndThreadCount) {
  const int threads = omp_get_max_threads();
  Drawing expected(33, 47);
  DDPMTS_RUN_KERNEL(CpuIsa::baseline, scene_views, expected.args);
  test::for_each_isa([&](CpuIsa isa) {
    for (const int count : {1, 3}) {
      omp_set_num_threads(count);
      Drawing drawing(33, 47);
      DDPMTS_RUN_KERNEL(isa, scene_views, drawing.args);
      EXPECT_EQ(drawing.pictures, expected.pictures);
    }
  });
  omp_set_num_threads(threads);
}
#endif

TEST(SceneViews, AViewIsTheSameInAnyBatch) {
  Drawing batch(20, 20), alone(20, 20);
  DDPMTS_RUN_KERNEL(test::fastest_isa(), scene_views, batch.args);
  alone.args.n = 1;
  alone.args.views += 9;
  DDPMTS_RUN_KERNEL(test::fastest_isa(), scene_views, alone.args);
  constexpr std::size_t kBytes = 20 * 20 * 3;
  for (std::size_t e = 0; e < kBytes; ++e) EXPECT_EQ(alone.pictures[e], batch.pictures[9 * kBytes + e]);
}

TEST(SceneViews, RefuseWrongSizes) {
  for (int wrong = 0; wrong < 3; ++wrong) {
    Drawing drawing(4, 4, 2);
    if (wrong == 0) drawing.args.h = 0;
    if (wrong == 1) drawing.args.w = 5000;
    if (wrong == 2) drawing.args.n = -1;
    EXPECT_THROW(DDPMTS_RUN_KERNEL(CpuIsa::baseline, scene_views, drawing.args), std::invalid_argument)
        << wrong;
  }
}

#if DDPMTS_CPU_TESTS
TEST(SceneViews, RefuseWrongRecipes) {
  for (int wrong = 0; wrong < 6; ++wrong) {
    Drawing drawing(4, 4, 2);
    if (wrong == 0) drawing.scenes[1].shapes = kMaxShapes + 1;
    if (wrong == 1) drawing.scenes[1].shape[0].material = kMaxMaterials;
    if (wrong == 1) drawing.scenes[1].shapes = 1;
    if (wrong == 2) drawing.views[1].scene = 2;
    if (wrong == 3) drawing.views[0].scene = -1;
    if (wrong == 4) drawing.views[1].blur = 2.1f;
    if (wrong == 5) drawing.views[1].blur = std::nanf("");
    EXPECT_THROW(cpu::scene_views(drawing.args), std::invalid_argument) << wrong;
  }
}
#endif

}  // namespace
}  // namespace ddpmts::kernels
