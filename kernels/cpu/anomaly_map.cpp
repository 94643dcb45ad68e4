// Distance, segmentation and memory map and their calibrated combination at picture size, in one pass over the output.
// Layout: maps [N, h, w] f32, logits f32 or bf16.
// Bytes moved: the outputs once. Source rows are stretched to the output's width once each, into a tile on the stack;
// an output row is then a mixture of two stretched rows per input.
// Variants: f32 or bf16 logits.
#include "kernels/anomaly_map.h"

#include "kernels/cpu/bilinear_tap.h"
#include "kernels/cpu/vector_math.h"

namespace ddpmts::kernels::cpu::DDPMTS_ISA {
namespace {

constexpr int kTile = 256;  ///< output columns of one work item; a multiple of every lane count
constexpr int kBand = 32;   ///< output rows of one work item

/// The two source rows around the current output row, stretched to the tile's columns.
struct StretchedRows {
  std::int32_t first[kTile], second[kTile];  ///< source columns
  float fraction[kTile];
  float row[2][kTile];
  std::int64_t held[2];  ///< source row held in row[i], or −1

  DDPMTS_INLINE void start(const BilinearAxis& axis, std::int64_t begin, int count) {
    for (int i = 0; i < count; ++i) {
      const BilinearTap tap = axis.tap(begin + i);
      first[i] = static_cast<std::int32_t>(tap.first);
      second[i] = static_cast<std::int32_t>(tap.second);
      fraction[i] = tap.fraction;
    }
    for (int i = count; i < kTile; ++i) fraction[i] = row[0][i] = row[1][i] = 0.0f;
    held[0] = held[1] = -1;
  }

  /// The slot with source row y of `picture` [h, w], or of σ(picture). Rows y and y + 1 never share a slot.
  template <bool kLogistic, class T>
  DDPMTS_INLINE const float* stretched(const T* picture, std::int64_t w, std::int64_t y, int count) {
    const int slot = static_cast<int>(y & 1);
    float* out = row[slot];
    if (held[slot] == y) return out;
    held[slot] = y;
    const T* source = picture + y * w;
    if constexpr (kLogistic) {
      float left[kTile], right[kTile];
      for (int i = 0; i < count; ++i) {
        left[i] = to_float(source[first[i]]);
        right[i] = to_float(source[second[i]]);
      }
      for (int i = count; i < kTile; ++i) left[i] = right[i] = 0.0f;
      for (int i = 0; i < count; i += kLanes) {
        const Floats start = sigmoid(load(left + i));
        store(out + i, start + (sigmoid(load(right + i)) - start) * load(fraction + i));
      }
      return out;
    }
    for (int i = 0; i < count; ++i) {
      const float start = to_float(source[first[i]]);
      out[i] = start + (to_float(source[second[i]]) - start) * fraction[i];
    }
    return out;
  }
};

/// The upsampled input at one output row: top + (bottom − top)·fraction.
struct MixedRow {
  const float* top;
  const float* bottom;
  float fraction;

  DDPMTS_INLINE Floats at(int i) const {
    return load(top + i) + (load(bottom + i) - load(top + i)) * fraction;
  }
};

struct Tile {
  std::int64_t picture, row_begin, row_end, column_begin;
  int columns;
};

struct Wanted {
  bool distance, segmentation, memory;
};

/// Output row y of one small map `values` [N, h, w], or of σ(values), upsampled.
template <bool kLogistic, class T>
DDPMTS_INLINE MixedRow mixed_row(StretchedRows& rows, const T* values, std::int64_t h, std::int64_t w,
                                 std::int64_t out_h, const Tile& tile, std::int64_t y) {
  const BilinearTap tap = bilinear_axis(h, out_h).tap(y);
  const T* picture = values + tile.picture * h * w;
  const float* top = rows.stretched<kLogistic>(picture, w, tap.first, tile.columns);
  const float* bottom = rows.stretched<kLogistic>(picture, w, tap.second, tile.columns);
  return MixedRow{top, bottom, tap.fraction};
}

template <class T>
DDPMTS_INLINE void write_tile(const AnomalyMapArgs& args, const Tile& tile, Wanted wanted) {
  StretchedRows levels[kMaxFeatureLevels];
  StretchedRows logits, remembered;
  const int level_count = wanted.distance ? args.level_count : 0;
  for (int k = 0; k < level_count; ++k) {
    levels[k].start(bilinear_axis(args.level[k].w, args.w), tile.column_begin, tile.columns);
  }
  if (wanted.segmentation)
    logits.start(bilinear_axis(args.logits_w, args.w), tile.column_begin, tile.columns);
  if (wanted.memory) remembered.start(bilinear_axis(args.memory.w, args.w), tile.column_begin, tile.columns);
  for (std::int64_t y = tile.row_begin; y < tile.row_end; ++y) {
    MixedRow distance_rows[kMaxFeatureLevels] = {};
    for (int k = 0; k < level_count; ++k) {
      const DistanceLevel& level = args.level[k];
      distance_rows[k] = mixed_row<false>(levels[k], level.distance, level.h, level.w, args.h, tile, y);
    }
    MixedRow memory_row{}, probability_row{};
    if (wanted.memory) {
      memory_row =
          mixed_row<false>(remembered, args.memory.distance, args.memory.h, args.memory.w, args.h, tile, y);
    }
    if (wanted.segmentation) {
      probability_row = mixed_row<true>(logits, static_cast<const T*>(args.logits), args.logits_h,
                                        args.logits_w, args.h, tile, y);
    }

    for (int i = 0; i < tile.columns; i += kLanes) {
      const std::int64_t count = smaller(kLanes, tile.columns - i);
      const std::int64_t out = (tile.picture * args.h + y) * args.w + tile.column_begin + i;
      Floats combined = splat(0.0f);
      const auto add = [&](Floats value, float* map, const MapTerm& term) {
        if (map != nullptr) store_upto(map + out, value, count);
        if (term.scale != 0.0f) combined += value * term.scale + term.offset;
      };
      if (wanted.distance) {
        Floats distance = distance_rows[0].at(i);
        for (int k = 1; k < level_count; ++k) distance *= distance_rows[k].at(i);
        add(distance, args.distance_map, args.distance_term);
      }
      if (wanted.segmentation) add(probability_row.at(i), args.segmentation_map, args.segmentation_term);
      if (wanted.memory) add(memory_row.at(i), args.memory_map, args.memory_term);
      if (args.combined_map != nullptr) store_upto(args.combined_map + out, combined, count);
    }
  }
}

template <class T>
void write_maps(const AnomalyMapArgs& args) {
  const bool combine = args.combined_map != nullptr;
  const Wanted wanted{args.distance_map != nullptr || (combine && args.distance_term.scale != 0.0f),
                      args.segmentation_map != nullptr || (combine && args.segmentation_term.scale != 0.0f),
                      args.memory_map != nullptr || (combine && args.memory_term.scale != 0.0f)};
  const std::int64_t bands = ceil_div(args.h, kBand);
  const std::int64_t tiles = ceil_div(args.w, kTile);
#pragma omp parallel for schedule(static)
  for (std::int64_t item = 0; item < args.n * bands * tiles; ++item) {
    const std::int64_t column = item % tiles * kTile;
    const std::int64_t row = item / tiles % bands * kBand;
    write_tile<T>(args,
                  Tile{item / tiles / bands, row, smaller(args.h, row + kBand), column,
                       static_cast<int>(smaller(kTile, args.w - column))},
                  wanted);
  }
}

}  // namespace

void anomaly_map(const AnomalyMapArgs& args) {
  with_float_type(args.logits_type, [&](auto type) { write_maps<decltype(type)>(args); });
}

}  // namespace ddpmts::kernels::cpu::DDPMTS_ISA
