// Recipes of made-up scenes: pure functions of seed and index, varied, within what the kernel takes; two views of a scene overlap.
#include "data/scene_recipe.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <set>

namespace ddpmts {
namespace {

using namespace kernels;

template <class T>
std::vector<std::uint8_t> bytes_of(const T& recipe) {
  std::vector<std::uint8_t> bytes(sizeof recipe);
  std::memcpy(bytes.data(), &recipe, sizeof recipe);
  return bytes;
}

std::vector<std::uint8_t> picture_of(std::uint64_t seed, std::uint64_t index) {
  const SceneRecipe scene = draw_scene(seed, index);
  const auto views = draw_scene_views(seed, index, 32);
  std::vector<std::uint8_t> pictures(2 * 32 * 32 * 3);
  SceneViewsArgs args;
  args.n = 2;
  args.h = args.w = 32;
  args.scene_count = 1;
  args.scenes = &scene;
  args.views = views.data();
  args.pictures = pictures.data();
  cpu::scene_views(args);
  return pictures;
}

/// FNV-1a over all fields, one after the other: what lies between them in memory has no value.
class FieldHash {
 public:
  std::uint64_t value() const { return hash_; }

  template <class... Numbers>
  void add(const Numbers&... numbers) {
    (add_bytes(bytes_of(numbers)), ...);
  }
  void add(const Affine& a) { add(a.xx, a.xy, a.x0, a.yx, a.yy, a.y0); }
  void add(const FieldRecipe& f) {
    add(f.kind);
    add(f.place);
    add(f.warp, f.detail, f.p, f.q, f.r, f.s, f.middle, f.sharpness);
  }
  void add(const MaterialRecipe& m) {
    for (const FieldRecipe& field : m.field) add(field);
    add(m.blend, m.push, m.colour, m.relief, m.relief_x, m.relief_y);
  }
  void add(const ShapeRecipe& s) {
    add(s.kind, s.material, s.sides);
    add(s.place);
    add(s.p, s.normal_x, s.normal_y, s.ragged, s.ragged_frequency, s.shift_x, s.shift_y, s.gain, s.rim,
        s.rim_width, s.dome, s.slope_u, s.slope_v, s.shadow, s.shadow_width);
  }
  void add(const SceneRecipe& s) {
    add(s.seed, s.step, s.shapes);
    for (int k = 0; k < s.shapes; ++k) add(s.shape[k]);
    for (const MaterialRecipe& material : s.material) add(material);
    add(s.period_x, s.period_y, s.wobble, s.wobble_frequency, s.light_x, s.light_y, s.spot, s.spot_x,
        s.spot_y, s.spot_radius);
  }
  void add(const SceneViewRecipe& v) {
    add(v.scene);
    add(v.place);
    add(v.blur, v.colour.mix, v.colour.offset, v.light_x, v.light_y, v.noise_sigma, v.noise_step,
        v.noise_is_grey);
  }

 private:
  void add_bytes(const std::vector<std::uint8_t>& bytes) {
    for (const std::uint8_t byte : bytes) hash_ = (hash_ ^ byte) * 0x100000001b3u;
  }
  std::uint64_t hash_ = 0xcbf29ce484222325u;
};

// A teacher's file names seed and settings; that they lead to the same scenes again is what these numbers hold.
TEST(SceneRecipe, ScenesAndViewsAreThoseOfEveryVersion) {
  FieldHash scenes, views;
  for (const std::uint64_t seed : {std::uint64_t{0}, std::uint64_t{3}, ~std::uint64_t{0}}) {
    for (std::uint64_t index = 0; index < 200; ++index) {
      const std::uint64_t far = index < 100 ? index : index << 35;
      scenes.add(draw_scene(seed, far));
      for (const SceneViewRecipe& view : draw_scene_views(seed, far, 96)) views.add(view);
    }
  }
  EXPECT_EQ(scenes.value(), 0xb5bb4ac65d323477u);
  EXPECT_EQ(views.value(), 0x34512c93cd21c0e0u);
}

TEST(SceneRecipe, PicturesAreThoseOfEveryVersion) {
  FieldHash pictures;
  for (std::uint64_t index = 0; index < 24; ++index) {
    for (const std::uint8_t level : picture_of(3, index)) pictures.add(level);
  }
  EXPECT_EQ(pictures.value(), 0xd3eeab8d55cd7855u);
}

TEST(SceneRecipe, AnotherSeedOrIndexIsAnotherScene) {
  for (const std::uint64_t index : {std::uint64_t{0}, std::uint64_t{5}, std::uint64_t{1} << 40}) {
    EXPECT_NE(picture_of(3, index), picture_of(3, index + 1));
    EXPECT_NE(picture_of(3, index), picture_of(4, index));
  }
}

TEST(SceneRecipe, EverythingThatThereIsOccursAndFitsTheKernel) {
  std::set<int> fields, blends, shapes, counts;
  for (std::uint64_t index = 0; index < 400; ++index) {
    const SceneRecipe scene = draw_scene(1, index);
    ASSERT_GE(scene.shapes, 0);
    ASSERT_LE(scene.shapes, kMaxShapes);
    counts.insert(scene.shapes);
    for (const MaterialRecipe& material : scene.material) {
      blends.insert(static_cast<int>(material.blend));
      for (const FieldRecipe& field : material.field) {
        fields.insert(static_cast<int>(field.kind));
        const Affine& a = field.place;
        for (const float value : {a.xx, a.xy, a.yx, a.yy}) ASSERT_LT(std::abs(value), 32.0f);
      }
    }
    for (int k = 0; k < scene.shapes; ++k) {
      const ShapeRecipe& shape = scene.shape[k];
      shapes.insert(static_cast<int>(shape.kind));
      ASSERT_GE(shape.material, 0);
      ASSERT_LT(shape.material, kMaxMaterials);
      ASSERT_LE(shape.sides, kMaxSides);
      ASSERT_GT(std::abs(shape.place.xx * shape.place.yy - shape.place.xy * shape.place.yx), 0.1f);
      ASSERT_GT(shape.rim_width, 0.0f);
      ASSERT_GT(shape.shadow_width, 0.0f);
    }
    for (const SceneViewRecipe& view : draw_scene_views(1, index, 64)) {
      ASSERT_GE(view.blur, 0.0f);
      ASSERT_LE(2.0f * view.blur, static_cast<float>(kMaxSceneBlur));
    }
  }
  EXPECT_EQ(fields.size(), static_cast<std::size_t>(kFieldKinds));
  EXPECT_EQ(blends.size(), static_cast<std::size_t>(kFieldBlends));
  EXPECT_EQ(shapes.size(), static_cast<std::size_t>(kShapeKinds));
  EXPECT_EQ(counts.size(), static_cast<std::size_t>(kMaxShapes + 1));
}

TEST(SceneRecipe, AFamilySharesColoursMoreOftenThanStrangersDo) {
  const auto colours = [](std::uint64_t index) { return bytes_of(draw_scene(2, index).material[0].colour); };
  int families = 0;
  for (std::uint64_t first = 0; first < 100 * kSceneFamily; first += kSceneFamily) {
    families += colours(first) == colours(first + 1) ? 1 : 0;
    EXPECT_EQ(colours(first) == colours(first + 1), colours(first) == colours(first + 3)) << first;
    EXPECT_NE(colours(first), colours(first + kSceneFamily));
  }
  EXPECT_GT(families, 70);
  EXPECT_LT(families, 97);
}

TEST(SceneRecipe, SomeFamiliesDifferByFlawsAloneThatBothViewsShow) {
  int families = 0;
  for (std::uint64_t first = 0; first < 100 * kSceneFamily; first += kSceneFamily) {
    if (draw_scene(2, first).step != draw_scene(2, first + 1).step) continue;
    ++families;
    std::set<std::uint32_t> noises;
    for (std::uint64_t index = first; index < first + kSceneFamily; ++index) {
      const SceneRecipe scene = draw_scene(2, index),
                        sibling = draw_scene(2, first + (index + 1) % kSceneFamily);
      for (int m = 0; m < kMaxMaterials; ++m) {
        const MaterialRecipe &own = scene.material[m], &other = sibling.material[m];
        EXPECT_EQ(bytes_of(own.colour), bytes_of(other.colour));
        EXPECT_EQ(bytes_of(own.field[0].place), bytes_of(other.field[0].place));
      }
      ASSERT_GE(scene.shapes, 1);
      EXPECT_NE(bytes_of(scene.shape[0].place), bytes_of(sibling.shape[0].place));
      if (scene.shapes > 2 && sibling.shapes > 2) {
        EXPECT_EQ(bytes_of(scene.shape[scene.shapes - 1].place),
                  bytes_of(sibling.shape[sibling.shapes - 1].place))
            << "what lies below the flaws is the family's";
      }
      const Affine& flaw = scene.shape[0].place;  // its middle is where u = v = 0
      const float determinant = flaw.xx * flaw.yy - flaw.xy * flaw.yx;
      const float x = (flaw.xy * flaw.y0 - flaw.yy * flaw.x0) / determinant;
      const float y = (flaw.yx * flaw.x0 - flaw.xx * flaw.y0) / determinant;
      for (const SceneViewRecipe& view : draw_scene_views(2, index, 64)) {
        noises.insert(view.noise_step);
        const Affine& a = view.place;
        const float area = a.xx * a.yy - a.xy * a.yx;
        const float column = (a.yy * (x - a.x0) - a.xy * (y - a.y0)) / area;
        const float row = (a.xx * (y - a.y0) - a.yx * (x - a.x0)) / area;
        EXPECT_GT(std::min(column, row), 0.0f) << index;
        EXPECT_LT(std::max(column, row), 63.0f) << index;
      }
    }
    EXPECT_EQ(noises.size(), 2 * kSceneFamily) << "noise must not give pairs away";
  }
  EXPECT_GT(families, 8);
  EXPECT_LT(families, 35);
}

TEST(SceneRecipe, TwoViewsOverlapAndDiffer) {
  for (std::uint64_t index = 0; index < 200; ++index) {
    const auto views = draw_scene_views(6, index, 64);
    const auto width = [](const SceneViewRecipe& view) {
      return 64.0f * std::hypot(view.place.xx, view.place.yx);
    };
    const auto centre = [](const SceneViewRecipe& view) {
      const Affine& a = view.place;
      return std::pair{31.5f * (a.xx + a.xy) + a.x0, 31.5f * (a.yx + a.yy) + a.y0};
    };
    const float larger = std::max(width(views[0]), width(views[1]));
    const float smaller = std::min(width(views[0]), width(views[1]));
    EXPECT_GT(smaller, 0.25f);
    EXPECT_LT(larger / smaller, 2.2f);
    const auto [x0, y0] = centre(views[0]);
    const auto [x1, y1] = centre(views[1]);
    // The smaller view's centre lies in the larger view.
    EXPECT_LT(std::max(std::abs(x0 - x1), std::abs(y0 - y1)), 0.5f * larger) << index;
    EXPECT_NE(views[0].noise_step, views[1].noise_step);
    EXPECT_NE(bytes_of(views[0].colour), bytes_of(views[1].colour));
  }
}

TEST(SceneRecipe, AViewShowsTheSameAtAnySize) {
  for (std::uint64_t index = 0; index < 20; ++index) {
    const auto small = draw_scene_views(6, index, 64), large = draw_scene_views(6, index, 128);
    for (std::size_t k = 0; k < 2; ++k) {
      const Affine &a = small[k].place, &b = large[k].place;
      EXPECT_NEAR(64.0f * a.xx, 128.0f * b.xx, 1e-4f);
      EXPECT_NEAR(31.5f * (a.xx + a.xy) + a.x0, 63.5f * (b.xx + b.xy) + b.x0, 1e-4f);
      EXPECT_NEAR(31.5f * (a.yx + a.yy) + a.y0, 63.5f * (b.yx + b.yy) + b.y0, 1e-4f);
    }
  }
}

}  // namespace
}  // namespace ddpmts
