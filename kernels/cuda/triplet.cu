// Training triplets (contract: kernels/triplet.h), bit for bit those of the CPU: compiled without fused multiply-adds.
// Layout: pictures NHWC u8, normal and defective NHWC f32 or bf16; a block has a tile of 64×32 pixels, with two more all
//   round where the mask is to be cleared; noise tables and mask in shared memory (18.4 KB).
// Bytes moved: as the contract says; a tile's source pictures come through the first cache.
// Variants: f32, bf16; whole 16-byte vectors of channels where they fit. One launch: what concerns the whole picture, the
//   centre and whether an attempt's mask is empty, each block finds by itself (any_pixel), and the pixels around the
//   tile that decide about clearing are drawn once more, so that no block waits for another.
#include "kernels/cuda/mask_drawing.cuh"
#include "kernels/cuda/vector.cuh"
#include "kernels/triplet.h"
#include "kernels/triplet_math.h"

namespace ddpmts::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
constexpr int kTileWidth = 64, kTileHeight = 32;
constexpr int kReach = 2;  // clearing looks at 5×5 pixels
constexpr int kMarks = (kTileWidth + 2 * kReach) * (kTileHeight + 2 * kReach);
constexpr std::uint8_t kInMask = 1, kVisible = 2;

constexpr std::int64_t kTableBytes = 16384;  // the mask's table or lattice, later the texture's table
static_assert(kTableBytes >= SharedNoiseTable::kBytes && kTableBytes >= SharedLattice::kBytes);
static_assert(kMaxCentres <= kWarps);

struct Rgb {
  float c[3];
};
struct Centre {
  float x, y;
};
struct Size {
  int h, w;
};

/// level · scale + shift = (level/255 − mean)/std.
struct Normalise {
  float scale[3], shift[3];
};

struct Tiles {
  unsigned across, of_picture;
};

// ---- Pictures ----

template <BorderRule kBorder>
__device__ __forceinline__ Rgb sample_with(const std::uint8_t* picture, const Affine& affine, Size size,
                                           float x, float y) {
  const Taps taps = taps_at<kBorder>(affine, x, y, size.h, size.w);
  const auto level = [&](int at, int c) {
    return kBorder == BorderRule::constant && at < 0 ? kBorderLevel
                                                     : static_cast<float>(__ldg(picture + at + c));
  };
  Rgb out;
#pragma unroll
  for (int c = 0; c < 3; ++c) {
    const float top = lerp_to(level(taps.offset00, c), level(taps.offset10, c), taps.weight_x);
    const float bottom = lerp_to(level(taps.offset01, c), level(taps.offset11, c), taps.weight_x);
    out.c[c] = lerp_to(top, bottom, taps.weight_y);
  }
  return out;
}

__device__ __forceinline__ Rgb sample(const std::uint8_t* picture, const Affine& affine, BorderRule border,
                                      Size size, float x, float y) {
  switch (border) {
    case BorderRule::reflect:
      return sample_with<BorderRule::reflect>(picture, affine, size, x, y);
    case BorderRule::replicate:
      return sample_with<BorderRule::replicate>(picture, affine, size, x, y);
    case BorderRule::constant:
      return sample_with<BorderRule::constant>(picture, affine, size, x, y);
    case BorderRule::wrap:
      break;
  }
  return sample_with<BorderRule::wrap>(picture, affine, size, x, y);
}

__device__ __forceinline__ void apply_lighting(const TripletRecipe& recipe, Rgb& levels) {
#pragma unroll
  for (int c = 0; c < 3; ++c) {
    levels.c[c] = clamp_to(levels.c[c] * recipe.gain[c] + recipe.offset[c], 0.0f, 255.0f);
  }
}

template <class T>
__device__ __forceinline__ void store_pixel(T* out, const Rgb& levels, const Normalise& normalise,
                                            int channels, bool in_vectors) {
  Rgb scaled;
#pragma unroll
  for (int c = 0; c < 3; ++c) scaled.c[c] = levels.c[c] * normalise.scale[c] + normalise.shift[c];
  if (in_vectors) {
    Floats<kVector<T>> vector = splat<kVector<T>>(0.0f);
#pragma unroll
    for (int c = 0; c < 3; ++c) vector[c] = scaled.c[c];
    store<kVector<T>>(out, vector);
    for (int c = kVector<T>; c < channels; c += kVector<T>)
      store<kVector<T>>(out + c, splat<kVector<T>>(0.0f));
    return;
  }
#pragma unroll
  for (int c = 0; c < 3; ++c) out[c] = from_float<T>(scaled.c[c]);
  for (int c = 3; c < channels; ++c) out[c] = from_float<T>(0.0f);
}

// ---- The mask ----

/// The candidate about which the normal picture varies most over 5×5 samples: one warp a candidate, one lane a sample. All
/// threads must call it. Holds a barrier.
__device__ __forceinline__ Centre choose_centre(const TripletRecipe& recipe, const std::uint8_t* picture,
                                                Size size) {
  __shared__ SharedArray<float, kMaxCentres> deviations;
  const MaskRecipe& mask = recipe.mask;
  if (mask.centres <= 1) return Centre{mask.centre_x[0], mask.centre_y[0]};  // the same for the whole block
  const int candidate = static_cast<int>(threadIdx.x) / kWarp;
  if (candidate < mask.centres) {
    constexpr int kSamples = 25;
    const int k = smaller(static_cast<int>(threadIdx.x) % kWarp, kSamples - 1);
    const float x = mask.centre_x[candidate] + mask.look_step * static_cast<float>(k % 5 - 2);
    const float y = mask.centre_y[candidate] + mask.look_step * static_cast<float>(k / 5 - 2);
    const Rgb levels = sample(picture, recipe.affine, recipe.border, size, x, y);
    const float sum = levels.c[0] + levels.c[1] + levels.c[2];
    float mean = 0.0f, deviation = 0.0f;  // added up in the CPU's order
    for (int i = 0; i < kSamples; ++i) mean += __shfl_sync(kFullWarp, sum, i) * (1.0f / 25.0f);
    for (int i = 0; i < kSamples; ++i) deviation += absolute(__shfl_sync(kFullWarp, sum, i) - mean);
    if (threadIdx.x % kWarp == 0) deviations[candidate] = deviation;
  }
  __syncthreads();
  int best = 0;
  float most = -1.0f;
  for (int i = 0; i < mask.centres; ++i) {
    const float deviation = deviations[i];
    if (deviation > most) {
      most = deviation;
      best = i;
    }
  }
  return Centre{mask.centre_x[best], mask.centre_y[best]};
}

enum class Drawn : std::uint8_t { nothing, shape, disc, painted };

/// One picture's mask, after find_attempt.
struct Mask {
  const MaskRecipe& recipe;
  Centre centre;
  Size size;
  SharedLattice lattice;
  SharedNoiseTable table;

  /// Whether the attempt whose lattice or table was filled last covers pixel (x, y).
  __device__ __forceinline__ bool covers(float x, float y) const {
    const float dx = x - centre.x, dy = y - centre.y;
    switch (recipe.kind) {
      case MaskKind::none:
      case MaskKind::painted:
        break;
      case MaskKind::perlin:
        return perlin_at_pixel(lattice, x, y, static_cast<float>(size.w), static_cast<float>(size.h)) -
                   window_penalty(recipe, dx, dy) >
               recipe.perlin.threshold;
      case MaskKind::blob:
        return mask_value<MaskKind::blob>(recipe, table, dx, dy) > 0.0f;
      case MaskKind::stroke:
        return mask_value<MaskKind::stroke>(recipe, table, dx, dy) > 0.0f;
      case MaskKind::rectangle:
        return mask_value<MaskKind::rectangle>(recipe, table, dx, dy) > 0.0f;
      case MaskKind::smooth_noise:
        return mask_value<MaskKind::smooth_noise>(recipe, table, dx, dy) > 0.0f;
    }
    return false;
  }

  __device__ __forceinline__ bool in_disc(float x, float y) const {
    const float dx = x - centre.x, dy = y - centre.y;
    return recipe.disc_radius * recipe.disc_radius - (dx * dx + dy * dy) > 0.0f;
  }

  /// Fills lattice or table of the attempt that stands. All threads must call it.
  __device__ __forceinline__ Drawn find_attempt(const Philox& random) {
    if (recipe.kind == MaskKind::none) return Drawn::nothing;
    if (recipe.kind == MaskKind::painted) return Drawn::painted;
    // Only the kinds that are all noise come out differently at another attempt.
    const bool another_draw = recipe.kind == MaskKind::perlin || recipe.kind == MaskKind::smooth_noise;
    const int attempts = another_draw ? recipe.perlin.max_tries : 1;
    const int near_x = static_cast<int>(clamp_to(centre.x, 0.0f, static_cast<float>(size.w - 1)));
    const int near_y = static_cast<int>(clamp_to(centre.y, 0.0f, static_cast<float>(size.h - 1)));
    for (int attempt = 0; attempt < attempts; ++attempt) {
      if (recipe.kind == MaskKind::perlin) {
        fill(lattice, random, static_cast<std::uint32_t>(attempt), recipe.perlin);
      } else if (recipe.kind != MaskKind::rectangle) {
        fill(table, random,
             kMaskTableBlocks +
                 static_cast<std::uint32_t>(attempt) * static_cast<std::uint32_t>(kNoisePoints));
      }
      if (attempt == attempts - 1 && !recipe.never_empty) return Drawn::shape;  // it stands, empty or not
      const bool found =
          any_pixel(size.h, size.w, near_x, near_y, [&](float x, float y) { return covers(x, y); });
      if (found) return Drawn::shape;
    }
    return recipe.never_empty ? Drawn::disc : Drawn::nothing;
  }
};

// ---- The defect ----

struct Source {
  const std::uint8_t* picture;  // null for a texture
  Affine affine;
  SharedNoiseTable table;
};

__device__ __forceinline__ Rgb draw_texture(const TripletRecipe& recipe, const SharedNoiseTable& table,
                                            float x, float y) {
  const TextureRecipe& texture = recipe.texture;
  const Philox random{recipe.seed, RandomStream::texture, recipe.step};
  float red = 0.0f, green = 0.0f, blue = 0.0f;
  switch (texture.kind) {
    case TextureKind::clouds:
      texture_at<TextureKind::clouds>(texture, table, random, x, y, red, green, blue);
      break;
    case TextureKind::stripes:
      texture_at<TextureKind::stripes>(texture, table, random, x, y, red, green, blue);
      break;
    case TextureKind::cells:
      texture_at<TextureKind::cells>(texture, table, random, x, y, red, green, blue);
      break;
    case TextureKind::patches:
      texture_at<TextureKind::patches>(texture, table, random, x, y, red, green, blue);
      break;
    case TextureKind::checks:
      texture_at<TextureKind::checks>(texture, table, random, x, y, red, green, blue);
      break;
    case TextureKind::colour_field:
      texture_at<TextureKind::colour_field>(texture, table, random, x, y, red, green, blue);
      break;
    case TextureKind::grain:
      texture_at<TextureKind::grain>(texture, table, random, x, y, red, green, blue);
      break;
  }
  return Rgb{{red, green, blue}};
}

/// One sample, or the mean of 3×3.
__device__ __forceinline__ Rgb sample_source(const TripletRecipe& recipe, const Source& source, Size size,
                                             float x, float y) {
  const bool blurred = recipe.blur_step > 0.0f;
  const float step = blurred ? recipe.blur_step : 0.0f;
  Rgb mean{};
#pragma unroll 1
  for (int tap = blurred ? 0 : 4; tap < (blurred ? 9 : 5); ++tap) {
    const Rgb one =
        sample(source.picture, source.affine, recipe.source_border, size,
               x + step * static_cast<float>(tap % 3 - 1), y + step * static_cast<float>(tap / 3 - 1));
#pragma unroll
    for (int c = 0; c < 3; ++c) mean.c[c] += blurred ? one.c[c] * (1.0f / 9.0f) : one.c[c];
  }
  return mean;
}

/// A at one pixel, where I is `normal`.
__device__ __forceinline__ Rgb draw_source(const TripletRecipe& recipe, const Source& source, Size size,
                                           int x, int y, const Rgb& normal) {
  const float at_x = static_cast<float>(x), at_y = static_cast<float>(y);
  Rgb levels;
  if (source.picture == nullptr) {
    levels = draw_texture(recipe, source.table, at_x, at_y);
#pragma unroll
    for (int c = 0; c < 3; ++c) levels.c[c] += recipe.texture.keep * normal.c[c];
  } else {
    Rgb lit = sample_source(recipe, source, size, at_x, at_y);
    apply_lighting(recipe, lit);
    const ColourMap& map = recipe.colour;
#pragma unroll
    for (int c = 0; c < 3; ++c) {
      levels.c[c] =
          map.mix[c][0] * lit.c[0] + map.mix[c][1] * lit.c[1] + map.mix[c][2] * lit.c[2] + map.offset[c];
    }
  }
  if (recipe.noise_sigma > 0.0f) {
    const Philox random{recipe.seed, RandomStream::pixel, recipe.step};
    const Uint4 bits = random.bits(static_cast<std::uint32_t>(y * size.w + x));
    const bool grey = recipe.noise_is_grey;
    levels.c[0] += recipe.noise_sigma * gaussian_from_bytes(bits.x);
    levels.c[1] += recipe.noise_sigma * gaussian_from_bytes(grey ? bits.x : bits.y);
    levels.c[2] += recipe.noise_sigma * gaussian_from_bytes(grey ? bits.x : bits.z);
  }
  return levels;
}

/// Blends the defect into `levels` (I before, I_a after); returns the largest change.
__device__ __forceinline__ float blend(float opacity, const Rgb& defect, Rgb& levels) {
  float largest_change = 0.0f;
#pragma unroll
  for (int c = 0; c < 3; ++c) {
    const float change = opacity * (clamp_to(defect.c[c], 0.0f, 255.0f) - levels.c[c]);
    levels.c[c] += change;
    largest_change = absolute(change) > largest_change ? absolute(change) : largest_change;
  }
  return largest_change;
}

// ---- The triplet ----

/// The pixels of a block: its tile and `reach` more on each side, some of which lie outside the picture.
struct Patch {
  int x, y, reach;  // of the tile's first pixel
  Size size;        // of the picture

  __device__ __forceinline__ int width() const { return kTileWidth + 2 * reach; }
  __device__ __forceinline__ int pixels() const { return width() * (kTileHeight + 2 * reach); }
  __device__ __forceinline__ int row_of(int i) const { return i / width(); }
  __device__ __forceinline__ bool in_picture(int px, int py) const {
    return px >= 0 && px < size.w && py >= 0 && py < size.h;
  }
  __device__ __forceinline__ bool in_tile(int px, int py) const {
    return px >= x && px < x + kTileWidth && py >= y && py < y + kTileHeight;
  }
};

template <class T>
__global__ void __launch_bounds__(kThreads)
    triplet_kernel(const __grid_constant__ TripletArgs args, const __grid_constant__ Normalise normalise,
                   Tiles tiles, bool in_vectors) {
  const DynamicShared<std::uint8_t> marks = dynamic_shared<std::uint8_t>(kMarks, kTableBytes);
  const unsigned i = blockIdx.x / tiles.of_picture, tile = blockIdx.x - i * tiles.of_picture;
  const TripletRecipe& recipe = args.recipes[i];
  const Size size{static_cast<int>(args.h), static_cast<int>(args.w)};
  const std::int64_t pixels = args.h * args.w;
  const std::uint8_t* picture = args.pictures + recipe.picture * pixels * 3;
  const bool relabel = recipe.min_visible_change > 0.0f;
  const Patch patch{static_cast<int>(tile % tiles.across) * kTileWidth,
                    static_cast<int>(tile / tiles.across) * kTileHeight, relabel ? kReach : 0, size};
  const int thread = static_cast<int>(threadIdx.x), width = patch.width(), count = patch.pixels();

  Mask mask{recipe.mask, choose_centre(recipe, picture, size), size, shared_lattice(), shared_noise_table()};
  const Drawn drawn = mask.find_attempt(Philox{recipe.seed, RandomStream::perlin, recipe.step});
  const std::uint8_t* painted_mask =
      drawn == Drawn::painted ? args.painted_masks + recipe.source_picture * pixels : nullptr;
  bool any = false;
  for (int p = thread; p < count; p += kThreads) {
    const int row = patch.row_of(p), x = patch.x - patch.reach + p - row * width,
              y = patch.y - patch.reach + row;
    const float at_x = static_cast<float>(x), at_y = static_cast<float>(y);
    bool covered = false;
    if (drawn == Drawn::painted) {
      covered = patch.in_picture(x, y) &&
                painted_mask_at(painted_mask, recipe.affine, at_x, at_y, size.h, size.w) != 0;
    } else if (drawn != Drawn::nothing && patch.in_picture(x, y)) {
      covered = drawn == Drawn::disc ? mask.in_disc(at_x, at_y) : mask.covers(at_x, at_y);
    }
    marks[p] = covered ? kInMask : std::uint8_t{0};
    any = any || covered;
  }
  any = block_sum(any ? 1 : 0) > 0;  // a barrier as well: the table's memory is free

  Source source{source_picture_of(args, recipe), source_affine_about(recipe, mask.centre.x, mask.centre.y),
                shared_noise_table()};
  if (recipe.source == SourceKind::texture && any) {
    fill(source.table, Philox{recipe.seed, RandomStream::texture, recipe.step}, 0);
  }

  const int channels = static_cast<int>(args.channels);
  for (int p = thread; p < count; p += kThreads) {
    const int row = patch.row_of(p), x = patch.x - patch.reach + p - row * width,
              y = patch.y - patch.reach + row;
    const std::uint8_t mark = marks[p];
    const bool own = patch.in_tile(x, y) && patch.in_picture(x, y);
    if (!own && mark == 0) continue;
    Rgb levels =
        sample(picture, recipe.affine, recipe.border, size, static_cast<float>(x), static_cast<float>(y));
    apply_lighting(recipe, levels);
    const std::int64_t out = (i * pixels + std::int64_t{y} * size.w + x) * channels;
    if (own) store_pixel(static_cast<T*>(args.normal) + out, levels, normalise, channels, in_vectors);
    if (mark != 0) {
      const Rgb defect = draw_source(recipe, source, size, x, y, levels);
      const float change = blend(recipe.opacity, defect, levels);
      if (relabel && change >= recipe.min_visible_change) marks[p] = kInMask | kVisible;
    }
    if (own) store_pixel(static_cast<T*>(args.defective) + out, levels, normalise, channels, in_vectors);
  }
  __syncthreads();

  for (int p = thread; p < kTileWidth * kTileHeight; p += kThreads) {
    const int column = p % kTileWidth, row = p / kTileWidth;
    const int x = patch.x + column, y = patch.y + row;
    if (!patch.in_picture(x, y)) continue;
    const int at = (row + patch.reach) * width + column + patch.reach;
    const std::uint8_t mark = marks[at];
    bool kept = mark != 0;
    if (kept && relabel) {
      kept = false;
      for (int near = 0; near < 25 && !kept; ++near) {
        const std::uint8_t other = marks[at + (near / 5 - kReach) * width + near % 5 - kReach];
        kept = (other & kVisible) != 0;
      }
    }
    args.mask[i * pixels + std::int64_t{y} * size.w + x] = kept ? 1 : 0;
  }
}

template <class T>
void start(const TripletArgs& args, const Normalise& normalise, Stream stream) {
  const std::int64_t across = ceil_div(args.w, kTileWidth),
                     of_picture = across * ceil_div(args.h, kTileHeight);
  const bool in_vectors =
      args.channels % kVector<T> == 0 &&
      aligned_to_16(static_cast<const char*>(args.normal), static_cast<const char*>(args.defective));
  launch("triplet", triplet_kernel<T>, blocks_for(args.n * of_picture, 1), kThreads, kTableBytes + kMarks,
         stream, args, normalise, Tiles{static_cast<unsigned>(across), static_cast<unsigned>(of_picture)},
         in_vectors);
}

}  // namespace

void triplet(const TripletArgs& args, Stream stream) {
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
  with_float_type(args.type, [&](auto zero) { start<decltype(zero)>(args, normalise, stream); });
}

}  // namespace ddpmts::kernels::cuda
