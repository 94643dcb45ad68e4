#include "kernels/triplet.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <stdexcept>
#include <vector>

#include "kernels/triplet_math.h"
#include "tests/kernels/plain_triplet.h"

#if DDPMTS_CPU_TESTS
#include <omp.h>
#endif

namespace ddpmts::kernels {
namespace {

TEST(Triplet, MatchesThePlainTwin) {
  for (const auto& [h, w] : {std::pair{64, 64}, {65, 33}, {20, 301}}) {
    const Scene scene(h, w);
    const int count = 48;  // each mask kind with each source
    const auto recipes = random_recipes(count, h, w);
    const Drawn drawn = scene.draw(test::fastest_isa(), recipes);
    for (int i = 0; i < count; ++i) {
      const TripletRecipe& r = recipes[static_cast<std::size_t>(i)];
      const PlainTable table({r.seed, RandomStream::texture, r.step}, 0);
      const std::uint8_t* picture = scene.pictures.data() + r.picture * h * w * 3;
      const Place centre = plain_centre(r, picture, h, w);
      int masked = 0, wrong = 0;
      for (int y = 0; y < h; ++y) {
        for (int x = 0; x < w; ++x) {
          const auto p = static_cast<std::size_t>((i * h + y) * w + x);
          const PlainPixel expected = plain_pixel(scene, r, table, centre, x, y, drawn.mask[p] == 1);
          bool differs = false;
          for (int c = 0; c < 3; ++c) {
            const auto at = 3 * p + static_cast<std::size_t>(c);
            ASSERT_NEAR(static_cast<double>(drawn.normal[at]), normalised(expected.normal.c[c], c), 1e-3)
                << "recipe " << i << " at " << x << "," << y;
            const double off =
                std::abs(static_cast<double>(drawn.defective[at]) - normalised(expected.defective.c[c], c));
            differs = differs || off > 3e-3;
          }
          wrong += differs ? 1 : 0;
          masked += drawn.mask[p];
        }
      }
      // Patches and grain jump at their edges, where float and double may round to different sides.
      const bool jumps = r.source == SourceKind::texture &&
                         (r.texture.kind == TextureKind::patches || r.texture.kind == TextureKind::grain);
      EXPECT_LE(wrong, jumps ? 1 + masked / 50 : 0) << "recipe " << i << ", " << masked << " mask pixels";
      EXPECT_EQ(masked > 0, r.mask.kind != MaskKind::none) << "recipe " << i;
    }
  }
}

TEST(Triplet, PixelNoiseIsGaussianInTheRightChannels) {
  const Scene scene(96, 96);
  TripletRecipe r;
  r.mask.kind = MaskKind::rectangle;
  r.mask.radius_u = r.mask.radius_v = 1000;
  r.source = SourceKind::texture;
  for (auto& stop : r.texture.colour) std::fill(stop, stop + 3, 128.0f);
  r.noise_sigma = 12;
  for (const bool grey : {true, false}) {
    r.noise_is_grey = grey;
    const Drawn drawn = scene.draw(r);
    double sum = 0, squares = 0, product = 0;
    const int n = 96 * 96;
    for (std::size_t p = 0; p < n; ++p) {
      const double red = (static_cast<double>(drawn.defective[3 * p]) - normalised(128, 0)) * 0.229 * 255;
      const double green =
          (static_cast<double>(drawn.defective[3 * p + 1]) - normalised(128, 1)) * 0.224 * 255;
      sum += red;
      squares += red * red;
      product += red * green;
    }
    EXPECT_NEAR(sum / n, 0, 5 * 12 / std::sqrt(n));
    EXPECT_NEAR(std::sqrt(squares / n), 12, 0.5);
    EXPECT_NEAR(product / squares, grey ? 1 : 0, 0.06);
  }
}

// ---- masks ----

double plain_mask_value(const MaskRecipe& m, const PlainTable& table, double dx, double dy) {
  const double cosine = static_cast<double>(m.cosine), sine = static_cast<double>(m.sine);
  const double along = cosine * dx + sine * dy, across = cosine * dy - sine * dx;
  const double u = along / static_cast<double>(m.radius_u), v = across / static_cast<double>(m.radius_v);
  const double detail = static_cast<double>(m.detail), f = static_cast<double>(m.frequency);
  const double rough = static_cast<double>(m.roughness), bend = static_cast<double>(m.bend);
  switch (m.kind) {
    case MaskKind::blob:
      return 1 - std::hypot(u, v) + rough * table.fractal(u * f, v * f, detail);
    case MaskKind::rectangle:
      return std::min(1 - std::abs(u), 1 - std::abs(v));
    case MaskKind::stroke: {
      if (std::abs(u) > 1) return -1;
      const double curve = bend * u * u + static_cast<double>(m.wobble) * table.noise(u * f, 0.5);
      const double distance =
          std::abs(across - curve) / std::hypot(1, 2 * bend * u / static_cast<double>(m.radius_u));
      const double width = static_cast<double>(m.radius_v) *
                           (1 - rough * (0.5 + 0.5 * table.noise(u * f, 9.5))) * (1 - rough * std::pow(u, 4));
      return std::max(width, 0.5) - distance;
    }
    default: {
      const double window = static_cast<double>(m.window_radius);
      const double penalty = window > 0 ? std::max(0.0, std::hypot(dx, dy) / window - 1) : 0;
      return table.fractal(u, v, detail) - static_cast<double>(m.threshold) - penalty;
    }
  }
}

TEST(Triplet, MasksMatchTheirFormulas) {
  const int h = 80, w = 70;
  const Scene scene(h, w);
  for (const MaskKind kind :
       {MaskKind::blob, MaskKind::stroke, MaskKind::rectangle, MaskKind::smooth_noise}) {
    for (std::uint64_t sample = 0; sample < 6; ++sample) {
      TripletRecipe r = random_recipe(sample, h, w);
      r.mask.kind = kind;
      r.mask.centres = 1;
      const Drawn drawn = scene.draw(r);
      const PlainTable table({r.seed, RandomStream::perlin, r.step}, 1u << 24);
      int inside = 0;
      for (int y = 0; y < h; ++y) {
        for (int x = 0; x < w; ++x) {
          const double value = plain_mask_value(r.mask, table, x - static_cast<double>(r.mask.centre_x[0]),
                                                y - static_cast<double>(r.mask.centre_y[0]));
          const int actual = drawn.mask[static_cast<std::size_t>(y * w + x)];
          inside += actual;
          if (std::abs(value) > 1e-4) {
            ASSERT_EQ(actual, value > 0 ? 1 : 0)
                << "kind " << static_cast<int>(kind) << " sample " << sample << " at " << x << "," << y;
          }
        }
      }
      EXPECT_GT(inside, 0);
      EXPECT_LT(inside, h * w);
    }
  }
}

TEST(Triplet, PerlinMasksAreThoseOfThePerlinKernel) {
  const int h = 64, w = 90, n = 12;
  const Scene scene(h, w);
  Array<TripletRecipe> recipes(n);
  PerlinConfig config;
  config.max_exponent = 2;
  config.max_tries = 30;
  for (std::size_t i = 0; i < n; ++i) {
    recipes[i].seed = 5;
    recipes[i].step = 40 + i;
    recipes[i].mask.kind = MaskKind::perlin;
    recipes[i].mask.perlin = config;
  }
  Array<std::uint8_t> expected(static_cast<std::size_t>(n * h * w));
  PerlinMaskArgs args;
  args.n = n;
  args.h = h;
  args.w = w;
  args.config = config;
  args.seed = 5;
  args.first_sample = 40;
  args.mask = expected.data();
  DDPMTS_RUN_KERNEL(test::fastest_isa(), perlin_mask, args);
  EXPECT_EQ(scene.draw(test::fastest_isa(), recipes).mask, expected);
}

TEST(Triplet, AWindowConfinesPerlinNoise) {
  const int h = 128, w = 128;
  const Scene scene(h, w);
  TripletRecipe r;
  r.mask.kind = MaskKind::perlin;
  r.mask.perlin = PerlinConfig{3, 4, 0.1f, 90, 1};
  r.mask.centre_x[0] = 40;
  r.mask.centre_y[0] = 60;
  const Drawn whole = scene.draw(r);
  r.mask.window_radius = 15;
  const Drawn confined = scene.draw(r);
  int near = 0, far = 0;
  for (int y = 0; y < h; ++y) {
    for (int x = 0; x < w; ++x) {
      const auto p = static_cast<std::size_t>(y * w + x);
      const double d = std::hypot(x - 40, y - 60);
      if (d <= 15) {
        EXPECT_EQ(confined.mask[p], whole.mask[p]);
      }
      if (d >= 29) {
        EXPECT_EQ(confined.mask[p], 0);
      }
      near += d <= 15 ? whole.mask[p] : 0;
      far += d >= 29 ? whole.mask[p] : 0;
    }
  }
  EXPECT_GT(near, 0);
  EXPECT_GT(far, 0);
}

TEST(Triplet, APaintedMaskLiesAsItsPictureDoes) {
  for (const auto& [h, w] : {std::pair{64, 64}, {65, 33}, {20, 301}}) {
    const Scene scene(h, w);
    int inside = 0, beyond = 0, compared = 0;
    for (std::uint64_t sample = 0; sample < 16; ++sample) {
      TripletRecipe r = random_recipe(sample, h, w);  // turned, scaled, sheared and moved; every border rule
      r.source = SourceKind::painted;
      r.mask.kind = MaskKind::painted;
      r.mask.centres = 1;
      r.source_picture = 2 - static_cast<std::int64_t>(sample % 3);
      const Drawn drawn = scene.draw(r);
      const std::uint8_t* mask = scene.painted_masks.data() + r.source_picture * h * w;
      for (int y = 0; y < h; ++y) {
        for (int x = 0; x < w; ++x) {
          const Place from = moved(r.affine, {static_cast<double>(x), static_cast<double>(y)});
          const double column = std::round(from.x), row = std::round(from.y);
          // Halfway between two pixels float and double may choose different ones.
          if (std::max(std::abs(from.x - column), std::abs(from.y - row)) > 0.4999) continue;
          const bool in_picture = column >= 0 && column < w && row >= 0 && row < h;
          const int expected = in_picture ? mask[static_cast<int>(row) * w + static_cast<int>(column)] : 0;
          ASSERT_EQ(drawn.mask[static_cast<std::size_t>(y * w + x)], expected)
              << h << "x" << w << " sample " << sample << " at " << x << "," << y;
          inside += expected;
          beyond += in_picture ? 0 : 1;
          ++compared;
        }
      }
    }
    EXPECT_GT(compared, 15 * h * w);
    EXPECT_GT(inside, h * w);
    EXPECT_GT(beyond, h * w / 4);
  }
}

TEST(Triplet, APaintedDefectThatDoesNotMoveIsAsItWasPainted) {
  const int h = 33, w = 46;
  const Scene scene(h, w);
  const auto pixels = static_cast<std::size_t>(h * w);
  for (const float opacity : {1.0f, 0.25f}) {
    TripletRecipe r;
    r.picture = 1;
    r.source = SourceKind::painted;
    r.mask.kind = MaskKind::painted;
    r.source_picture = 2;
    r.opacity = opacity;
    const Drawn drawn = scene.draw(r);
    for (std::size_t p = 0; p < pixels; ++p) {
      ASSERT_EQ(drawn.mask[p], scene.painted_masks[2 * pixels + p]);
      for (std::size_t c = 0; c < 3; ++c) {
        const double normal = scene.pictures[3 * (pixels + p) + c];
        const double painted = scene.painted[3 * (2 * pixels + p) + c];
        const double expected =
            drawn.mask[p] == 0 ? normal : std::lerp(normal, painted, static_cast<double>(opacity));
        ASSERT_NEAR(static_cast<double>(drawn.defective[3 * p + c]),
                    normalised(expected, static_cast<int>(c)), 1e-5);
      }
    }
  }
}

TEST(Triplet, AnEmptyMaskBecomesADiscOnlyIfWanted) {
  const Scene scene(40, 50);
  TripletRecipe r;
  r.mask.kind = MaskKind::perlin;
  r.mask.perlin.threshold = 2;  // never reached
  r.mask.perlin.max_tries = 3;
  r.mask.centre_x[0] = 12.3f;
  r.mask.centre_y[0] = 39;  // the last row
  r.mask.disc_radius = 3;
  const Drawn disc = scene.draw(r);
  for (int y = 0; y < 40; ++y) {
    for (int x = 0; x < 50; ++x) {
      const bool inside = (x - 12.3) * (x - 12.3) + (y - 39) * (y - 39) < 9;
      EXPECT_EQ(disc.mask[static_cast<std::size_t>(y * 50 + x)], inside ? 1 : 0);
    }
  }
  r.mask.never_empty = false;
  const Drawn empty = scene.draw(r);
  EXPECT_EQ(std::count(empty.mask.begin(), empty.mask.end(), 0), 40 * 50);
  EXPECT_EQ(empty.defective.bytes(), empty.normal.bytes());
}

TEST(Triplet, TheCentreIsTheBusiestCandidate) {
  Scene scene(64, 64);
  std::fill(scene.pictures.begin(), scene.pictures.end(), std::uint8_t{90});
  for (std::size_t x = 45; x < 50; ++x)
    scene.pictures[(20 * 64 + x) * 3] = 200;  // a short line near (47, 20)
  TripletRecipe r;
  r.mask.kind = MaskKind::rectangle;
  r.mask.radius_u = r.mask.radius_v = 2.5f;
  r.mask.centres = 3;
  const float xs[] = {10, 47, 30}, ys[] = {10, 20, 50};
  std::copy(xs, xs + 3, r.mask.centre_x);
  std::copy(ys, ys + 3, r.mask.centre_y);
  const Drawn drawn = scene.draw(r);
  for (int y = 0; y < 64; ++y) {
    for (int x = 0; x < 64; ++x) {
      EXPECT_EQ(drawn.mask[static_cast<std::size_t>(y * 64 + x)],
                std::abs(x - 47) <= 2 && std::abs(y - 20) <= 2);
    }
  }
}

TEST(Triplet, RelabelsWhatDidNotVisiblyChange) {
  Scene scene(32, 48);
  std::fill(scene.pictures.begin(), scene.pictures.end(), std::uint8_t{100});
  const auto pixels = static_cast<std::size_t>(32 * 48 * 3);
  // Picture 1 differs in one pixel, (20, 10): by 60 levels in blue.
  scene.pictures[pixels + (10 * 48 + 20) * 3 + 2] = 160;
  TripletRecipe r;
  r.mask.kind = MaskKind::rectangle;
  r.mask.centre_x[0] = 20;
  r.mask.centre_y[0] = 15;
  r.mask.radius_u = 15.5f;
  r.mask.radius_v = 6.5f;  // rows 9 to 21
  r.source_picture = 1;
  r.opacity = 0.5f;
  const auto count = [](const Drawn& drawn) { return std::count(drawn.mask.begin(), drawn.mask.end(), 1); };
  const Drawn paper = scene.draw(r);
  EXPECT_EQ(count(paper), 31 * 13);
  r.min_visible_change = 30;
  const Drawn kept = scene.draw(r);
  EXPECT_EQ(kept.defective.bytes(), paper.defective.bytes());
  for (int y = 0; y < 32; ++y) {
    for (int x = 0; x < 48; ++x) {  // 5×5 around the change, cut by the mask's upper edge
      const bool expected = std::abs(x - 20) <= 2 && y >= 9 && y <= 12;
      EXPECT_EQ(kept.mask[static_cast<std::size_t>(y * 48 + x)], expected ? 1 : 0) << x << "," << y;
    }
  }
  r.min_visible_change = 30.5f;
  EXPECT_EQ(count(scene.draw(r)), 0);
}

// ---- identities ----

TEST(Triplet, TheIdentityRecipeReturnsThePicture) {
  for (const auto& [h, w] : {std::pair{33, 65}, {1, 1}, {5, 600}}) {
    const Scene scene(h, w);
    for (int border = 0; border < 4; ++border) {
      TripletRecipe r;
      r.picture = 2;
      r.border = static_cast<BorderRule>(border);
      const Array<TripletRecipe> recipes{r};
      TripletArgs args;
      args.n = 1;
      args.h = h;
      args.w = w;
      args.pictures = scene.pictures.data();
      args.recipes = recipes.data();
      const auto size = static_cast<std::size_t>(h * w * 3);
      Array<float> normal(size), defective(size);
      Array<std::uint8_t> mask(size / 3, 9);
      args.normal = normal.data();
      args.defective = defective.data();
      args.mask = mask.data();
      for (int c = 0; c < 3; ++c) {
        args.mean[c] = 0;
        args.std[c] = 1;
      }
      DDPMTS_RUN_KERNEL(test::fastest_isa(), triplet, args);
      for (std::size_t i = 0; i < size; ++i) {
        ASSERT_EQ(normal[i],
                  static_cast<float>(scene.pictures[2 * size + i]) * static_cast<float>(1 / 255.0));
        ASSERT_EQ(defective[i], normal[i]);
        ASSERT_EQ(mask[i / 3], 0);
      }
    }
  }
}

TEST(Triplet, NoOpacityMeansNoChange) {
  const Scene scene(48, 48);
  auto recipes = random_recipes(24, 48, 48);
  for (TripletRecipe& r : recipes) r.opacity = 0;
  const Drawn drawn = scene.draw(test::fastest_isa(), recipes);
  EXPECT_EQ(drawn.defective.bytes(), drawn.normal.bytes());
  EXPECT_GT(std::count(drawn.mask.begin(), drawn.mask.end(), 1), 0);
}

TEST(Triplet, NothingChangesOutsideTheMask) {
  const Scene scene(48, 48);
  const Drawn drawn = scene.draw(test::fastest_isa(), random_recipes(48, 48, 48));
  int changed_inside = 0;
  for (std::size_t p = 0; p < drawn.mask.size(); ++p) {
    for (std::size_t c = 0; c < 3; ++c) {
      const bool changed = drawn.defective[3 * p + c] != drawn.normal[3 * p + c];
      if (drawn.mask[p] == 0) {
        ASSERT_FALSE(changed);
      }
      changed_inside += changed ? 1 : 0;
    }
  }
  EXPECT_GT(changed_inside, 1000);
}

// ---- layout, devices, errors ----

TEST(Triplet, Bf16AndPaddingChannels) {
  const Scene scene(31, 29);
  const auto recipes = random_recipes(24, 31, 29);
  const Drawn plain = scene.draw(test::fastest_isa(), recipes);
  const Drawn padded = scene.draw(test::fastest_isa(), recipes, DType::bf16, 8);
  EXPECT_EQ(padded.mask, plain.mask);
  for (std::size_t p = 0; p < plain.mask.size(); ++p) {
    for (std::size_t c = 0; c < 8; ++c) {
      const float normal = c < 3 ? to_float(from_float<bf16>(plain.normal[3 * p + c])) : 0.0f;
      const float defective = c < 3 ? to_float(from_float<bf16>(plain.defective[3 * p + c])) : 0.0f;
      ASSERT_EQ(padded.normal[8 * p + c], normal);
      ASSERT_EQ(padded.defective[8 * p + c], defective);
    }
  }
}

// The bits themselves, drawn on the CPU: CPUs, GPUs and the host shim all draw these. Every mask kind with every source, with
// noise, blur, retries, discs and clearing.
TEST(Triplet, SameBitsOnEveryDevice) {
  const int h = 37, w = 75;
  const Scene scene(h, w);
  auto recipes = random_recipes(48, h, w);
  for (std::size_t i = 0; i < recipes.size(); ++i) {
    if (i % 2 == 0) recipes[i].noise_sigma = 15;
    recipes[i].noise_is_grey = i % 4 == 0;
    if (i % 3 == 1) recipes[i].min_visible_change = 25;
    recipes[i].mask.perlin.max_tries = 2;
    if (i % 7 == 0) recipes[i].mask.perlin.threshold = recipes[i].mask.threshold = 0.95f;  // most stay empty
  }
  test::for_each_isa([&](CpuIsa isa) {
    const Drawn drawn = scene.draw(isa, recipes, DType::bf16, 8);
    EXPECT_EQ(test::hash_of(drawn.mask.data(), drawn.mask.size()), 0x805ede49d73c52d6u);
    EXPECT_EQ(test::hash_of(drawn.normal.bytes().data(), drawn.normal.bytes().size()), 0x2a0a11dd0f2f8e09u);
    EXPECT_EQ(test::hash_of(drawn.defective.bytes().data(), drawn.defective.bytes().size()),
              0x21ec550ccec35f66u);
  });
}

#if DDPMTS_CPU_TESTS
TEST(Triplet, SameBitsOnEveryInstructionSetAndThreadCount) {
  const int threads = omp_get_max_threads();
  for (const auto& [h, w] : {std::pair{64, 64}, {65, 33}, {1, 1}, {3, 523}}) {
    const Scene scene(h, w);
    auto recipes = random_recipes(168, h, w);  // each mask kind with each source and texture
    for (std::size_t i = 0; i < recipes.size(); i += 2) {
      recipes[i].noise_sigma = 15;
      recipes[i].noise_is_grey = i % 4 == 0;
    }
    const Drawn expected = scene.draw(CpuIsa::baseline, recipes);
    test::for_each_isa([&](CpuIsa isa) {
      for (const int count : {1, 3}) {
        omp_set_num_threads(count);
        const Drawn drawn = scene.draw(isa, recipes);
        EXPECT_EQ(drawn.mask, expected.mask);
        EXPECT_EQ(drawn.normal.bytes(), expected.normal.bytes());
        EXPECT_EQ(drawn.defective.bytes(), expected.defective.bytes());
      }
    });
  }
  omp_set_num_threads(threads);
}
#endif

TEST(Triplet, RefusesWrongArguments) {
  TripletArgs args;
  args.h = args.w = 8;
  args.channels = 2;
  EXPECT_THROW(DDPMTS_RUN_KERNEL(test::fastest_isa(), triplet, args), std::invalid_argument);
  args.channels = 3;
  args.type = DType::u8;
  EXPECT_THROW(DDPMTS_RUN_KERNEL(test::fastest_isa(), triplet, args), std::invalid_argument);
  args.type = DType::f32;
  args.w = 0;
  EXPECT_THROW(DDPMTS_RUN_KERNEL(test::fastest_isa(), triplet, args), std::invalid_argument);
  args.w = 8;
  EXPECT_NO_THROW(DDPMTS_RUN_KERNEL(test::fastest_isa(), triplet, args));  // no pictures, nothing to do
}

TEST(TripletMath, PowersOfTwo) {
  for (float x = -20; x <= 20; x += 0.037f) {
    EXPECT_NEAR(static_cast<double>(exp2_of(x)) / std::exp2(static_cast<double>(x)), 1, 1e-6) << x;
  }
  EXPECT_EQ(exp2_of(5), 32.0f);
  EXPECT_EQ(exp2_of(-3), 0.125f);
}

}  // namespace
}  // namespace ddpmts::kernels
