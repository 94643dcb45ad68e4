#include "data/defect_recipe.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <vector>

#include "engine/error.h"
#include "tests/kernels/kernel_test.h"

namespace ddpmts {
namespace {

using kernels::CpuIsa;
using kernels::MaskKind;
using kernels::SourceKind;
using kernels::TripletRecipe;

/// A drawn plate: a bright rectangle with some texture on a dark ground. Grey unless `coloured`.
std::vector<std::uint8_t> make_pictures(int count, int size, bool coloured) {
  const auto noise =
      kernels::test::random_floats(static_cast<std::int64_t>(count) * size * size * 3, 9, -6, 6);
  std::vector<std::uint8_t> pictures(noise.size());
  for (std::size_t i = 0; i < noise.size(); ++i) {
    const std::size_t pixel = i / 3, c = i % 3;
    const int x = static_cast<int>(pixel) % size, y = static_cast<int>(pixel) / size % size;
    const bool plate = x > size / 4 && x < 3 * size / 4 && y > size / 3 && y < 2 * size / 3;
    const float tint = coloured ? 20.0f * static_cast<float>(c) : 0.0f;
    pictures[i] = static_cast<std::uint8_t>((plate ? 170.0f : 60.0f) + tint + noise[coloured ? i : i - c]);
  }
  return pictures;
}

struct Drawn {
  std::vector<float> normal, defective;
  std::vector<std::uint8_t> mask;
};

Drawn draw(CpuIsa isa, const SynthesisConfig& config, int first, int n, int size,
           const std::vector<std::uint8_t>& pictures, int count, const std::vector<std::uint8_t>& folder = {},
           int folder_count = 0) {
  std::vector<TripletRecipe> recipes;
  for (int i = 0; i < n; ++i) {
    recipes.push_back(
        draw_recipe(config, 77, static_cast<std::uint64_t>(first + i), count, folder_count, size, size));
  }
  const auto pixels = static_cast<std::size_t>(n * size * size);
  Drawn drawn{std::vector<float>(3 * pixels), std::vector<float>(3 * pixels),
              std::vector<std::uint8_t>(pixels)};
  kernels::TripletArgs args;
  args.n = n;
  args.h = args.w = size;
  args.pictures = pictures.data();
  args.folder_pictures = folder.empty() ? nullptr : folder.data();
  args.recipes = recipes.data();
  args.normal = drawn.normal.data();
  args.defective = drawn.defective.data();
  args.mask = drawn.mask.data();
  for (int c = 0; c < 3; ++c) {
    args.mean[c] = 0;
    args.std[c] = 1 / 255.0f;
  }
  DDPMTS_RUN_KERNEL(isa, triplet, args);
  return drawn;
}

TEST(ShuffledIndex, IsABijectionForEveryCount) {
  for (const std::int64_t count : {1, 2, 3, 4, 5, 15, 16, 17, 100, 257, 1000}) {
    for (std::uint64_t epoch = 0; epoch < 3; ++epoch) {
      std::set<std::int64_t> seen;
      for (std::int64_t i = 0; i < count; ++i) {
        const std::int64_t index = shuffled_index(4, epoch, i, count);
        ASSERT_GE(index, 0);
        ASSERT_LT(index, count);
        seen.insert(index);
      }
      EXPECT_EQ(static_cast<std::int64_t>(seen.size()), count);
    }
  }
  EXPECT_THROW(shuffled_index(1, 0, 5, 5), Error);
  EXPECT_THROW(shuffled_index(1, 0, 0, 0), Error);
}

TEST(ShuffledIndex, OrdersDifferAndLookRandom) {
  const std::int64_t count = 1000;
  const auto order = [&](std::uint64_t seed, std::uint64_t epoch) {
    std::vector<std::int64_t> indices;
    for (std::int64_t i = 0; i < count; ++i) indices.push_back(shuffled_index(seed, epoch, i, count));
    return indices;
  };
  const auto a = order(1, 0);
  EXPECT_NE(a, order(1, 1));
  EXPECT_NE(a, order(2, 0));
  EXPECT_EQ(a, order(1, 0));
  double correlation = 0;
  int fixed = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t index = a[static_cast<std::size_t>(i)];
    correlation +=
        (static_cast<double>(i) / 999 - 0.5) * (static_cast<double>(index) / 999 - 0.5) * 12 / 1000;
    fixed += index == i ? 1 : 0;
  }
  EXPECT_LT(std::abs(correlation), 5 / std::sqrt(1000.0));
  EXPECT_LT(fixed, 9);
}

TEST(DrawRecipe, EveryPictureOnceAnEpoch) {
  for (std::uint64_t epoch = 0; epoch < 3; ++epoch) {
    std::vector<int> times(37);
    for (std::uint64_t i = 0; i < 37; ++i) {
      ++times[static_cast<std::size_t>(draw_recipe({}, 5, epoch * 37 + i, 37, 0, 64, 64).picture)];
    }
    EXPECT_EQ(std::count(times.begin(), times.end(), 1), 37);
  }
}

TEST(DrawRecipe, WeightsChooseKinds) {
  SynthesisConfig config;
  config.self_weight = 3;
  config.texture_weight = 1;
  config.folder_weight = 1;
  config.blob_weight = 0;
  config.no_defect_probability = 0.25f;
  std::map<SourceKind, int> sources;
  std::map<MaskKind, int> masks;
  const int n = 8000;
  for (int i = 0; i < n; ++i) {
    const TripletRecipe r = draw_recipe(config, 1, static_cast<std::uint64_t>(i), 10, 4, 256, 256);
    ++sources[r.source];
    ++masks[r.mask.kind];
    const std::int64_t count = r.source == SourceKind::folder ? 4 : 10;
    ASSERT_GE(r.source_picture, 0);
    ASSERT_LT(r.source_picture, count);
  }
  const double tolerance = 5 * std::sqrt(0.25 / n);
  EXPECT_NEAR(sources[SourceKind::self] / static_cast<double>(n), 0.6, tolerance);
  EXPECT_NEAR(sources[SourceKind::folder] / static_cast<double>(n), 0.2, tolerance);
  EXPECT_NEAR(masks[MaskKind::none] / static_cast<double>(n), 0.25, tolerance);
  EXPECT_NEAR(masks[MaskKind::perlin] / static_cast<double>(n), 0.75 * 0.3 / 0.7, tolerance);
  EXPECT_EQ(masks[MaskKind::blob], 0);
}

TEST(DrawRecipe, PaintedDefectsBringTheirPicture) {
  SynthesisConfig config;
  config.self_weight = 1;
  config.texture_weight = 0;
  config.diffusion_weight = 3;
  config.no_defect_probability = 0.25f;
  config.diffusion_opacity = {0.6f, 0.8f};
  config.augmentation = Augmentation::rotate;
  const std::vector<std::int64_t> bases{4, 9, 9, 0, 7};
  std::vector<int> times(bases.size());
  int painted = 0, none = 0;
  const int n = 8000;
  for (std::uint64_t i = 0; i < n; ++i) {
    const TripletRecipe r = draw_recipe(config, 1, i, 10, 0, 256, 256, bases);
    if (r.source != SourceKind::painted) {
      ASSERT_NE(r.mask.kind, MaskKind::painted);
      ASSERT_EQ(r.picture, shuffled_index(1, i / 10, static_cast<std::int64_t>(i % 10), 10));
      continue;
    }
    ++painted;
    ASSERT_GE(r.source_picture, 0);
    ASSERT_LT(r.source_picture, 5);
    const auto which = static_cast<std::size_t>(r.source_picture);
    ++times[which];
    ASSERT_EQ(r.picture, bases[which]);
    none += r.mask.kind == MaskKind::none ? 1 : 0;
    ASSERT_TRUE(r.mask.kind == MaskKind::none || r.mask.kind == MaskKind::painted);
    ASSERT_GE(r.opacity, 0.6f);
    ASSERT_LE(r.opacity, 0.8f);
    // It lies as its picture does, and nothing else is done to it.
    ASSERT_EQ(std::memcmp(&r.source_affine, &r.affine, sizeof r.affine), 0);
    ASSERT_EQ(r.source_border, r.border);
    ASSERT_FALSE(r.displaced);
    ASSERT_EQ(r.noise_sigma, 0.0f);
    ASSERT_EQ(r.blur_step, 0.0f);
    const kernels::ColourMap as_it_is;
    ASSERT_EQ(std::memcmp(&r.colour, &as_it_is, sizeof as_it_is), 0);
  }
  EXPECT_NEAR(painted, n * 0.75, 5 * std::sqrt(n * 0.75 * 0.25));
  EXPECT_NEAR(none, painted * 0.25, 5 * std::sqrt(painted * 0.25 * 0.75));
  for (const int count : times) EXPECT_NEAR(count, painted / 5.0, 5 * std::sqrt(painted * 0.2 * 0.8));
}

TEST(DrawRecipe, PaintedDefectsThatAreThereButHaveNoWeightChangeNothing) {
  const std::vector<std::int64_t> bases{1, 2};
  for (std::uint64_t i = 0; i < 200; ++i) {
    const TripletRecipe without = draw_recipe({}, 3, i, 10, 0, 96, 96);
    const TripletRecipe with = draw_recipe({}, 3, i, 10, 0, 96, 96, bases);
    ASSERT_NE(with.source, SourceKind::painted);
    ASSERT_EQ(with.source, without.source);
    ASSERT_EQ(with.picture, without.picture);
    ASSERT_EQ(with.opacity, without.opacity);
  }
}

TEST(DrawRecipe, OpacityStaysInItsRange) {
  SynthesisConfig config;
  config.texture_opacity = {0.3f, 0.4f};
  config.self_opacity = {0.5f, 0.9f};
  for (std::uint64_t i = 0; i < 500; ++i) {
    const TripletRecipe r = draw_recipe(config, 1, i, 10, 0, 256, 256);
    const FloatRange range = r.source == SourceKind::self ? config.self_opacity : config.texture_opacity;
    EXPECT_GE(r.opacity, range.low);
    EXPECT_LE(r.opacity, range.high);
  }
}

TEST(DrawRecipe, OtherPartsKeepTheirDrawsWhenOneChanges) {
  SynthesisConfig config, other;
  other.self_weight = 0;
  other.no_defect_probability = 0;
  other.augmentation = Augmentation::rotate;
  for (std::uint64_t i = 0; i < 50; ++i) {
    const TripletRecipe a = draw_recipe(config, 1, i, 10, 0, 256, 256);
    const TripletRecipe b = draw_recipe(other, 1, i, 10, 0, 256, 256);
    EXPECT_EQ(a.picture, b.picture);
    EXPECT_EQ(a.gain[1], b.gain[1]);
    EXPECT_EQ(a.mask.centre_x[3], b.mask.centre_x[3]);
    EXPECT_NE(a.affine.xx, b.affine.xx);
  }
}

TEST(DrawRecipe, AugmentationMovesAsItSays) {
  SynthesisConfig config;
  config.lighting = 0;
  const auto turn_of = [](const kernels::Affine& a) {
    return std::atan2(static_cast<double>(a.yx), static_cast<double>(a.xx)) * 180 / 3.14159265358979;
  };
  std::set<int> quadrants;
  for (std::uint64_t i = 0; i < 400; ++i) {
    config.augmentation = Augmentation::none;
    const kernels::Affine none = draw_recipe(config, 1, i, 10, 0, 200, 300).affine;
    EXPECT_EQ(none.xx, 1.0f);
    EXPECT_EQ(none.xy, 0.0f);
    EXPECT_EQ(none.x0, 0.0f);
    EXPECT_EQ(none.yx, 0.0f);
    EXPECT_EQ(none.yy, 1.0f);
    EXPECT_EQ(none.y0, 0.0f);

    config.augmentation = Augmentation::small;
    const kernels::Affine small = draw_recipe(config, 1, i, 10, 0, 200, 300).affine;
    EXPECT_LE(std::abs(turn_of(small)), 5.001);
    const double scale = std::hypot(static_cast<double>(small.xx), static_cast<double>(small.yx));
    EXPECT_NEAR(scale, 1, 0.0201);
    // The centre of the picture moves by the shift alone.
    const double x = static_cast<double>(small.xx) * 149.5 + static_cast<double>(small.xy) * 99.5 +
                     static_cast<double>(small.x0);
    EXPECT_NEAR(x, 149.5, 6.001);

    config.augmentation = Augmentation::quarter;
    const double turn = turn_of(draw_recipe(config, 1, i, 10, 0, 200, 300).affine);
    EXPECT_LE(std::abs(turn - 90 * std::round(turn / 90)), 5.001);
    quadrants.insert((static_cast<int>(std::round(turn / 90)) + 4) % 4);
  }
  EXPECT_EQ(quadrants.size(), 4u);
}

TEST(DrawRecipe, FlipsOnlyWhenAllowed) {
  SynthesisConfig config;
  int mirrored = 0;
  for (std::uint64_t i = 0; i < 200; ++i) {
    const auto determinant = [&] {
      const kernels::Affine a = draw_recipe(config, 1, i, 10, 0, 64, 64).affine;
      return a.xx * a.yy - a.xy * a.yx;
    };
    config.flip_horizontal = false;
    EXPECT_GT(determinant(), 0);
    config.flip_horizontal = true;
    mirrored += determinant() < 0 ? 1 : 0;
  }
  EXPECT_NEAR(mirrored, 100, 36);
}

TEST(Synthesis, GreyPicturesGetGreyDefects) {
  SynthesisConfig config;
  config.grey_pictures = true;
  config.folder_weight = 0.5f;
  const auto pictures = make_pictures(6, 64, false);
  const auto coloured = make_pictures(3, 64, true);
  const Drawn drawn = draw(kernels::cpu_isa(), config, 0, 256, 64, pictures, 6, coloured, 3);
  int changed = 0;
  for (std::size_t p = 0; p < drawn.mask.size(); ++p) {
    ASSERT_NEAR(drawn.defective[3 * p], drawn.defective[3 * p + 1], 0.01f) << p;
    ASSERT_NEAR(drawn.defective[3 * p], drawn.defective[3 * p + 2], 0.01f) << p;
    changed += drawn.defective[3 * p] != drawn.normal[3 * p] ? 1 : 0;
  }
  EXPECT_GT(changed, 1000);
}

TEST(Synthesis, ADefectIsNeverEmptyAndSizesAreSpreadOut) {
  SynthesisConfig config;
  const int size = 128, n = 600;
  const auto pictures = make_pictures(6, size, true);
  const Drawn drawn = draw(kernels::cpu_isa(), config, 0, n, size, pictures, 6);
  int tiny = 0, medium = 0, large = 0, none = 0;
  for (int i = 0; i < n; ++i) {
    const auto first = drawn.mask.begin() + static_cast<std::ptrdiff_t>(i) * size * size;
    const double share = static_cast<double>(std::count(first, first + size * size, 1)) / (size * size);
    const TripletRecipe r = draw_recipe(config, 77, static_cast<std::uint64_t>(i), 6, 0, size, size);
    EXPECT_EQ(share == 0, r.mask.kind == MaskKind::none) << i;
    none += share == 0 ? 1 : 0;
    tiny += share > 0 && share < 0.002 ? 1 : 0;
    medium += share >= 0.002 && share < 0.02 ? 1 : 0;
    large += share >= 0.02 ? 1 : 0;
  }
  EXPECT_NEAR(none, 60, 37);
  EXPECT_GT(tiny, n / 10);
  EXPECT_GT(medium, n / 5);
  EXPECT_GT(large, n / 10);
}

TEST(Synthesis, DefectsPreferThePart) {
  SynthesisConfig config;
  config.no_defect_probability = 0;
  config.perlin_weight = config.stroke_weight = config.rectangle_weight = config.smooth_noise_weight = 0;
  const int size = 96, n = 300;
  const auto pictures = make_pictures(6, size, true);
  const auto near_edges = [&](float probability) {
    config.on_part_probability = probability;
    const Drawn drawn = draw(kernels::cpu_isa(), config, 0, n, size, pictures, 6);
    int hits = 0;
    for (int i = 0; i < n; ++i) {
      double x = 0, y = 0, count = 0;
      for (int p = 0; p < size * size; ++p) {
        if (drawn.mask[static_cast<std::size_t>(i * size * size + p)] == 0) continue;
        x += p % size;
        y += p / size;
        ++count;
      }
      hits += std::abs(x / count - size / 2) < size * 0.32 && std::abs(y / count - size / 2) < size * 0.25
                  ? 1
                  : 0;
    }
    return hits;
  };
  EXPECT_GT(near_edges(1.0f), near_edges(0.0f) + n / 5);
}

TEST(Synthesis, SameBitsOnEveryInstructionSetAndNoDependenceOnTheBatch) {
  SynthesisConfig config;
  config.relabel_unchanged = true;
  config.augmentation = Augmentation::rotate;
  config.folder_weight = 0.4f;
  const int size = 80, n = 64;
  const auto pictures = make_pictures(5, size, true);
  const auto folder = make_pictures(4, size, false);
  const Drawn expected = draw(CpuIsa::baseline, config, 0, n, size, pictures, 5, folder, 4);
  kernels::test::for_each_isa([&](CpuIsa isa) {
    const Drawn drawn = draw(isa, config, 0, n, size, pictures, 5, folder, 4);
    EXPECT_EQ(drawn.mask, expected.mask);
    EXPECT_EQ(std::memcmp(drawn.normal.data(), expected.normal.data(), drawn.normal.size() * sizeof(float)),
              0);
    EXPECT_EQ(std::memcmp(drawn.defective.data(), expected.defective.data(),
                          drawn.defective.size() * sizeof(float)),
              0);
  });
  const Drawn one = draw(kernels::cpu_isa(), config, 41, 1, size, pictures, 5, folder, 4);
  EXPECT_TRUE(std::equal(one.defective.begin(), one.defective.end(),
                         expected.defective.begin() + static_cast<std::ptrdiff_t>(41) * size * size * 3));
}

TEST(Synthesis, TinyAndOddSizesWork) {
  for (const auto& [h, w] : {std::pair{1, 1}, {2, 7}, {65, 33}}) {
    std::vector<std::uint8_t> picture(static_cast<std::size_t>(h * w * 3), 120);
    for (std::uint64_t i = 0; i < 100; ++i) {
      SynthesisConfig config;
      config.no_defect_probability = 0;
      const TripletRecipe r = draw_recipe(config, 2, i, 1, 0, h, w);
      std::vector<float> normal(picture.size()), defective(picture.size());
      std::vector<std::uint8_t> mask(picture.size() / 3);
      kernels::TripletArgs args;
      args.n = 1;
      args.h = h;
      args.w = w;
      args.pictures = picture.data();
      args.recipes = &r;
      args.normal = normal.data();
      args.defective = defective.data();
      args.mask = mask.data();
      kernels::cpu::triplet(args);
      EXPECT_GT(std::count(mask.begin(), mask.end(), 1), 0) << h << "x" << w << " sample " << i;
      for (const float value : defective) ASSERT_TRUE(std::isfinite(value));
    }
  }
}

TEST(SynthesisConfig, SaysWhatIsWrong) {
  const auto message = [](const SynthesisConfig& config, std::int64_t pictures, std::int64_t folder) {
    try {
      check(config, pictures, folder);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  SynthesisConfig config;
  EXPECT_EQ(message(config, 1, 0), "");
  EXPECT_NE(message(config, 0, 0), "");
  config.folder_weight = 1;
  EXPECT_NE(message(config, 10, 0).find("folder"), std::string::npos);
  EXPECT_EQ(message(config, 10, 1), "");
  config = {};
  config.blob_weight = -1;
  EXPECT_NE(message(config, 10, 0).find("mask kinds"), std::string::npos);
  config = {};
  config.self_weight = config.texture_weight = 0;
  EXPECT_NE(message(config, 10, 0).find("sources"), std::string::npos);
  config = {};
  config.self_opacity = {0.9f, 0.2f};
  EXPECT_NE(message(config, 10, 0).find("self"), std::string::npos);
  config = {};
  config.on_part_probability = 1.5f;
  EXPECT_NE(message(config, 10, 0).find("on_part_probability"), std::string::npos);
  config = {};
  config.perlin.max_exponent = 6;
  EXPECT_NE(message(config, 10, 0).find("Perlin"), std::string::npos);
  config = {};
  config.lighting = std::nanf("");
  EXPECT_NE(message(config, 10, 0).find("lighting"), std::string::npos);
}

TEST(SynthesisConfig, SaysWhatIsWrongWithPaintedDefects) {
  const auto message = [](const SynthesisConfig& config, const std::vector<std::int64_t>& bases) {
    try {
      check(config, 10, 0, bases);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  SynthesisConfig config;
  config.diffusion_weight = 0.5f;
  EXPECT_NE(message(config, {}).find("no painted defects"), std::string::npos);
  EXPECT_EQ(message(config, {0, 9}), "");
  EXPECT_NE(message(config, {0, 10}).find("picture 10 of 10"), std::string::npos);
  EXPECT_NE(message(config, {-1}).find("picture -1 of 10"), std::string::npos);
  config.self_weight = config.texture_weight = 0;
  EXPECT_EQ(message(config, {3}), "") << "one source is enough";
  config.diffusion_weight = -1;
  EXPECT_NE(message(config, {3}).find("sources"), std::string::npos);
  config.diffusion_weight = 1;
  config.diffusion_opacity = {0.5f, 1.5f};
  EXPECT_NE(message(config, {3}).find("diffusion"), std::string::npos);
  EXPECT_THROW(draw_recipe({}, 1, 0, 10, 0, 64, 64, std::vector<std::int64_t>{12}), Error);
}

TEST(Augmentation, NamesGoBothWays) {
  for (const Augmentation a :
       {Augmentation::none, Augmentation::small, Augmentation::quarter, Augmentation::rotate}) {
    EXPECT_EQ(augmentation_named(name_of(a)), a);
  }
  EXPECT_THROW(augmentation_named("large"), Error);
}

}  // namespace
}  // namespace ddpmts
