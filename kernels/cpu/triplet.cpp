// Training triplets on the CPU: one picture a thread. First the mask, then row by row, in chunks that stay in the first
// cache, the normal picture; the defect's source is computed for the mask's pixels only, gathered side by side.
// Layout and bytes: see triplet.h. Loops are vectorised, the byte gathers of the bilinear taps are not.
#include "kernels/triplet.h"

#include <cstring>
#include <stdexcept>

#include "kernels/triplet_math.h"

namespace ddpmts::kernels::cpu::DDPMTS_ISA {
namespace {

constexpr int kChunk = 256;
using Row = float[kChunk];
using Rgb = float[3][kChunk];

constexpr std::uint8_t kBorderPixel[3] = {static_cast<std::uint8_t>(kBorderLevel),
                                          static_cast<std::uint8_t>(kBorderLevel),
                                          static_cast<std::uint8_t>(kBorderLevel)};

struct Centre {
  float x, y;
};

int least(std::int64_t a, std::int64_t b) { return static_cast<int>(a < b ? a : b); }

void fill_table(NoiseTable& table, const Philox& random, std::uint32_t first) {
#pragma omp simd
  for (int p = 0; p < kNoisePoints; ++p) {
    noise_table_point(table, random, first, p);
  }
}

// ---- the mask ----

/// value(x, y) > 0 for every pixel; returns the number of mask pixels.
template <class Value>
std::int64_t rasterise(std::int64_t h, std::int64_t w, std::uint8_t* mask, Value value) {
  std::int64_t count = 0;
  Row row;
  for (std::int64_t y = 0; y < h; ++y) {
    const float row_y = static_cast<float>(y);
    for (std::int64_t begin = 0; begin < w; begin += kChunk) {
      const int size = least(kChunk, w - begin);
      const float first = static_cast<float>(begin);
#pragma omp simd
      for (int x = 0; x < size; ++x) row[x] = value(first + static_cast<float>(x), row_y);
      std::uint8_t* out = mask + y * w + begin;
      int in_row = 0;
      for (int x = 0; x < size; ++x) {
        out[x] = row[x] > 0.0f ? 1 : 0;
        in_row += out[x];
      }
      count += in_row;
    }
  }
  return count;
}

template <MaskKind kKind>
std::int64_t draw_shape(const MaskRecipe& recipe, const Centre& centre, const Philox& random,
                        std::uint32_t attempt, std::int64_t h, std::int64_t w, std::uint8_t* mask) {
  NoiseTable table;
  if constexpr (kKind != MaskKind::rectangle) {
    fill_table(table, random, kMaskTableBlocks + attempt * static_cast<std::uint32_t>(kNoisePoints));
  }
  return rasterise(
      h, w, mask, [&](float x, float y) __attribute__((always_inline)) {
        return mask_value<kKind>(recipe, table, x - centre.x, y - centre.y);
      });
}

std::int64_t draw_perlin(const MaskRecipe& recipe, const Centre& centre, const Philox& random,
                         std::uint32_t attempt, std::int64_t h, std::int64_t w, std::uint8_t* mask) {
  PerlinLattice lattice;
  perlin_fill(lattice, random, attempt, recipe.perlin);
  const float width = static_cast<float>(w);
  const float height = static_cast<float>(h);
  return rasterise(
      h, w, mask, [&](float x, float y) __attribute__((always_inline)) {
        const float noise = perlin_at_pixel(lattice, x, y, width, height) -
                            window_penalty(recipe, x - centre.x, y - centre.y);
        return noise > recipe.perlin.threshold ? 1.0f : 0.0f;
      });
}

std::int64_t draw_attempt(const MaskRecipe& recipe, const Centre& centre, const Philox& random,
                          std::uint32_t attempt, std::int64_t h, std::int64_t w, std::uint8_t* mask) {
  switch (recipe.kind) {
    case MaskKind::none:
    case MaskKind::painted:
      break;
    case MaskKind::perlin:
      return draw_perlin(recipe, centre, random, attempt, h, w, mask);
    case MaskKind::blob:
      return draw_shape<MaskKind::blob>(recipe, centre, random, attempt, h, w, mask);
    case MaskKind::stroke:
      return draw_shape<MaskKind::stroke>(recipe, centre, random, attempt, h, w, mask);
    case MaskKind::rectangle:
      return draw_shape<MaskKind::rectangle>(recipe, centre, random, attempt, h, w, mask);
    case MaskKind::smooth_noise:
      return draw_shape<MaskKind::smooth_noise>(recipe, centre, random, attempt, h, w, mask);
  }
  std::memset(mask, 0, static_cast<std::size_t>(h * w));
  return 0;
}

void draw_mask(const MaskRecipe& recipe, const Centre& centre, const Philox& random, std::int64_t h,
               std::int64_t w, std::uint8_t* mask) {
  // Only the kinds that are all noise come out differently at another attempt.
  const bool another_draw = recipe.kind == MaskKind::perlin || recipe.kind == MaskKind::smooth_noise;
  const int attempts = another_draw ? recipe.perlin.max_tries : 1;
  std::int64_t count = 0;
  for (int attempt = 0; attempt < attempts && count == 0; ++attempt) {
    count = draw_attempt(recipe, centre, random, static_cast<std::uint32_t>(attempt), h, w, mask);
  }
  if (count == 0 && recipe.never_empty && recipe.kind != MaskKind::none) {
    rasterise(
        h, w, mask, [&](float x, float y) __attribute__((always_inline)) {
          const float dx = x - centre.x;
          const float dy = y - centre.y;
          return recipe.disc_radius * recipe.disc_radius - (dx * dx + dy * dy);
        });
  }
}

/// The painted defect's own mask, moved as the picture is.
void copy_mask(const std::uint8_t* painted, const Affine& affine, int h, int w, std::uint8_t* mask) {
  for (int y = 0; y < h; ++y) {
    for (int x = 0; x < w; ++x) {
      mask[static_cast<std::int64_t>(y) * w + x] =
          painted_mask_at(painted, affine, static_cast<float>(x), static_cast<float>(y), h, w);
    }
  }
}

/// Mask bytes on entry: bit 0 in the mask, bit 1 visibly changed. On return 1 where a mask pixel has a visible change
/// within two rows and columns, else 0.
void clear_unchanged(std::int64_t h, std::int64_t w, std::uint8_t* mask) {
  constexpr std::uint8_t kInMask = 1, kVisible = 2, kVisibleInRow = 4, kKept = 8;
  for (std::int64_t y = 0; y < h; ++y) {
    std::uint8_t* row = mask + y * w;
    for (std::int64_t x = 0; x < w; ++x) {
      if ((row[x] & kVisible) == 0) continue;
      const std::int64_t last = x + 2 < w ? x + 2 : w - 1;
      for (std::int64_t near = x > 2 ? x - 2 : 0; near <= last; ++near) row[near] |= kVisibleInRow;
    }
  }
  for (std::int64_t y = 0; y < h; ++y) {
    std::uint8_t* row = mask + y * w;
    const std::int64_t last = y + 2 < h ? y + 2 : h - 1;
    for (std::int64_t near = y > 2 ? y - 2 : 0; near <= last; ++near) {
      const std::uint8_t* other = mask + near * w;
      for (std::int64_t x = 0; x < w; ++x) {
        row[x] |= (other[x] & kVisibleInRow) != 0 && (row[x] & kInMask) != 0 ? kKept : 0;
      }
    }
  }
  for (std::int64_t p = 0; p < h * w; ++p) mask[p] = (mask[p] & kKept) != 0 ? 1 : 0;
}

// ---- pictures ----

template <BorderRule kBorder>
void sample_with(const std::uint8_t* picture, const Affine& affine, int h, int w, const Row& xs,
                 const Row& ys, int size, Rgb& out) {
  int offset[4][kChunk];
  Row weight_x, weight_y;
#pragma omp simd
  for (int k = 0; k < size; ++k) {
    const Taps taps = taps_at<kBorder>(affine, xs[k], ys[k], h, w);
    offset[0][k] = taps.offset00;
    offset[1][k] = taps.offset10;
    offset[2][k] = taps.offset01;
    offset[3][k] = taps.offset11;
    weight_x[k] = taps.weight_x;
    weight_y[k] = taps.weight_y;
  }
  std::uint8_t level[4][3][kChunk];
  for (int tap = 0; tap < 4; ++tap) {
    for (int k = 0; k < size; ++k) {
      const int at = offset[tap][k];
      const std::uint8_t* pixel = kBorder == BorderRule::constant && at < 0 ? kBorderPixel : picture + at;
      level[tap][0][k] = pixel[0];
      level[tap][1][k] = pixel[1];
      level[tap][2][k] = pixel[2];
    }
  }
  for (int c = 0; c < 3; ++c) {
#pragma omp simd
    for (int k = 0; k < size; ++k) {
      const float top =
          lerp_to(static_cast<float>(level[0][c][k]), static_cast<float>(level[1][c][k]), weight_x[k]);
      const float bottom =
          lerp_to(static_cast<float>(level[2][c][k]), static_cast<float>(level[3][c][k]), weight_x[k]);
      out[c][k] = lerp_to(top, bottom, weight_y[k]);
    }
  }
}

void sample(const std::uint8_t* picture, const Affine& affine, BorderRule border, int h, int w, const Row& xs,
            const Row& ys, int size, Rgb& out) {
  switch (border) {
    case BorderRule::reflect:
      return sample_with<BorderRule::reflect>(picture, affine, h, w, xs, ys, size, out);
    case BorderRule::replicate:
      return sample_with<BorderRule::replicate>(picture, affine, h, w, xs, ys, size, out);
    case BorderRule::constant:
      return sample_with<BorderRule::constant>(picture, affine, h, w, xs, ys, size, out);
    case BorderRule::wrap:
      return sample_with<BorderRule::wrap>(picture, affine, h, w, xs, ys, size, out);
  }
}

/// The mean of 3×3 samples, `step` pixels apart.
void sample_blurred(const std::uint8_t* picture, const Affine& affine, BorderRule border, float step, int h,
                    int w, const Row& xs, const Row& ys, int size, Rgb& out) {
  Rgb one;
  Row moved_x, moved_y;
  std::memset(out, 0, sizeof(Rgb));
  for (int tap = 0; tap < 9; ++tap) {
    const float by_x = step * static_cast<float>(tap % 3 - 1);
    const float by_y = step * static_cast<float>(tap / 3 - 1);
    for (int k = 0; k < size; ++k) {
      moved_x[k] = xs[k] + by_x;
      moved_y[k] = ys[k] + by_y;
    }
    sample(picture, affine, border, h, w, moved_x, moved_y, size, one);
    for (int c = 0; c < 3; ++c) {
      for (int k = 0; k < size; ++k) out[c][k] += one[c][k] * (1.0f / 9.0f);
    }
  }
}

void apply_lighting(const TripletRecipe& recipe, int size, Rgb& levels) {
  for (int c = 0; c < 3; ++c) {
    const float gain = recipe.gain[c];
    const float offset = recipe.offset[c];
    for (int k = 0; k < size; ++k) levels[c][k] = clamp_to(levels[c][k] * gain + offset, 0.0f, 255.0f);
  }
}

void apply_colour(const ColourMap& map, int size, Rgb& levels) {
  for (int k = 0; k < size; ++k) {
    const float red = levels[0][k], green = levels[1][k], blue = levels[2][k];
    for (int c = 0; c < 3; ++c) {
      levels[c][k] = map.mix[c][0] * red + map.mix[c][1] * green + map.mix[c][2] * blue + map.offset[c];
    }
  }
}

template <TextureKind kKind>
void texture_with(const TextureRecipe& texture, const NoiseTable& table, const Philox& random, const Row& xs,
                  const Row& ys, int size, Rgb& out) {
#pragma omp simd
  for (int k = 0; k < size; ++k) {
    texture_at<kKind>(texture, table, random, xs[k], ys[k], out[0][k], out[1][k], out[2][k]);
  }
}

void draw_texture(const TextureRecipe& texture, const NoiseTable& table, const Philox& random, const Row& xs,
                  const Row& ys, int size, Rgb& out) {
  switch (texture.kind) {
    case TextureKind::clouds:
      return texture_with<TextureKind::clouds>(texture, table, random, xs, ys, size, out);
    case TextureKind::stripes:
      return texture_with<TextureKind::stripes>(texture, table, random, xs, ys, size, out);
    case TextureKind::cells:
      return texture_with<TextureKind::cells>(texture, table, random, xs, ys, size, out);
    case TextureKind::patches:
      return texture_with<TextureKind::patches>(texture, table, random, xs, ys, size, out);
    case TextureKind::checks:
      return texture_with<TextureKind::checks>(texture, table, random, xs, ys, size, out);
    case TextureKind::colour_field:
      return texture_with<TextureKind::colour_field>(texture, table, random, xs, ys, size, out);
    case TextureKind::grain:
      return texture_with<TextureKind::grain>(texture, table, random, xs, ys, size, out);
  }
}

void add_noise(const TripletRecipe& recipe, std::int64_t w, const Row& xs, const Row& ys, int size,
               Rgb& levels) {
  const Philox random{recipe.seed, RandomStream::pixel, recipe.step};
  const int width = static_cast<int>(w);
  const float sigma = recipe.noise_sigma;
  const bool grey = recipe.noise_is_grey;
#pragma omp simd
  for (int k = 0; k < size; ++k) {
    const Uint4 bits =
        random.bits(static_cast<std::uint32_t>(static_cast<int>(ys[k]) * width + static_cast<int>(xs[k])));
    levels[0][k] += sigma * gaussian_from_bytes(bits.x);
    levels[1][k] += sigma * gaussian_from_bytes(grey ? bits.x : bits.y);
    levels[2][k] += sigma * gaussian_from_bytes(grey ? bits.x : bits.z);
  }
}

// ---- the triplet ----

/// The mask's centre: the candidate about which the normal picture varies most over 5×5 samples.
Centre choose_centre(const TripletRecipe& recipe, const std::uint8_t* picture, int h, int w) {
  const MaskRecipe& mask = recipe.mask;
  int best = 0;
  float most = -1.0f;
  for (int candidate = 0; candidate < mask.centres && mask.centres > 1; ++candidate) {
    Row xs, ys;
    for (int k = 0; k < 25; ++k) {
      xs[k] = mask.centre_x[candidate] + mask.look_step * static_cast<float>(k % 5 - 2);
      ys[k] = mask.centre_y[candidate] + mask.look_step * static_cast<float>(k / 5 - 2);
    }
    Rgb levels;
    sample(picture, recipe.affine, recipe.border, h, w, xs, ys, 25, levels);
    float mean = 0.0f, deviation = 0.0f;
    for (int k = 0; k < 25; ++k) mean += (levels[0][k] + levels[1][k] + levels[2][k]) * (1.0f / 25.0f);
    for (int k = 0; k < 25; ++k) deviation += absolute(levels[0][k] + levels[1][k] + levels[2][k] - mean);
    if (deviation > most) {
      most = deviation;
      best = candidate;
    }
  }
  return Centre{mask.centre_x[best], mask.centre_y[best]};
}

struct Source {
  const std::uint8_t* picture;  ///< not read for a texture
  Affine affine;
  Philox texture_random;
  NoiseTable table;
};

/// A at the given pixels, where I is `normal`.
void draw_source(const TripletRecipe& recipe, const Source& source, int h, int w, const Row& xs,
                 const Row& ys, int size, const Rgb& normal, Rgb& levels) {
  if (recipe.source == SourceKind::texture) {
    draw_texture(recipe.texture, source.table, source.texture_random, xs, ys, size, levels);
    for (int c = 0; c < 3; ++c) {
      for (int k = 0; k < size; ++k) levels[c][k] += recipe.texture.keep * normal[c][k];
    }
  } else {
    if (recipe.blur_step > 0.0f) {
      sample_blurred(source.picture, source.affine, recipe.source_border, recipe.blur_step, h, w, xs, ys,
                     size, levels);
    } else {
      sample(source.picture, source.affine, recipe.source_border, h, w, xs, ys, size, levels);
    }
    apply_lighting(recipe, size, levels);
    apply_colour(recipe.colour, size, levels);
  }
  if (recipe.noise_sigma > 0.0f) add_noise(recipe, w, xs, ys, size, levels);
}

/// Blends the defect into `levels` (I on entry, I_a on return) at the mask's pixels and marks visible changes.
void blend(const TripletRecipe& recipe, const Source& source, int h, int w, std::int64_t begin, float y,
           int size, Rgb& levels, std::uint8_t* mask) {
  int at[kChunk];
  Row xs, ys;
  Rgb before, after;
  int count = 0;
  for (int k = 0; k < size; ++k) {
    at[count] = k;
    count += mask[k];
  }
  if (count == 0) return;
  for (int k = 0; k < count; ++k) {
    xs[k] = static_cast<float>(begin + at[k]);
    ys[k] = y;
    for (int c = 0; c < 3; ++c) before[c][k] = levels[c][at[k]];
  }
  draw_source(recipe, source, h, w, xs, ys, count, before, after);
  const bool relabel = recipe.min_visible_change > 0.0f;
  for (int k = 0; k < count; ++k) {
    float largest_change = 0.0f;
    for (int c = 0; c < 3; ++c) {
      const float change = recipe.opacity * (clamp_to(after[c][k], 0.0f, 255.0f) - before[c][k]);
      levels[c][at[k]] = before[c][k] + change;
      largest_change = absolute(change) > largest_change ? absolute(change) : largest_change;
    }
    // For clear_unchanged(): bit 1.
    if (relabel && largest_change >= recipe.min_visible_change) mask[at[k]] = 3;
  }
}

/// level · scale + shift = (level/255 − mean)/std.
struct Normalise {
  float scale[3], shift[3];
};

template <class T>
void store(const Rgb& levels, const Normalise& normalise, int size, std::int64_t channels, T* out) {
  Rgb scaled;
  for (int c = 0; c < 3; ++c) {
    for (int k = 0; k < size; ++k) scaled[c][k] = levels[c][k] * normalise.scale[c] + normalise.shift[c];
  }
  if (channels > 3) std::memset(out, 0, static_cast<std::size_t>(size * channels) * sizeof(T));
  for (int k = 0; k < size; ++k) {
    for (int c = 0; c < 3; ++c) out[k * channels + c] = from_float<T>(scaled[c][k]);
  }
}

template <class T>
void draw_triplet(const TripletArgs& args, std::int64_t i, const Normalise& normalise) {
  const TripletRecipe& recipe = args.recipes[i];
  const std::int64_t pixels = args.h * args.w;
  const int h = static_cast<int>(args.h);
  const int w = static_cast<int>(args.w);
  const std::uint8_t* picture = args.pictures + recipe.picture * pixels * 3;
  const Centre centre = choose_centre(recipe, picture, h, w);
  std::uint8_t* mask = args.mask + i * pixels;
  if (recipe.mask.kind == MaskKind::painted) {
    copy_mask(args.painted_masks + recipe.source_picture * pixels, recipe.affine, h, w, mask);
  } else {
    draw_mask(recipe.mask, centre, Philox{recipe.seed, RandomStream::perlin, recipe.step}, args.h, args.w,
              mask);
  }

  Source source;
  source.picture = source_picture_of(args, recipe);
  source.affine = source_affine_about(recipe, centre.x, centre.y);
  source.texture_random = Philox{recipe.seed, RandomStream::texture, recipe.step};
  if (recipe.source == SourceKind::texture) fill_table(source.table, source.texture_random, 0);

  for (std::int64_t y = 0; y < args.h; ++y) {
    for (std::int64_t begin = 0; begin < args.w; begin += kChunk) {
      const int size = least(kChunk, args.w - begin);
      const std::int64_t first = y * args.w + begin;
      Row xs, ys;
      for (int k = 0; k < size; ++k) {
        xs[k] = static_cast<float>(begin + k);
        ys[k] = static_cast<float>(y);
      }
      Rgb levels;
      sample(picture, recipe.affine, recipe.border, h, w, xs, ys, size, levels);
      apply_lighting(recipe, size, levels);
      const std::int64_t out = (i * pixels + first) * args.channels;
      store(levels, normalise, size, args.channels, static_cast<T*>(args.normal) + out);
      blend(recipe, source, h, w, begin, static_cast<float>(y), size, levels, mask + first);
      store(levels, normalise, size, args.channels, static_cast<T*>(args.defective) + out);
    }
  }
  if (recipe.min_visible_change > 0.0f) clear_unchanged(args.h, args.w, mask);
}

}  // namespace

void triplet(const TripletArgs& args) {
  if (args.type != DType::f32 && args.type != DType::bf16) {
    throw std::invalid_argument("triplet: the element type must be f32 or bf16");
  }
  if (args.channels < 3) throw std::invalid_argument("triplet: needs at least 3 channels");
  if (args.h < 1 || args.w < 1 || args.h > 16384 || args.w > 16384) {
    throw std::invalid_argument("triplet: height and width must lie in 1..16384");
  }
  Normalise normalise;
  for (int c = 0; c < 3; ++c) {
    normalise.scale[c] = static_cast<float>(1.0 / (255.0 * static_cast<double>(args.std[c])));
    normalise.shift[c] = -args.mean[c] / args.std[c];
  }
#pragma omp parallel for schedule(dynamic, 1)
  for (std::int64_t i = 0; i < args.n; ++i) {
    if (args.type == DType::bf16) {
      draw_triplet<bf16>(args, i, normalise);
    } else {
      draw_triplet<float>(args, i, normalise);
    }
  }
}

}  // namespace ddpmts::kernels::cpu::DDPMTS_ISA
