// Pictures, recipes and places to draw to, for the tests of kernels/triplet.h.
#pragma once

#include <cmath>
#include <numbers>
#include <vector>

#include "kernels/triplet.h"
#include "kernels/triplet_math.h"
#include "tests/kernels/drawing_test.h"

namespace ddpmts::kernels {

using test::Array;

constexpr int kPictures = 3;

/// Noise on slow waves, so that samples between pixels differ and neighbourhoods do too.
inline Array<std::uint8_t> make_pictures(int h, int w, std::uint64_t step) {
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
inline Array<std::uint8_t> make_masks(int h, int w) {
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

inline double normalised(double level, int c) {
  const TripletArgs defaults;
  return (level / 255 - static_cast<double>(defaults.mean[c])) / static_cast<double>(defaults.std[c]);
}

/// A picture of random size and place, every number different from its default.
inline TripletRecipe random_recipe(std::uint64_t sample, int h, int w) {
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

inline Array<TripletRecipe> random_recipes(int count, int h, int w) {
  Array<TripletRecipe> recipes;
  for (int i = 0; i < count; ++i) recipes.push_back(random_recipe(static_cast<std::uint64_t>(i), h, w));
  return recipes;
}

}  // namespace ddpmts::kernels
