#include "data/defect_recipe.h"

#include <cmath>
#include <cstddef>
#include <initializer_list>

#include "data/draws.h"
#include "engine/error.h"
#include "kernels/triplet_math.h"

namespace ddpmts {
namespace {

using kernels::Affine;
using kernels::ColourMap;
using kernels::MaskKind;
using kernels::MaskRecipe;
using kernels::Philox;
using kernels::RandomStream;
using kernels::SourceKind;
using kernels::TextureKind;
using kernels::TextureRecipe;
using kernels::TripletRecipe;

/// What a block of draws is for. Each part of a recipe has blocks of its own, so that a change to one part leaves
/// what the others draw as it was.
enum class Part : std::uint32_t { normal = 0, mask = 64, source = 128, texture = 192 };
/// Blocks of the epoch's order lie above all parts.
constexpr std::uint32_t kOrderBlocks = 0x80000000u;

Draws draws_for(const Philox& random, Part part) { return {random, static_cast<std::uint32_t>(part)}; }

float in_turns(float degrees) { return degrees / 360.0f; }

/// Turned about (centre_x, centre_y), scaled, mirrored, then moved.
Affine about(float centre_x, float centre_y, float turns, float scale_x, float scale_y, float move_x,
             float move_y) {
  float sine, cosine;
  kernels::sincos_turns(turns, sine, cosine);
  Affine a;
  a.xx = cosine * scale_x;
  a.xy = -sine * scale_y;
  a.yx = sine * scale_x;
  a.yy = cosine * scale_y;
  a.x0 = centre_x - (a.xx * centre_x + a.xy * centre_y) + move_x;
  a.y0 = centre_y - (a.yx * centre_x + a.yy * centre_y) + move_y;
  return a;
}

struct PictureSize {
  float w, h;
  float unit;  ///< pixels for one pixel of 256
};

void draw_normal(const SynthesisConfig& config, Draws draws, const PictureSize& size, TripletRecipe& recipe) {
  const std::int64_t quarters = draws.index(4);
  const float any_turn = draws.between(0.0f, 1.0f);
  const float tilt = in_turns(draws.around(5.0f));
  const float scale = 1.0f + draws.around(0.02f);
  const float move_x = draws.around(0.02f) * size.w;
  const float move_y = draws.around(0.02f) * size.h;
  const float flip_x = draws.chance(0.5f) && config.flip_horizontal ? -1.0f : 1.0f;
  const float flip_y = draws.chance(0.5f) && config.flip_vertical ? -1.0f : 1.0f;
  const bool moved = config.augmentation != Augmentation::none;
  float turns = moved ? tilt : 0.0f;
  if (config.augmentation == Augmentation::quarter) turns += 0.25f * static_cast<float>(quarters);
  if (config.augmentation == Augmentation::rotate) turns = any_turn;
  const float s = moved ? scale : 1.0f;
  recipe.affine = about(0.5f * (size.w - 1.0f), 0.5f * (size.h - 1.0f), turns, s * flip_x, s * flip_y,
                        moved ? move_x : 0.0f, moved ? move_y : 0.0f);
  recipe.border = config.border;
  const float gain = 1.0f + draws.around(config.lighting);
  const float offset = draws.around(0.25f * 255.0f * config.lighting);
  for (int c = 0; c < 3; ++c) {
    const float own = draws.around(0.25f * config.lighting);
    recipe.gain[c] = gain + (config.grey_pictures ? 0.0f : own);
    recipe.offset[c] = offset;
  }
}

void draw_mask(const SynthesisConfig& config, Draws draws, const PictureSize& size, MaskRecipe& mask) {
  const bool none = draws.chance(config.no_defect_probability);
  constexpr MaskKind kinds[] = {MaskKind::perlin, MaskKind::blob, MaskKind::stroke, MaskKind::rectangle,
                                MaskKind::smooth_noise};
  mask.kind = kinds[draws.pick({config.perlin_weight, config.blob_weight, config.stroke_weight,
                                config.rectangle_weight, config.smooth_noise_weight})];
  if (none) mask.kind = MaskKind::none;
  mask.perlin = config.perlin;
  mask.never_empty = config.never_empty;
  for (int i = 0; i < kernels::kMaxCentres; ++i) {
    mask.centre_x[i] = draws.between(0.0f, size.w - 1.0f);
    mask.centre_y[i] = draws.between(0.0f, size.h - 1.0f);
  }
  mask.centres = draws.chance(config.on_part_probability) ? kernels::kMaxCentres : 1;
  mask.look_step = std::fmax(1.0f, 3.0f * size.unit);
  const float window = std::fmax(2.0f, size.unit * draws.power_of_two(4.0f, 6.5f));
  const bool windowed = draws.chance(config.window_probability);
  if (mask.kind == MaskKind::perlin || mask.kind == MaskKind::smooth_noise) {
    mask.window_radius = windowed ? window : 0.0f;
  }
  mask.disc_radius = std::fmax(1.0f, size.unit * draws.power_of_two(1.0f, 3.0f));
  float turns = draws.between(0.0f, 1.0f);
  mask.detail = draws.between(0.2f, 0.8f);
  float u = 8.0f, v = 8.0f;  // radii in pixels of 256
  switch (mask.kind) {
    case MaskKind::none:
    case MaskKind::painted:
    case MaskKind::perlin:
      break;
    case MaskKind::blob:
      u = draws.power_of_two(1.5f, 6.2f);
      v = u * draws.power_of_two(-1.5f, 0.0f);
      mask.roughness = draws.between(0.1f, 0.9f);
      mask.frequency = draws.between(0.8f, 2.5f);
      break;
    case MaskKind::stroke:
      u = draws.power_of_two(3.0f, 6.8f);
      v = draws.power_of_two(-1.0f, 1.58f);
      mask.roughness = draws.between(0.0f, 0.8f);
      mask.frequency = draws.between(1.0f, 6.0f);
      mask.bend = draws.around(0.5f) * u * size.unit;
      mask.wobble = draws.between(0.0f, 0.1f) * u * size.unit;
      break;
    case MaskKind::rectangle:
      if (draws.chance(0.5f)) {  // a patch, mostly upright
        u = draws.power_of_two(2.0f, 5.8f);
        v = u * draws.power_of_two(-1.0f, 1.0f);
        turns = draws.chance(0.5f) ? 0.0f : in_turns(draws.around(20.0f));
      } else {  // a scar
        u = draws.power_of_two(2.3f, 4.6f);
        v = draws.power_of_two(0.0f, 2.5f);
      }
      break;
    case MaskKind::smooth_noise:
      u = draws.power_of_two(4.5f, 6.5f);
      v = u * draws.power_of_two(-1.5f, 0.0f);
      mask.threshold = draws.between(0.25f, 0.45f);
      break;
  }
  kernels::sincos_turns(turns, mask.sine, mask.cosine);
  mask.radius_u = std::fmax(0.5f, u * size.unit);
  mask.radius_v = std::fmax(0.5f, v * size.unit);
}

/// Contrast about mid-grey, then brightness, the same or nearly so in all channels.
void change_contrast(ColourMap& map, Draws& draws, float contrast, float brightness, float tint, bool grey) {
  for (int c = 0; c < 3; ++c) {
    const float own = draws.around(tint);
    map.mix[c][c] = contrast;
    map.offset[c] = 127.5f * (1.0f - contrast) + brightness + (grey ? 0.0f : own);
  }
}

void draw_recolour(Draws& draws, bool grey, ColourMap& map) {
  enum { as_it_is, contrast, inverted, mixed, grey_levels };
  switch (draws.pick({0.2f, 0.4f, 0.15f, grey ? 0.0f : 0.15f, grey ? 0.0f : 0.1f})) {
    case as_it_is:
      break;
    case contrast: {
      const float gain = draws.between(0.5f, 1.6f);
      const float sign = draws.sign();
      const float brightness = sign * draws.between(15.0f, 70.0f);
      change_contrast(map, draws, gain, brightness, 30.0f, grey);
      break;
    }
    case inverted: {
      const float gain = -draws.between(0.6f, 1.0f);
      const float brightness = draws.around(40.0f);
      change_contrast(map, draws, gain, brightness, 30.0f, grey);
      break;
    }
    case mixed:
      // Rows that sum to 1 keep grey grey; the offsets then shift it.
      for (int c = 0; c < 3; ++c) {
        const float a = draws.between(-0.5f, 1.2f), b = draws.between(-0.5f, 1.2f);
        map.mix[c][0] = a;
        map.mix[c][1] = b;
        map.mix[c][2] = 1.0f - a - b;
        map.offset[c] = draws.around(50.0f);
      }
      break;
    case grey_levels:
      for (int c = 0; c < 3; ++c) {
        map.mix[c][0] = 0.299f;
        map.mix[c][1] = 0.587f;
        map.mix[c][2] = 0.114f;
      }
      break;
    default:
      throw_error("draw_recipe: no such recolouring");
  }
}

/// Any place of a picture, turned, mirrored and scaled.
Affine draw_elsewhere(Draws& draws, const PictureSize& size) {
  const float quarters = 0.25f * static_cast<float>(draws.index(4));
  const float any_turn = draws.between(0.0f, 1.0f);
  const float turns = draws.chance(0.5f) ? quarters : any_turn;
  const float scale = draws.power_of_two(-0.6f, 0.6f);
  const float flip = draws.sign();
  const float move_x = draws.between(0.0f, size.w);
  const float move_y = draws.between(0.0f, size.h);
  return about(0.5f * (size.w - 1.0f), 0.5f * (size.h - 1.0f), turns, scale * flip, scale, move_x, move_y);
}

void draw_self(const SynthesisConfig& config, Draws& draws, std::int64_t picture_count,
               const PictureSize& size, TripletRecipe& recipe) {
  recipe.opacity = draws.between(config.self_opacity.low, config.self_opacity.high);
  recipe.source_picture = recipe.picture;
  recipe.source_affine = recipe.affine;
  recipe.source_border = recipe.border;
  enum { elsewhere, displaced, stained, smoothed };
  const int use = draws.pick(
      {config.elsewhere_weight, config.displaced_weight, config.stained_weight, config.smoothed_weight});
  // Moving or blurring a plain ground shows nothing: these always go where there is something to see.
  if (use == displaced || use == smoothed) recipe.mask.centres = kernels::kMaxCentres;
  switch (use) {
    case elsewhere:
      recipe.source_picture = draws.index(picture_count);
      recipe.source_affine = draw_elsewhere(draws, size);
      recipe.source_border = kernels::BorderRule::wrap;
      draw_recolour(draws, config.grey_pictures, recipe.colour);
      break;
    case displaced: {
      // Faint copies look like double exposures, not like bent parts: only the upper half of the opacities.
      recipe.opacity = 0.5f * (recipe.opacity + config.self_opacity.high);
      float sine, cosine;
      kernels::sincos_turns(draws.between(0.0f, 1.0f), sine, cosine);
      const float distance = size.unit * draws.power_of_two(1.0f, 4.3f);
      const float scale = draws.power_of_two(-0.3f, 0.3f);
      recipe.source_affine =
          about(0.0f, 0.0f, in_turns(draws.around(25.0f)), scale, scale, distance * cosine, distance * sine);
      recipe.displaced = true;
      break;
    }
    case stained: {
      const float contrast = draws.between(0.5f, 1.2f);
      const float sign = draws.sign();
      const float brightness = sign * draws.between(15.0f, 90.0f);
      const float tint = draws.chance(0.5f) ? 40.0f : 0.0f;
      change_contrast(recipe.colour, draws, contrast, brightness, tint, config.grey_pictures);
      break;
    }
    case smoothed: {
      recipe.opacity = 0.5f * (recipe.opacity + config.self_opacity.high);
      recipe.blur_step = std::fmax(0.8f, size.unit * draws.power_of_two(0.0f, 2.0f));
      const float contrast = draws.between(0.7f, 1.0f);
      const float brightness = draws.around(20.0f);
      change_contrast(recipe.colour, draws, contrast, brightness, 8.0f, config.grey_pictures);
      break;
    }
    default:
      throw_error("draw_recipe: no such use of training pictures");
  }
}

void draw_folder(const SynthesisConfig& config, Draws& draws, std::int64_t folder_count,
                 const PictureSize& size, TripletRecipe& recipe) {
  recipe.opacity = draws.between(config.folder_opacity.low, config.folder_opacity.high);
  recipe.source_picture = draws.index(folder_count);
  recipe.source_affine = draw_elsewhere(draws, size);
  recipe.source_border = kernels::BorderRule::wrap;
  if (config.grey_pictures) {
    for (auto& row : recipe.colour.mix) {
      row[0] = 0.299f;
      row[1] = 0.587f;
      row[2] = 0.114f;
    }
  } else {
    draw_recolour(draws, false, recipe.colour);
  }
}

void draw_texture(const SynthesisConfig& config, Draws draws, const PictureSize& size,
                  TripletRecipe& recipe) {
  recipe.opacity = draws.between(config.texture_opacity.low, config.texture_opacity.high);
  TextureRecipe& texture = recipe.texture;
  constexpr TextureKind kinds[] = {TextureKind::clouds,  TextureKind::stripes, TextureKind::cells,
                                   TextureKind::patches, TextureKind::checks,  TextureKind::colour_field,
                                   TextureKind::grain};
  texture.kind = kinds[draws.pick({0.25f, 0.12f, 0.12f, 0.12f, 0.08f, 0.21f, 0.1f})];
  const bool slow = texture.kind == TextureKind::clouds || texture.kind == TextureKind::colour_field;
  const bool grain = texture.kind == TextureKind::grain;
  const float cell = grain ? draws.power_of_two(0.0f, 1.6f) : draws.power_of_two(2.0f, slow ? 6.5f : 5.0f);
  const float pixels = std::fmax(1.0f, cell * size.unit);
  const float stretch = draws.power_of_two(-1.0f, 1.0f);
  texture.place = about(0.0f, 0.0f, draws.between(0.0f, 1.0f), 1.0f, 1.0f, 0.0f, 0.0f);
  texture.place.xx /= pixels;
  texture.place.xy /= pixels;
  texture.place.yx /= pixels * stretch;
  texture.place.yy /= pixels * stretch;
  texture.place.x0 = draws.between(0.0f, 32.0f);
  texture.place.y0 = draws.between(0.0f, 32.0f);
  texture.warp = draws.chance(0.6f) ? draws.between(0.1f, 1.0f) : 0.0f;
  texture.detail = draws.between(0.2f, 1.0f);
  texture.sharpness = grain ? 1.0f : draws.power_of_two(0.0f, 3.0f);
  texture.channel_shift = config.grey_pictures ? 0.0f : 9.7f;
  const bool laid_over = draws.chance(0.4f);
  texture.keep = laid_over ? 1.0f : 0.0f;
  // Around a colour of its own, or around no change at all.
  const float reach = draws.power_of_two(4.4f, laid_over ? 6.5f : 7.0f);
  const float grey_base = laid_over ? draws.around(reach) : draws.between(0.0f, 255.0f);
  const float tint = draws.chance(0.5f) ? 128.0f : 25.0f;
  for (int c = 0; c < 3; ++c) {
    const float own_base = draws.around(laid_over ? 0.3f * reach : tint);
    const float base = grey_base + (config.grey_pictures ? 0.0f : own_base);
    for (int stop = 0; stop < 3; ++stop) {
      const float change = draws.around(reach);
      texture.colour[stop][c] = config.grey_pictures && c > 0 ? texture.colour[stop][0] : base + change;
    }
  }
}

/// A picture that a defect was painted on, lying and lit as any other; the defect where it was painted.
void draw_painted(const SynthesisConfig& config, Draws& draws, std::span<const std::int64_t> painted_bases,
                  TripletRecipe& recipe) {
  recipe.opacity = draws.between(config.diffusion_opacity.low, config.diffusion_opacity.high);
  recipe.source_picture = draws.index(static_cast<std::int64_t>(painted_bases.size()));
  recipe.picture = painted_bases[static_cast<std::size_t>(recipe.source_picture)];
  recipe.source_affine = recipe.affine;
  recipe.source_border = recipe.border;
  recipe.noise_sigma = 0.0f;
  if (recipe.mask.kind != kernels::MaskKind::none) recipe.mask.kind = kernels::MaskKind::painted;
}

void draw_source(const SynthesisConfig& config, const Philox& random, std::int64_t picture_count,
                 std::int64_t folder_count, std::span<const std::int64_t> painted_bases,
                 const PictureSize& size, TripletRecipe& recipe) {
  Draws draws = draws_for(random, Part::source);
  constexpr SourceKind kinds[] = {SourceKind::self, SourceKind::texture, SourceKind::folder,
                                  SourceKind::painted};
  recipe.source = kinds[draws.pick(
      {config.self_weight, config.texture_weight, config.folder_weight, config.diffusion_weight})];
  recipe.noise_is_grey = draws.chance(0.5f) || config.grey_pictures;
  const float sigma = draws.power_of_two(1.5f, 5.3f);
  recipe.noise_sigma = draws.chance(0.3f) ? sigma : 0.0f;
  recipe.min_visible_change = config.relabel_unchanged ? config.unchanged_below : 0.0f;
  switch (recipe.source) {
    case SourceKind::self:
      return draw_self(config, draws, picture_count, size, recipe);
    case SourceKind::folder:
      return draw_folder(config, draws, folder_count, size, recipe);
    case SourceKind::painted:
      return draw_painted(config, draws, painted_bases, recipe);
    case SourceKind::texture:
      return draw_texture(config, draws_for(random, Part::texture), size, recipe);
  }
}

void check_weights(const char* what, std::initializer_list<float> weights) {
  float total = 0.0f;
  for (const float weight : weights) {
    if (!(weight >= 0.0f) || !std::isfinite(weight)) {
      throw_error("synthesis: a weight of {} is {}; weights must be 0 or more", what, weight);
    }
    total += weight;
  }
  if (!(total > 0.0f)) throw_error("synthesis: all weights of {} are 0; give at least one", what);
}

void check_probability(const char* what, float probability) {
  if (!(probability >= 0.0f && probability <= 1.0f)) {
    throw_error("synthesis: {} is {}; it must lie in 0 to 1", what, probability);
  }
}

void check_opacity(const char* what, FloatRange range) {
  if (!(range.low >= 0.0f && range.low <= range.high && range.high <= 1.0f)) {
    throw_error("synthesis: opacity of {} is {} to {}; it must be a range within 0 to 1", what, range.low,
                range.high);
  }
}

}  // namespace

const char* name_of(Augmentation augmentation) {
  constexpr const char* names[] = {"none", "small", "quarter", "rotate"};
  return names[static_cast<int>(augmentation)];
}

Augmentation augmentation_named(std::string_view name) {
  for (const Augmentation a :
       {Augmentation::none, Augmentation::small, Augmentation::quarter, Augmentation::rotate}) {
    if (name == name_of(a)) return a;
  }
  throw_error("unknown augmentation '{}': expected none, small, quarter or rotate", name);
}

void check(const SynthesisConfig& config, std::int64_t picture_count, std::int64_t folder_count,
           std::span<const std::int64_t> painted_bases) {
  if (picture_count < 1 || picture_count > 0x7fffffff || folder_count < 0 || folder_count > 0x7fffffff) {
    throw_error(
        "synthesis: {} training pictures and {} folder pictures; needs 1 to 2^31 - 1 training pictures",
        picture_count, folder_count);
  }
  check_weights("defect sources",
                {config.self_weight, config.texture_weight, config.folder_weight, config.diffusion_weight});
  check_weights("uses of training pictures", {config.elsewhere_weight, config.displaced_weight,
                                              config.stained_weight, config.smoothed_weight});
  check_weights("mask kinds", {config.perlin_weight, config.blob_weight, config.stroke_weight,
                               config.rectangle_weight, config.smooth_noise_weight});
  check_probability("no_defect_probability", config.no_defect_probability);
  check_probability("on_part_probability", config.on_part_probability);
  check_probability("window_probability", config.window_probability);
  check_opacity("self", config.self_opacity);
  check_opacity("texture", config.texture_opacity);
  check_opacity("folder", config.folder_opacity);
  check_opacity("diffusion", config.diffusion_opacity);
  if (config.folder_weight > 0.0f && folder_count == 0) {
    throw_error(
        "synthesis: the source 'folder' has weight {} but there are no folder pictures; give a folder, or "
        "weight 0",
        config.folder_weight);
  }
  if (config.diffusion_weight > 0.0f && painted_bases.empty()) {
    throw_error("synthesis: the source 'diffusion' has weight {} but there are no painted defects",
                config.diffusion_weight);
  }
  for (const std::int64_t base : painted_bases) {
    if (base < 0 || base >= picture_count) {
      throw_error("synthesis: a defect was painted on picture {} of {}", base, picture_count);
    }
  }
  if (!(config.lighting >= 0.0f && config.lighting <= 0.5f)) {
    throw_error("synthesis: lighting is {}; it must lie in 0 to 0.5", config.lighting);
  }
  if (!(config.unchanged_below >= 0.0f && config.unchanged_below <= 255.0f)) {
    throw_error("synthesis: unchanged_below is {}; it must lie in 0 to 255 levels", config.unchanged_below);
  }
  const kernels::PerlinConfig& perlin = config.perlin;
  if (perlin.min_exponent < 0 || perlin.max_exponent < perlin.min_exponent || perlin.max_exponent > 5 ||
      perlin.max_tries < 1 || perlin.max_tries > 1000) {
    throw_error(
        "synthesis: Perlin exponents {} to {}, {} tries; exponents must lie in 0 to 5, tries in 1 to 1000",
        perlin.min_exponent, perlin.max_exponent, perlin.max_tries);
  }
}

std::int64_t shuffled_index(std::uint64_t seed, std::uint64_t epoch, std::int64_t position,
                            std::int64_t count) {
  if (count < 1 || count > 0x7fffffff || position < 0 || position >= count) {
    throw_error("shuffled_index: position {} of {}", position, count);
  }
  std::uint32_t half_bits = 0;
  while ((std::int64_t{1} << (2 * half_bits)) < count) ++half_bits;
  const std::uint32_t half_mask = (1u << half_bits) - 1u;
  const Philox random{seed, RandomStream::triplet, epoch};
  auto value = static_cast<std::uint64_t>(position);
  do {
    auto left = static_cast<std::uint32_t>(value >> half_bits);
    std::uint32_t right = static_cast<std::uint32_t>(value) & half_mask;
    for (std::uint32_t round = 0; round < 4; ++round) {
      // half_bits ≤ 16, so that the round number has room above.
      const std::uint32_t mixed = random.bits(kOrderBlocks | round << 16 | right).x & half_mask;
      const std::uint32_t next = left ^ mixed;
      left = right;
      right = next;
    }
    value = static_cast<std::uint64_t>(left) << half_bits | right;
  } while (value >= static_cast<std::uint64_t>(count));
  return static_cast<std::int64_t>(value);
}

TripletRecipe draw_recipe(const SynthesisConfig& config, std::uint64_t seed, std::uint64_t sample,
                          std::int64_t picture_count, std::int64_t folder_count, std::int64_t h,
                          std::int64_t w, std::span<const std::int64_t> painted_bases) {
  check(config, picture_count, folder_count, painted_bases);
  if (h < 1 || w < 1) throw_error<ShapeError>("draw_recipe: pictures of {}x{} pixels", h, w);
  const Philox random{seed, RandomStream::triplet, sample};
  const PictureSize size{static_cast<float>(w), static_cast<float>(h),
                         static_cast<float>(h < w ? h : w) / 256.0f};
  const auto count = static_cast<std::uint64_t>(picture_count);
  TripletRecipe recipe;
  recipe.seed = seed;
  recipe.step = sample;
  recipe.picture =
      shuffled_index(seed, sample / count, static_cast<std::int64_t>(sample % count), picture_count);
  draw_normal(config, draws_for(random, Part::normal), size, recipe);
  draw_mask(config, draws_for(random, Part::mask), size, recipe.mask);
  draw_source(config, random, picture_count, folder_count, painted_bases, size, recipe);
  return recipe;
}

}  // namespace ddpmts
