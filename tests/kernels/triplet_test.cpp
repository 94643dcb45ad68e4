#include "kernels/triplet.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <stdexcept>
#include <vector>

#include "kernels/triplet_math.h"
#include "tests/kernels/drawing_test.h"

#if DDPMTS_CPU_TESTS
#include <omp.h>
#endif

namespace ddpmts::kernels {
namespace {

using test::Array;

constexpr int kPictures = 3;

/// Noise on slow waves, so that samples between pixels differ and neighbourhoods do too.
Array<std::uint8_t> make_pictures(int h, int w, std::uint64_t step) {
  const auto noise = test::random_floats(static_cast<std::int64_t>(kPictures) * h * w * 3, step, -40, 40);
  Array<std::uint8_t> pictures(noise.size());
  for (std::size_t i = 0; i < noise.size(); ++i) {
    const auto x = static_cast<double>(i / 3 % static_cast<std::size_t>(w));
    const double wave = 128 + 80 * std::sin(x * 0.2 + static_cast<double>(i % 3));
    pictures[i] = static_cast<std::uint8_t>(wave + static_cast<double>(noise[i]));
  }
  return pictures;
}

struct Drawn {
  test::Buffer normal, defective;
  Array<std::uint8_t> mask;
};

/// Patches of a seventh by a fifth, some in and some out, so that every neighbourhood holds both.
Array<std::uint8_t> make_masks(int h, int w) {
  Array<std::uint8_t> masks;
  for (int i = 0; i < kPictures; ++i) {
    for (int y = 0; y < h; ++y) {
      for (int x = 0; x < w; ++x) masks.push_back((x / 7 + 2 * (y / 5) + i) % 3 == 0 ? 1 : 0);
    }
  }
  return masks;
}

class Scene {
 public:
  Scene(int height, int width)
      : h(height),
        w(width),
        pictures(make_pictures(h, w, 1)),
        folder(make_pictures(h, w, 2)),
        painted(make_pictures(h, w, 3)),
        painted_masks(make_masks(h, w)) {}

  Drawn draw(CpuIsa isa, const Array<TripletRecipe>& recipes, DType type = DType::f32,
             std::int64_t channels = 3) const {
    const auto n = static_cast<std::int64_t>(recipes.size());
    Drawn drawn{test::Buffer(type, n * h * w * channels), test::Buffer(type, n * h * w * channels),
                Array<std::uint8_t>(static_cast<std::size_t>(n * h * w), 9)};
    TripletArgs args;
    args.type = type;
    args.n = n;
    args.h = h;
    args.w = w;
    args.channels = channels;
    args.pictures = pictures.data();
    args.folder_pictures = folder.data();
    args.painted_pictures = painted.data();
    args.painted_masks = painted_masks.data();
    args.recipes = recipes.data();
    args.normal = drawn.normal.data();
    args.defective = drawn.defective.data();
    args.mask = drawn.mask.data();
    DDPMTS_RUN_KERNEL(isa, triplet, args);
    return drawn;
  }
  Drawn draw(const TripletRecipe& recipe) const { return draw(test::fastest_isa(), {recipe}); }

  int h, w;
  Array<std::uint8_t> pictures, folder, painted, painted_masks;
};

double normalised(double level, int c) {
  const TripletArgs defaults;
  return (level / 255 - static_cast<double>(defaults.mean[c])) / static_cast<double>(defaults.std[c]);
}

/// A picture of random size and place, every number different from its default.
TripletRecipe random_recipe(std::uint64_t sample, int h, int w) {
  const Array<float> u = test::random_floats(80, 1000 + sample);  // in [−1, 1)
  std::size_t next = 0;
  const auto draw = [&](float middle, float reach) { return middle + reach * u[next++]; };
  TripletRecipe r;
  r.seed = 17;
  r.step = sample;
  r.picture = static_cast<std::int64_t>(sample % kPictures);
  r.affine = Affine{draw(0.9f, 0.2f), draw(0, 0.5f), draw(0, 9), draw(0, 0.5f), draw(1, 0.2f), draw(0, 9)};
  r.border = static_cast<BorderRule>(sample % 4);
  for (int c = 0; c < 3; ++c) {
    r.gain[c] = draw(1, 0.2f);
    r.offset[c] = draw(0, 20);
  }
  r.mask.kind = static_cast<MaskKind>(sample % 6);
  r.mask.centres = 1 + static_cast<int>(sample % kMaxCentres);
  for (int i = 0; i < kMaxCentres; ++i) {
    r.mask.centre_x[i] = draw(0.5f, 0.4f) * static_cast<float>(w - 1);
    r.mask.centre_y[i] = draw(0.5f, 0.4f) * static_cast<float>(h - 1);
  }
  sincos_turns(draw(0, 0.5f), r.mask.sine, r.mask.cosine);
  r.mask.radius_u = draw(14, 8);
  r.mask.radius_v = draw(6, 4);
  r.mask.window_radius = sample % 2 == 0 ? 0.0f : draw(20, 10);
  r.mask.frequency = draw(2, 1);
  r.mask.roughness = draw(0.5f, 0.4f);
  r.mask.bend = draw(0, 8);
  r.mask.wobble = draw(0, 3);
  r.mask.threshold = draw(0.1f, 0.1f);
  r.mask.perlin.threshold = 0.2f;
  r.source = static_cast<SourceKind>(sample / 6 % 4);
  if (r.source == SourceKind::painted && sample % 3 != 0) r.mask.kind = MaskKind::painted;
  r.source_picture = static_cast<std::int64_t>((sample + 1) % kPictures);
  r.source_affine =
      Affine{draw(1, 0.3f), draw(0, 0.5f), draw(0, 40), draw(0, 0.5f), draw(1, 0.3f), draw(0, 40)};
  r.displaced = sample % 5 == 4;
  r.source_border = static_cast<BorderRule>((sample + 3) % 4);
  r.blur_step = sample % 4 == 1 ? 1.7f : 0.0f;
  for (int c = 0; c < 3; ++c) {
    for (int k = 0; k < 3; ++k) r.colour.mix[c][k] = draw(0.3f, 0.7f);
    r.colour.offset[c] = draw(0, 60);
  }
  r.texture.kind = static_cast<TextureKind>(sample % 7);
  r.texture.place = Affine{draw(0.1f, 0.02f), draw(0, 0.05f), 3.3f, draw(0, 0.05f), draw(0.1f, 0.02f), 7.7f};
  r.texture.warp = draw(0.5f, 0.5f);
  r.texture.sharpness = draw(1.5f, 0.5f);
  r.texture.channel_shift = 9.7f;
  for (auto& stop : r.texture.colour) {
    for (float& level : stop) level = draw(128, 127);
  }
  r.texture.keep = sample % 2 == 0 ? 0.0f : 0.5f;
  r.opacity = draw(0.6f, 0.3f);
  return r;
}

Array<TripletRecipe> random_recipes(int count, int h, int w) {
  Array<TripletRecipe> recipes;
  for (int i = 0; i < count; ++i) recipes.push_back(random_recipe(static_cast<std::uint64_t>(i), h, w));
  return recipes;
}

// ---- the plain twin: double, one pixel at a time, no shared arithmetic ----

struct Levels {
  double c[3];
};
struct Place {
  double x, y;
};

Place moved(const Affine& a, Place p) {
  return {static_cast<double>(a.xx) * p.x + static_cast<double>(a.xy) * p.y + static_cast<double>(a.x0),
          static_cast<double>(a.yx) * p.x + static_cast<double>(a.yy) * p.y + static_cast<double>(a.y0)};
}

int plain_border(int i, int n, BorderRule rule) {
  if (i >= 0 && i < n) return i;
  switch (rule) {
    case BorderRule::constant:
      return -1;
    case BorderRule::replicate:
      return i < 0 ? 0 : n - 1;
    case BorderRule::wrap:
      return ((i % n) + n) % n;
    case BorderRule::reflect:
      break;
  }
  while (i < 0 || i >= n) i = i < 0 ? -1 - i : 2 * n - 1 - i;
  return i;
}

double plain_clamp(double x) { return std::clamp(x, 0.0, 255.0); }

Levels plain_sample(const std::uint8_t* picture, int h, int w, Place p, BorderRule rule) {
  const double column = std::floor(p.x), row = std::floor(p.y);
  Levels sum{};
  for (int tap = 0; tap < 4; ++tap) {
    const int right = tap % 2, down = tap / 2;
    const int x = plain_border(static_cast<int>(column) + right, w, rule);
    const int y = plain_border(static_cast<int>(row) + down, h, rule);
    const double weight =
        (right == 1 ? p.x - column : 1 - p.x + column) * (down == 1 ? p.y - row : 1 - p.y + row);
    for (int c = 0; c < 3; ++c) {
      sum.c[c] += weight * (x < 0 || y < 0 ? 114.0 : static_cast<double>(picture[(y * w + x) * 3 + c]));
    }
  }
  return sum;
}

Levels plain_lit(const TripletRecipe& r, Levels levels) {
  for (int c = 0; c < 3; ++c) {
    levels.c[c] =
        plain_clamp(levels.c[c] * static_cast<double>(r.gain[c]) + static_cast<double>(r.offset[c]));
  }
  return levels;
}

struct PlainTable {
  double gx[32][32], gy[32][32], ox[32][32], oy[32][32];  // [row][column]
  PlainTable(const Philox& random, std::uint32_t first) {
    for (std::uint32_t p = 0; p < 1024; ++p) {
      const Uint4 bits = random.bits(first + p);
      const double a = 2 * std::numbers::pi * static_cast<double>(uniform01(bits.x));
      gx[p / 32][p % 32] = std::cos(a);
      gy[p / 32][p % 32] = std::sin(a);
      ox[p / 32][p % 32] = static_cast<double>(uniform01(bits.y));
      oy[p / 32][p % 32] = static_cast<double>(uniform01(bits.z));
    }
  }
  double noise(double x, double y) const {
    const int column = static_cast<int>(std::floor(x)), row = static_cast<int>(std::floor(y));
    const double u = x - column, v = y - row;
    const auto corner = [&](int right, int down) {
      const int i = (row + down) & 31, j = (column + right) & 31;
      return (u - right) * gx[i][j] + (v - down) * gy[i][j];
    };
    const auto fade = [](double t) { return t * t * t * (t * (t * 6 - 15) + 10); };
    return std::numbers::sqrt2 * std::lerp(std::lerp(corner(0, 0), corner(1, 0), fade(u)),
                                           std::lerp(corner(0, 1), corner(1, 1), fade(u)), fade(v));
  }
  double fractal(double x, double y, double detail) const {
    return (noise(x, y) + detail * noise(2 * x + 11.3, 2 * y + 5.7) +
            detail * detail * noise(4 * x + 23.9, 4 * y + 17.1)) /
           (1 + detail + detail * detail);
  }
};

Levels plain_texture(const TripletRecipe& r, const PlainTable& table, int x, int y) {
  const TextureRecipe& t = r.texture;
  Place p = moved(t.place, {static_cast<double>(x), static_cast<double>(y)});
  const bool field_kind = t.kind == TextureKind::clouds || t.kind == TextureKind::colour_field;
  if (!field_kind && t.kind != TextureKind::grain) {
    const double warp = static_cast<double>(t.warp);
    p = {p.x + warp * table.noise(0.37 * p.x + 3.1, 0.37 * p.y + 8.2),
         p.y + warp * table.noise(0.37 * p.x + 19.4, 0.37 * p.y + 27.6)};
  }
  const auto wave = [](double s) { return std::abs(2 * (s - std::floor(s)) - 1); };
  Levels out{};
  for (int c = 0; c < 3; ++c) {
    double field = 0;
    if (field_kind) {
      const double shift = t.kind == TextureKind::colour_field ? c * static_cast<double>(t.channel_shift) : 0;
      field = 0.5 + 0.9 * table.fractal(p.x + shift, p.y + shift, static_cast<double>(t.detail));
    } else if (t.kind == TextureKind::stripes) {
      field = wave(p.x);
    } else if (t.kind == TextureKind::checks) {
      field = 0.5 + 2 * (wave(p.x) - 0.5) * (wave(p.y) - 0.5);
    } else if (t.kind == TextureKind::grain) {
      const auto i = static_cast<std::uint32_t>(static_cast<int>(std::floor(p.y))) & 0x7fffu;
      const auto j = static_cast<std::uint32_t>(static_cast<int>(std::floor(p.x))) & 0xffffu;
      const Philox random{r.seed, RandomStream::texture, r.step};
      field = static_cast<double>(uniform01(random.bits(0x80000000u | i << 16 | j).x));
    } else {
      double nearest = 1e9;
      for (int i = static_cast<int>(std::floor(p.y)) - 1, rows = 0; rows < 3; ++i, ++rows) {
        for (int j = static_cast<int>(std::floor(p.x)) - 1, columns = 0; columns < 3; ++j, ++columns) {
          const double d = std::hypot(j + table.ox[i & 31][j & 31] - p.x, i + table.oy[i & 31][j & 31] - p.y);
          if (d >= nearest) continue;
          nearest = d;
          field = t.kind == TextureKind::cells ? d : 0.5 + 0.5 * table.gx[i & 31][j & 31];
        }
      }
    }
    field = std::clamp((field - 0.5) * static_cast<double>(t.sharpness) + 0.5, 0.0, 1.0);
    const int stop = field < 0.5 ? 0 : 1;
    out.c[c] = std::lerp(static_cast<double>(t.colour[stop][c]), static_cast<double>(t.colour[stop + 1][c]),
                         2 * field - stop);
  }
  return out;
}

Place plain_centre(const TripletRecipe& r, const std::uint8_t* picture, int h, int w) {
  double most = -1;
  Place best{};
  for (int i = 0; i < r.mask.centres; ++i) {
    const Place centre{static_cast<double>(r.mask.centre_x[i]), static_cast<double>(r.mask.centre_y[i])};
    std::vector<double> sums;
    for (int dy = -2; dy <= 2; ++dy) {
      for (int dx = -2; dx <= 2; ++dx) {
        const double step = static_cast<double>(r.mask.look_step);
        const Levels l = plain_sample(
            picture, h, w, moved(r.affine, {centre.x + dx * step, centre.y + dy * step}), r.border);
        sums.push_back(l.c[0] + l.c[1] + l.c[2]);
      }
    }
    double mean = 0, deviation = 0;
    for (const double s : sums) mean += s / 25;
    for (const double s : sums) deviation += std::abs(s - mean);
    if (deviation > most) {
      most = deviation;
      best = centre;
    }
  }
  return best;
}

struct PlainPixel {
  Levels normal, defective;
};

PlainPixel plain_pixel(const Scene& scene, const TripletRecipe& r, const PlainTable& table, Place centre,
                       int x, int y, bool in_mask) {
  const int h = scene.h, w = scene.w;
  const std::size_t pixels = static_cast<std::size_t>(h * w) * 3;
  const std::uint8_t* picture = scene.pictures.data() + static_cast<std::size_t>(r.picture) * pixels;
  const Place here{static_cast<double>(x), static_cast<double>(y)};
  PlainPixel out;
  out.normal = out.defective = plain_lit(r, plain_sample(picture, h, w, moved(r.affine, here), r.border));
  if (!in_mask) return out;
  Levels a{};
  if (r.source == SourceKind::texture) {
    a = plain_texture(r, table, x, y);
    for (int c = 0; c < 3; ++c) a.c[c] += static_cast<double>(r.texture.keep) * out.normal.c[c];
  } else {
    const auto& pool = r.source == SourceKind::folder    ? scene.folder
                       : r.source == SourceKind::painted ? scene.painted
                                                         : scene.pictures;
    const std::uint8_t* source = pool.data() + static_cast<std::size_t>(r.source_picture) * pixels;
    const int reach = r.blur_step > 0 ? 1 : 0;
    const double share = reach == 1 ? 1.0 / 9 : 1.0;
    Levels mean{};
    for (int i = -reach; i <= reach; ++i) {
      for (int j = -reach; j <= reach; ++j) {
        Place p{x + j * static_cast<double>(r.blur_step), y + i * static_cast<double>(r.blur_step)};
        if (r.displaced) {
          p = moved(r.source_affine, {p.x - centre.x, p.y - centre.y});
          p = moved(r.affine, {p.x + centre.x, p.y + centre.y});
        } else {
          p = moved(r.source_affine, p);
        }
        const Levels one = plain_sample(source, h, w, p, r.source_border);
        for (int c = 0; c < 3; ++c) mean.c[c] += share * one.c[c];
      }
    }
    mean = plain_lit(r, mean);
    for (int c = 0; c < 3; ++c) {
      a.c[c] = static_cast<double>(r.colour.offset[c]);
      for (int k = 0; k < 3; ++k) a.c[c] += static_cast<double>(r.colour.mix[c][k]) * mean.c[k];
    }
  }
  for (int c = 0; c < 3; ++c) {
    const double beta = static_cast<double>(r.opacity);
    out.defective.c[c] = (1 - beta) * out.normal.c[c] + beta * plain_clamp(a.c[c]);
  }
  return out;
}

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
