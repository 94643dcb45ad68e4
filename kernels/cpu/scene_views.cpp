// Views of scenes on the CPU: one view a thread, in chunks of pixels that stay in the cache. For each of the four samples: which
// leaf lies on top, then the materials one after the other, each for the places that show it, gathered side by side.
// Layout and bytes: see scene_views.h. Loops are vectorised.
#include "kernels/scene_views.h"

#include <omp.h>

#include "kernels/cpu/simd.h"
#include "kernels/scene_math.h"

namespace ddpmts::kernels::cpu::DDPMTS_ISA {
namespace {

constexpr int kChunk = 512;
using Row = float[kChunk];
using Index = int[kChunk];

void fill_table(NoiseTable& table, const Philox& random) {
#pragma omp simd
  for (int p = 0; p < kNoisePoints; ++p) noise_table_point(table, random, 0, p);
}

// ---- materials ----

template <FieldKind kKind>
void field_with(const FieldRecipe& field, const NoiseTable& table, const float* us, const float* vs,
                int count, float* out) {
#pragma omp simd
  for (int k = 0; k < count; ++k) out[k] = field_at<kKind>(field, table, us[k], vs[k]);
}

/// The field at places of the scene, displaced by `push` of the field's units.
void draw_field(const FieldRecipe& field, const NoiseTable& table, const float* xs, const float* ys,
                const float* push, int count, float* out) {
  const Affine& place = field.place;
  Row us, vs;
#pragma omp simd
  for (int k = 0; k < count; ++k) {
    us[k] = place.xx * xs[k] + place.xy * ys[k] + place.x0 + push[k];
    vs[k] = place.yx * xs[k] + place.yy * ys[k] + place.y0 + 0.5f * push[k];
  }
  if (field.warp > 0.0f) {
    Row along_u, along_v;
#pragma omp simd
    for (int k = 0; k < count; ++k) along_u[k] = warp_u(field, table, us[k], vs[k]);
#pragma omp simd
    for (int k = 0; k < count; ++k) along_v[k] = warp_v(field, table, us[k], vs[k]);
    for (int k = 0; k < count; ++k) us[k] += along_u[k];
    for (int k = 0; k < count; ++k) vs[k] += along_v[k];
  }
  switch (field.kind) {
#define DDPMTS_FIELD(kind) \
  case FieldKind::kind:    \
    return field_with<FieldKind::kind>(field, table, us, vs, count, out);
    DDPMTS_FIELD(clouds)
    DDPMTS_FIELD(ridges)
    DDPMTS_FIELD(stripes)
    DDPMTS_FIELD(checks)
    DDPMTS_FIELD(rings)
    DDPMTS_FIELD(waves)
    DDPMTS_FIELD(cells)
    DDPMTS_FIELD(borders)
    DDPMTS_FIELD(patches)
    DDPMTS_FIELD(dots)
    DDPMTS_FIELD(fibres)
    DDPMTS_FIELD(bricks)
    DDPMTS_FIELD(weave)
    DDPMTS_FIELD(grain)
    DDPMTS_FIELD(folds)
    DDPMTS_FIELD(julia)
#undef DDPMTS_FIELD
  }
}

template <FieldBlend kBlend>
void blend_with(const float* a, const float* b, int count, float* out) {
#pragma omp simd
  for (int k = 0; k < count; ++k) out[k] = blended<kBlend>(a[k], b[k]);
}

void blend(FieldBlend how, const float* a, const float* b, int count, float* out) {
  switch (how) {
#define DDPMTS_BLEND(kind) \
  case FieldBlend::kind:   \
    return blend_with<FieldBlend::kind>(a, b, count, out);
    DDPMTS_BLEND(first)
    DDPMTS_BLEND(mean)
    DDPMTS_BLEND(product)
    DDPMTS_BLEND(larger)
    DDPMTS_BLEND(smaller)
    DDPMTS_BLEND(difference)
    DDPMTS_BLEND(choice)
    DDPMTS_BLEND(push)
#undef DDPMTS_BLEND
  }
}

/// The material's value at places of the scene, in [0, 1].
void draw_value(const MaterialRecipe& material, const NoiseTable& table, const float* xs, const float* ys,
                int count, float* out) {
  Row first, second, push = {};
  draw_field(material.field[0], table, xs, ys, push, count, first);
  if (material.blend == FieldBlend::first) return blend(material.blend, first, first, count, out);
  if (material.blend == FieldBlend::push) {
    for (int k = 0; k < count; ++k) push[k] = material.push * (first[k] - 0.5f);
  }
  draw_field(material.field[1], table, xs, ys, push, count, second);
  blend(material.blend, first, second, count, out);
}

/// Multiplies `light` by the relief's share and returns the palette's levels.
void draw_material(const MaterialRecipe& material, const NoiseTable& table, const float* xs, const float* ys,
                   int count, float* light, Row* levels) {
  Row value;
  draw_value(material, table, xs, ys, count, value);
  if (material.relief > 0.0f) {
    Row moved_x, moved_y, beside;
    for (int k = 0; k < count; ++k) {
      moved_x[k] = xs[k] + material.relief_x;
      moved_y[k] = ys[k] + material.relief_y;
    }
    draw_value(material, table, moved_x, moved_y, count, beside);
#pragma omp simd
    for (int k = 0; k < count; ++k) {
      light[k] *= clamp_to(1.0f + material.relief * (value[k] - beside[k]), 0.1f, 2.5f);
    }
  }
  for (int c = 0; c < 3; ++c) {
#pragma omp simd
    for (int k = 0; k < count; ++k) levels[c][k] = palette_at(material, c, value[k]);
  }
}

// ---- leaves ----

/// Goes one leaf down: where nothing has been met yet (leaf < 0), this one is met or throws its shadow.
template <ShapeKind kKind>
void lay_with(const ShapeRecipe& shape, int number, const NoiseTable& table, const float* xs, const float* ys,
              int count, int* leaf, float* light) {
  const auto meet = [&](int k, float ragged) __attribute__((always_inline)) {
    const float u = shape.place.xx * xs[k] + shape.place.xy * ys[k] + shape.place.x0;
    const float v = shape.place.yx * xs[k] + shape.place.yy * ys[k] + shape.place.y0;
    const float edge = ragged > 0.0f ? ragged * noise_at(table, shape.ragged_frequency * u + shape.p,
                                                         shape.ragged_frequency * v)
                                     : 0.0f;
    const float inside = inside_shape<kKind>(shape, u, v) + edge;
    const bool is_open = leaf[k] < 0;
    const bool is_met = is_open & (inside > 0.0f);
    const float gained = is_met ? light_on_shape(shape, inside, u, v) : light_beside_shape(shape, inside);
    light[k] *= is_open ? gained : 1.0f;
    leaf[k] = is_met ? number : leaf[k];
  };
  if (shape.ragged > 0.0f) {
#pragma omp simd
    for (int k = 0; k < count; ++k) meet(k, shape.ragged);
  } else {
#pragma omp simd
    for (int k = 0; k < count; ++k) meet(k, 0.0f);
  }
}

void lay(const ShapeRecipe& shape, int number, const NoiseTable& table, const float* xs, const float* ys,
         int count, int* leaf, float* light) {
  switch (shape.kind) {
#define DDPMTS_SHAPE(kind) \
  case ShapeKind::kind:    \
    return lay_with<ShapeKind::kind>(shape, number, table, xs, ys, count, leaf, light);
    DDPMTS_SHAPE(ellipse)
    DDPMTS_SHAPE(box)
    DDPMTS_SHAPE(polygon)
    DDPMTS_SHAPE(ring)
    DDPMTS_SHAPE(band)
    DDPMTS_SHAPE(half_plane)
    DDPMTS_SHAPE(flower)
    DDPMTS_SHAPE(cross)
#undef DDPMTS_SHAPE
  }
}

/// Adds the levels at places of the scene to `sum`.
void draw_places(const SceneRecipe& scene, const NoiseTable& table, Row& xs, Row& ys, int count, Row* sum) {
  Row light;
  Index leaf;
  if (scene.wobble > 0.0f) {
    const float f = scene.wobble_frequency;
    Row along_x, along_y;
#pragma omp simd
    for (int k = 0; k < count; ++k) along_x[k] = noise_at(table, f * xs[k] + 7.7f, f * ys[k] + 1.9f);
#pragma omp simd
    for (int k = 0; k < count; ++k) along_y[k] = noise_at(table, f * xs[k] + 21.3f, f * ys[k] + 14.6f);
    for (int k = 0; k < count; ++k) xs[k] += scene.wobble * along_x[k];
    for (int k = 0; k < count; ++k) ys[k] += scene.wobble * along_y[k];
  }
#pragma omp simd
  for (int k = 0; k < count; ++k) {
    light[k] = scene_light(scene, xs[k], ys[k]);
    leaf[k] = -1;
  }
  Row in_x, in_y;
#pragma omp simd
  for (int k = 0; k < count; ++k) {
    in_x[k] = in_period(xs[k], scene.period_x);
    in_y[k] = in_period(ys[k], scene.period_y);
  }
  for (int s = 0; s < scene.shapes; ++s) lay(scene.shape[s], s, table, in_x, in_y, count, leaf, light);

  int first[kMaxMaterials + 1] = {};
  for (int k = 0; k < count; ++k) ++first[(leaf[k] < 0 ? 0 : scene.shape[leaf[k]].material) + 1];
  for (int m = 0; m < kMaxMaterials; ++m) first[m + 1] += first[m];
  int next[kMaxMaterials];
  for (int m = 0; m < kMaxMaterials; ++m) next[m] = first[m];
  Index from;
  Row gathered_x, gathered_y, gathered_light;
  for (int k = 0; k < count; ++k) {
    const ShapeRecipe* shape = leaf[k] < 0 ? nullptr : &scene.shape[leaf[k]];
    const int at = next[shape == nullptr ? 0 : shape->material]++;
    from[at] = k;
    gathered_x[at] = xs[k] + (shape == nullptr ? 0.0f : shape->shift_x);
    gathered_y[at] = ys[k] + (shape == nullptr ? 0.0f : shape->shift_y);
    gathered_light[at] = light[k];
  }
  Row levels[3];
  for (int m = 0; m < kMaxMaterials; ++m) {
    const int begin = first[m], size = first[m + 1] - begin;
    if (size == 0) continue;
    draw_material(scene.material[m], table, gathered_x + begin, gathered_y + begin, size,
                  gathered_light + begin, levels);
    for (int k = 0; k < size; ++k) {
      const int to = from[begin + k];
      const ShapeRecipe* shape = leaf[to] < 0 ? nullptr : &scene.shape[leaf[to]];
      for (int c = 0; c < 3; ++c) {
        const float gain = shape == nullptr ? 1.0f : shape->gain[c];
        sum[c][to] += clamp_to(levels[c][k] * gain * gathered_light[begin + k], 0.0f, 255.0f);
      }
    }
  }
}

// ---- the view ----

/// levels [3, h·w] before blur, colour and noise.
void draw_scene(const SceneRecipe& scene, const NoiseTable& table, const Affine& place, int h, int w,
                float* levels) {
  const int pixels = h * w;
  for (int begin = 0; begin < pixels; begin += kChunk) {
    const int count = static_cast<int>(smaller(kChunk, pixels - begin));
    Row column, line, sum[3];
    for (int k = 0; k < count; ++k) {
      column[k] = static_cast<float>((begin + k) % w);
      line[k] = static_cast<float>((begin + k) / w);
      sum[0][k] = sum[1][k] = sum[2][k] = 0.0f;
    }
    for (int tap = 0; tap < kSceneTaps; ++tap) {
      Row xs, ys;
#pragma omp simd
      for (int k = 0; k < count; ++k) {
        const float x = column[k] + scene_tap_x(tap), y = line[k] + scene_tap_y(tap);
        xs[k] = place.xx * x + place.xy * y + place.x0;
        ys[k] = place.yx * x + place.yy * y + place.y0;
      }
      draw_places(scene, table, xs, ys, count, sum);
    }
    for (int c = 0; c < 3; ++c) {
      float* out = levels + static_cast<std::int64_t>(c) * pixels + begin;
      for (int k = 0; k < count; ++k) out[k] = sum[c][k] * (1.0f / kSceneTaps);
    }
  }
}

/// One pass of a separable Gaussian along an axis: `step` elements between neighbours, `length` of them; edges repeat.
void blur_axis(const float* weights, const float* from, int lines, int line_step, int length, int step,
               float* to) {
  for (int line = 0; line < lines; ++line) {
    const float* source = from + line * line_step;
    float* target = to + line * line_step;
    for (int i = 0; i < length; ++i) {
      float sum = weights[0] * source[i * step];
      for (int d = 1; d <= kMaxSceneBlur; ++d) {
        const int before = i < d ? 0 : i - d, after = i + d < length ? i + d : length - 1;
        sum += weights[d] * (source[before * step] + source[after * step]);
      }
      target[i * step] = sum;
    }
  }
}

void blur(float sigma, int h, int w, float* levels, float* scratch) {
  const SceneBlur weights = scene_blur(sigma);
  for (int c = 0; c < 3; ++c) {
    float* plane = levels + static_cast<std::int64_t>(c) * h * w;
    blur_axis(weights.weight, plane, h, w, w, 1, scratch);
    blur_axis(weights.weight, scratch, w, 1, h, w, plane);
  }
}

void finish(const SceneViewRecipe& view, const SceneRecipe& scene, int h, int w, const float* levels,
            std::uint8_t* out) {
  const Philox random{scene.seed, RandomStream::pixel,
                      scene.step << 20 ^ static_cast<std::uint64_t>(view.noise_step)};
  const int pixels = h * w;
  const float middle_x = 0.5f * static_cast<float>(w - 1), middle_y = 0.5f * static_cast<float>(h - 1);
  for (int begin = 0; begin < pixels; begin += kChunk) {
    const int count = static_cast<int>(smaller(kChunk, pixels - begin));
    Row light, noise[3];
    for (int k = 0; k < count; ++k) {
      const float x = static_cast<float>((begin + k) % w) - middle_x;
      const float y = static_cast<float>((begin + k) / w) - middle_y;
      light[k] = larger_of(0.1f, 1.0f + view.light_x * x + view.light_y * y);
      noise[0][k] = noise[1][k] = noise[2][k] = 0.0f;
    }
    if (view.noise_sigma > 0.0f) {
      const bool grey = view.noise_is_grey;
#pragma omp simd
      for (int k = 0; k < count; ++k) {
        const Uint4 bits = random.bits(static_cast<std::uint32_t>(begin + k));
        noise[0][k] = view.noise_sigma * gaussian_from_bytes(bits.x);
        noise[1][k] = view.noise_sigma * gaussian_from_bytes(grey ? bits.x : bits.y);
        noise[2][k] = view.noise_sigma * gaussian_from_bytes(grey ? bits.x : bits.z);
      }
    }
    const float* red = levels + begin;
    const float* green = red + pixels;
    const float* blue = green + pixels;
    Row changed[3];
    for (int c = 0; c < 3; ++c) {
      const float* mix = view.colour.mix[c];
      const float offset = view.colour.offset[c] + 0.5f;
#pragma omp simd
      for (int k = 0; k < count; ++k) {
        const float level =
            light[k] * (mix[0] * red[k] + mix[1] * green[k] + mix[2] * blue[k]) + offset + noise[c][k];
        changed[c][k] = clamp_to(level, 0.0f, 255.0f);
      }
    }
    for (int k = 0; k < count; ++k) {
      for (int c = 0; c < 3; ++c) out[3 * (begin + k) + c] = static_cast<std::uint8_t>(changed[c][k]);
    }
  }
}

void draw_view(const SceneViewsArgs& args, std::int64_t i, float* levels, float* scratch) {
  const SceneViewRecipe& view = args.views[i];
  const SceneRecipe& scene = args.scenes[view.scene];
  const int h = static_cast<int>(args.h), w = static_cast<int>(args.w);
  NoiseTable table;
  fill_table(table, Philox{scene.seed, RandomStream::texture, scene.step});
  draw_scene(scene, table, view.place, h, w, levels);
  if (view.blur > 0.0f) blur(view.blur, h, w, levels, scratch);
  finish(view, scene, h, w, levels, args.pictures + i * args.h * args.w * 3);
}

void check_recipes(const SceneViewsArgs& args) {
  for (std::int64_t s = 0; s < args.scene_count; ++s) {
    const SceneRecipe& scene = args.scenes[s];
    bool fits = scene.shapes >= 0 && scene.shapes <= kMaxShapes;
    for (int k = 0; fits && k < scene.shapes; ++k) {
      fits = scene.shape[k].material >= 0 && scene.shape[k].material < kMaxMaterials;
    }
    if (!fits) throw std::invalid_argument("scene_views: a scene has too many shapes, or one of no material");
  }
  for (std::int64_t i = 0; i < args.n; ++i) {
    const SceneViewRecipe& view = args.views[i];
    if (view.scene < 0 || view.scene >= args.scene_count) {
      throw std::invalid_argument("scene_views: a view of a scene that is not there");
    }
    if (!(view.blur >= 0.0f && 2.0f * view.blur <= kMaxSceneBlur)) {
      throw std::invalid_argument("scene_views: blur must lie in 0..2 pixels");
    }
  }
}

}  // namespace

void scene_views(const SceneViewsArgs& args) {
  check(args);
  check_recipes(args);
  const std::int64_t pixels = args.h * args.w;
  const int threads = static_cast<int>(smaller(omp_get_max_threads(), larger(args.n, 1)));
  const Scratch<float> levels(4 * pixels * threads);
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
  for (std::int64_t i = 0; i < args.n; ++i) {
    float* own = levels.data() + 4 * pixels * omp_get_thread_num();
    draw_view(args, i, own, own + 3 * pixels);
  }
}

}  // namespace ddpmts::kernels::cpu::DDPMTS_ISA
