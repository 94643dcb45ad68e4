// Views of scenes (contract: kernels/scene_views.h), bit for bit those of the CPU: compiled without fused multiply-adds.
// Layout: pictures NHWC u8. First kernel: a block has 1024 pixels of a view and the scene's noise table in shared memory
//   (16 KB). Second: a block has a tile of 32×32 pixels, blurred along its rows in shared memory (15 KB), then along its columns.
// Bytes moved: levels, 12 bytes a pixel, are written in between and read again; beside the arithmetic of four samples a
//   pixel, each under up to 24 leaves, they do not count.
// Variants: none.
#include "kernels/cuda/mask_drawing.cuh"
#include "kernels/scene_math.h"
#include "kernels/scene_views.h"

namespace ddpmts::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kPixelsOfBlock = 1024;
constexpr int kTile = 32;
constexpr int kRows = kTile + 2 * kMaxSceneBlur;  // that the blur of a tile along its columns reads
constexpr int kMaterialSteps = 4;                 // two fields, here and towards the light

struct Place {
  float x, y;
};

__device__ __forceinline__ Place placed(const Affine& affine, float x, float y) {
  return Place{affine.xx * x + affine.xy * y + affine.x0, affine.yx * x + affine.yy * y + affine.y0};
}

// ---- Materials ----

__device__ __forceinline__ float draw_field(const FieldRecipe& field, const SharedNoiseTable& table, float u,
                                            float v) {
  switch (field.kind) {
#define DDPMTS_FIELD(kind) \
  case FieldKind::kind:    \
    return field_at<FieldKind::kind>(field, table, u, v);
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
  return 0.0f;
}

__device__ __forceinline__ float blend(FieldBlend how, float a, float b) {
  switch (how) {
#define DDPMTS_BLEND(kind) \
  case FieldBlend::kind:   \
    return blended<FieldBlend::kind>(a, b);
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
  return 0.0f;
}

struct Surface {
  float value;   ///< in [0, 1], the place in the palette
  float beside;  ///< the same towards the light; 0 for a flat material
};

/// One loop, so that the sixteen kinds of field stand in the program once.
__device__ __forceinline__ Surface draw_material(const MaterialRecipe& material,
                                                 const SharedNoiseTable& table, float x, float y) {
  const bool one_field = material.blend == FieldBlend::first;
  const int steps = material.relief > 0.0f ? kMaterialSteps : kMaterialSteps / 2;
  Surface surface{0.0f, 0.0f};
  float first = 0.0f;
#pragma unroll 1
  for (int step = 0; step < steps; ++step) {
    const bool is_second = step % 2 != 0;
    if (is_second && one_field) continue;
    const bool is_beside = step >= kMaterialSteps / 2;
    const FieldRecipe& field = material.field[is_second ? 1 : 0];
    const float push =
        is_second && material.blend == FieldBlend::push ? material.push * (first - 0.5f) : 0.0f;
    Place at =
        placed(field.place, is_beside ? x + material.relief_x : x, is_beside ? y + material.relief_y : y);
    at.x += push;
    at.y += 0.5f * push;
    if (field.warp > 0.0f) {
      const float along_u = warp_u(field, table, at.x, at.y), along_v = warp_v(field, table, at.x, at.y);
      at.x += along_u;
      at.y += along_v;
    }
    const float value = draw_field(field, table, at.x, at.y);
    if (!is_second) first = value;
    if (!is_second && !one_field) continue;
    const float both = blend(material.blend, first, value);
    if (is_beside) {
      surface.beside = both;
    } else {
      surface.value = both;
    }
  }
  return surface;
}

// ---- Leaves ----

__device__ __forceinline__ float inside_any(const ShapeRecipe& shape, float u, float v) {
  switch (shape.kind) {
#define DDPMTS_SHAPE(kind) \
  case ShapeKind::kind:    \
    return inside_shape<ShapeKind::kind>(shape, u, v);
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
  return -1.0f;
}

/// The topmost leaf at a place, null for the ground; multiplies `light` by what it and the leaves above leave.
__device__ __forceinline__ const ShapeRecipe* find_leaf(const SceneRecipe& scene,
                                                        const SharedNoiseTable& table, float x, float y,
                                                        float& light) {
#pragma unroll 1
  for (int k = 0; k < scene.shapes; ++k) {
    const ShapeRecipe& shape = scene.shape[k];
    const Place at = placed(shape.place, x, y);
    float inside = inside_any(shape, at.x, at.y);
    if (shape.ragged > 0.0f) {
      inside += shape.ragged *
                noise_at(table, shape.ragged_frequency * at.x + shape.p, shape.ragged_frequency * at.y);
    }
    if (inside > 0.0f) {
      light *= light_on_shape(shape, inside, at.x, at.y);
      return &shape;
    }
    light *= light_beside_shape(shape, inside);
  }
  return nullptr;
}

/// Adds the levels at a place of the scene to `sums`.
__device__ __forceinline__ void draw_place(const SceneRecipe& scene, const SharedNoiseTable& table, Place at,
                                           float (&sums)[3]) {
  if (scene.wobble > 0.0f) {
    const float f = scene.wobble_frequency;
    const float along_x = noise_at(table, f * at.x + 7.7f, f * at.y + 1.9f);
    const float along_y = noise_at(table, f * at.x + 21.3f, f * at.y + 14.6f);
    at.x += scene.wobble * along_x;
    at.y += scene.wobble * along_y;
  }
  float light = scene_light(scene, at.x, at.y);
  const ShapeRecipe* leaf =
      find_leaf(scene, table, in_period(at.x, scene.period_x), in_period(at.y, scene.period_y), light);
  const MaterialRecipe& material = scene.material[leaf == nullptr ? 0 : leaf->material];
  const Surface surface = draw_material(material, table, at.x + (leaf == nullptr ? 0.0f : leaf->shift_x),
                                        at.y + (leaf == nullptr ? 0.0f : leaf->shift_y));
  if (material.relief > 0.0f) {
    light *= clamp_to(1.0f + material.relief * (surface.value - surface.beside), 0.1f, 2.5f);
  }
#pragma unroll
  for (int c = 0; c < 3; ++c) {
    const float gain = leaf == nullptr ? 1.0f : leaf->gain[c];
    sums[c] += clamp_to(palette_at(material, c, surface.value) * gain * light, 0.0f, 255.0f);
  }
}

/// levels [n, 3, h·w] before blur, colour and noise.
__global__ void __launch_bounds__(kThreads)
    draw_kernel(const __grid_constant__ SceneViewsArgs args, float* levels, unsigned blocks_of_view) {
  SharedNoiseTable table = shared_noise_table();
  const unsigned i = blockIdx.x / blocks_of_view, part = blockIdx.x - i * blocks_of_view;
  const SceneViewRecipe& view = args.views[i];
  const SceneRecipe& scene = args.scenes[view.scene];
  fill(table, Philox{scene.seed, RandomStream::texture, scene.step}, 0);
  const int w = static_cast<int>(args.w), pixels = static_cast<int>(args.h) * w;
  float* own = levels + std::int64_t{i} * 3 * pixels;
  const int first = static_cast<int>(part) * kPixelsOfBlock, end = smaller(first + kPixelsOfBlock, pixels);
  for (int p = first + static_cast<int>(threadIdx.x); p < end; p += kThreads) {
    const float column = static_cast<float>(p % w), line = static_cast<float>(p / w);
    float sums[3] = {0.0f, 0.0f, 0.0f};
#pragma unroll 1
    for (int tap = 0; tap < kSceneTaps; ++tap) {
      draw_place(scene, table, placed(view.place, column + scene_tap_x(tap), line + scene_tap_y(tap)), sums);
    }
#pragma unroll
    for (int c = 0; c < 3; ++c) own[std::int64_t{c} * pixels + p] = sums[c] * (1.0f / kSceneTaps);
  }
}

// ---- The view ----

struct Tiles {
  unsigned across, of_view;
};

/// Blur, colour, light and noise of one view's tile.
__global__ void __launch_bounds__(kThreads)
    finish_kernel(const __grid_constant__ SceneViewsArgs args, const float* levels, Tiles tiles) {
  __shared__ SharedArray<float, 3 * kRows * kTile> rows;  // blurred along x
  const unsigned i = blockIdx.x / tiles.of_view, tile = blockIdx.x - i * tiles.of_view;
  const SceneViewRecipe& view = args.views[i];
  const SceneRecipe& scene = args.scenes[view.scene];
  const int h = static_cast<int>(args.h), w = static_cast<int>(args.w), pixels = h * w;
  const int left = static_cast<int>(tile % tiles.across) * kTile,
            top = static_cast<int>(tile / tiles.across) * kTile;
  const float* own = levels + std::int64_t{i} * 3 * pixels;
  const int thread = static_cast<int>(threadIdx.x);
  const bool is_blurred = view.blur > 0.0f;
  SceneBlur blur{};
  if (is_blurred) {
    blur = scene_blur(view.blur);
    for (int k = thread; k < 3 * kRows * kTile; k += kThreads) {
      const int c = k / (kRows * kTile), row = k / kTile - c * kRows, x = left + k % kTile;
      const int y = smaller(larger(top + row - kMaxSceneBlur, 0), h - 1);  // edges repeat
      if (x >= w) continue;
      const float* line = own + std::int64_t{c} * pixels + std::int64_t{y} * w;
      float sum = blur.weight[0] * line[x];
#pragma unroll
      for (int d = 1; d <= kMaxSceneBlur; ++d) {
        sum += blur.weight[d] * (line[larger(x - d, 0)] + line[smaller(x + d, w - 1)]);
      }
      rows[k] = sum;
    }
  }
  __syncthreads();

  const Philox random{scene.seed, RandomStream::pixel,
                      scene.step << 20 ^ static_cast<std::uint64_t>(view.noise_step)};
  const float middle_x = 0.5f * static_cast<float>(w - 1), middle_y = 0.5f * static_cast<float>(h - 1);
  for (int k = thread; k < kTile * kTile; k += kThreads) {
    const int row = k / kTile, x = left + k % kTile, y = top + row, p = y * w + x;
    if (x >= w || y >= h) continue;
    float colour[3];
#pragma unroll
    for (int c = 0; c < 3; ++c) {
      if (is_blurred) {
        const int at = (c * kRows + row + kMaxSceneBlur) * kTile + k % kTile;
        const float centre = rows[at];
        colour[c] = blur.weight[0] * centre;
#pragma unroll
        for (int d = 1; d <= kMaxSceneBlur; ++d) {
          const float before = rows[at - d * kTile], after = rows[at + d * kTile];
          colour[c] += blur.weight[d] * (before + after);
        }
      } else {
        colour[c] = own[std::int64_t{c} * pixels + p];
      }
    }
    const float light = larger_of(0.1f, 1.0f + view.light_x * (static_cast<float>(x) - middle_x) +
                                            view.light_y * (static_cast<float>(y) - middle_y));
    float noise[3] = {0.0f, 0.0f, 0.0f};
    if (view.noise_sigma > 0.0f) {
      const Uint4 bits = random.bits(static_cast<std::uint32_t>(p));
      const bool grey = view.noise_is_grey;
      noise[0] = view.noise_sigma * gaussian_from_bytes(bits.x);
      noise[1] = view.noise_sigma * gaussian_from_bytes(grey ? bits.x : bits.y);
      noise[2] = view.noise_sigma * gaussian_from_bytes(grey ? bits.x : bits.z);
    }
    std::uint8_t* out = args.pictures + (std::int64_t{i} * pixels + p) * 3;
#pragma unroll
    for (int c = 0; c < 3; ++c) {
      const float* mix = view.colour.mix[c];
      const float offset = view.colour.offset[c] + 0.5f;
      const float level =
          light * (mix[0] * colour[0] + mix[1] * colour[1] + mix[2] * colour[2]) + offset + noise[c];
      out[c] = static_cast<std::uint8_t>(clamp_to(level, 0.0f, 255.0f));
    }
  }
}

}  // namespace

void scene_views(const SceneViewsArgs& args, Stream stream) {
  check(args);
  if (args.n == 0) return;
  const std::int64_t pixels = args.h * args.w;
  float* levels = static_cast<float*>(
      scratch_memory(stream, static_cast<std::size_t>(args.n * 3 * pixels) * sizeof(float)));
  const std::int64_t blocks_of_view = ceil_div(pixels, kPixelsOfBlock);
  launch("scene_draw", draw_kernel, blocks_for(args.n * blocks_of_view, 1), kThreads,
         SharedNoiseTable::kBytes, stream, args, levels, static_cast<unsigned>(blocks_of_view));
  const std::int64_t across = ceil_div(args.w, kTile), of_view = across * ceil_div(args.h, kTile);
  launch("scene_finish", finish_kernel, blocks_for(args.n * of_view, 1), kThreads, 0, stream, args, levels,
         Tiles{static_cast<unsigned>(across), static_cast<unsigned>(of_view)});
}

}  // namespace ddpmts::kernels::cuda
