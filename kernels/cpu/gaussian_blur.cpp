// Separable Gaussian smoothing of maps with reflecting borders.
// Layout: src, dst [N, H, W] f32.
// Bytes moved: 8 per pixel; a tile's column sums stay on the stack between the two directions.
// Variants: none.
#include "kernels/gaussian_blur.h"

#include <cmath>

#include "kernels/cpu/simd.h"

namespace ddpmts::kernels::cpu::DDPMTS_ISA {
namespace {

constexpr int kTile = 512;      ///< output columns of one work item
constexpr int kRowsOfItem = 8;  ///< output rows of one work item
constexpr int kTaps = 2 * kGaussianBlurMaxRadius + 1;

/// … d c b a | a b c d | d c b a …
DDPMTS_INLINE std::int64_t reflected(std::int64_t i, std::int64_t size) {
  const std::int64_t period = 2 * size;
  const std::int64_t phase = ((i % period) + period) % period;
  return phase < size ? phase : period - 1 - phase;
}

/// Normalised weights for offsets −radius … radius.
DDPMTS_INLINE void fill_taps(float sigma, int radius, float* taps) {
  double total = 0.0;
  for (int i = -radius; i <= radius; ++i)
    total += std::exp(-0.5 * i * i / (static_cast<double>(sigma) * sigma));
  for (int i = -radius; i <= radius; ++i) {
    taps[i + radius] =
        static_cast<float>(std::exp(-0.5 * i * i / (static_cast<double>(sigma) * sigma)) / total);
  }
}

/// out[i] = Σ_j taps[j]·source(j)[i] for i in [0, count). Four vectors at a time keep the adder busy.
template <class Source>
DDPMTS_INLINE void weighted_sum(const float* taps, int tap_count, std::int64_t count, float* out,
                                Source&& source) {
  std::int64_t i = 0;
  for (; i + 4 * kLanes <= count; i += 4 * kLanes) {
    Floats a = splat(0.0f), b = splat(0.0f), c = splat(0.0f), d = splat(0.0f);
    for (int j = 0; j < tap_count; ++j) {
      const float* row = source(j) + i;
      a += load(row) * taps[j];
      b += load(row + kLanes) * taps[j];
      c += load(row + 2 * kLanes) * taps[j];
      d += load(row + 3 * kLanes) * taps[j];
    }
    store(out + i, a);
    store(out + i + kLanes, b);
    store(out + i + 2 * kLanes, c);
    store(out + i + 3 * kLanes, d);
  }
  for (; i < count; ++i) {
    float sum = 0.0f;
    for (int j = 0; j < tap_count; ++j) sum += source(j)[i] * taps[j];
    out[i] = sum;
  }
}

/// Output row y, columns [begin, begin + count) of one picture.
DDPMTS_INLINE void blur_row(const GaussianBlurArgs& args, const float* picture, const float* taps, int radius,
                            std::int64_t y, std::int64_t begin, std::int64_t count, float* out) {
  const int tap_count = 2 * radius + 1;
  const float* rows[kTaps];
  for (int j = 0; j < tap_count; ++j) rows[j] = picture + reflected(y + j - radius, args.h) * args.w;

  // Column sums of the tile and of `radius` columns on both sides; columns[0] is column begin − radius.
  float columns[kTile + 2 * kGaussianBlurMaxRadius];
  const std::int64_t first = larger(0, begin - radius);
  const std::int64_t last = smaller(args.w, begin + count + radius);
  float* inside = columns + (first - (begin - radius));
  weighted_sum(taps, tap_count, last - first, inside, [&](int j) { return rows[j] + first; });
  for (std::int64_t x = begin - radius; x < first; ++x)
    columns[x - begin + radius] = inside[reflected(x, args.w) - first];
  for (std::int64_t x = last; x < begin + count + radius; ++x) {
    columns[x - begin + radius] = inside[reflected(x, args.w) - first];
  }
  weighted_sum(taps, tap_count, count, out, [&](int j) { return columns + j; });
}

}  // namespace

void gaussian_blur(const GaussianBlurArgs& args) {
  const int radius = gaussian_blur_radius(args.sigma);
  float taps[kTaps] = {1.0f};
  if (radius > 0) fill_taps(args.sigma, radius, taps);
  const std::int64_t bands = ceil_div(args.h, kRowsOfItem);
  const std::int64_t tiles = ceil_div(args.w, kTile);
#pragma omp parallel for schedule(static)
  for (std::int64_t item = 0; item < args.n * bands * tiles; ++item) {
    const std::int64_t begin = item % tiles * kTile;
    const std::int64_t count = smaller(kTile, args.w - begin);
    const std::int64_t band = item / tiles % bands;
    const std::int64_t picture = item / tiles / bands * args.h * args.w;
    const std::int64_t end = smaller(args.h, (band + 1) * kRowsOfItem);
    for (std::int64_t y = band * kRowsOfItem; y < end; ++y) {
      blur_row(args, args.src + picture, taps, radius, y, begin, count,
               args.dst + picture + y * args.w + begin);
    }
  }
}

}  // namespace ddpmts::kernels::cpu::DDPMTS_ISA
