// Winograd's convolution (contract: kernels/winograd.h), chunk by chunk of tiles: inputs to the 36 points, 36 matrix products
// with the transformed filters, products to outputs.
// Layout: x and y NHWC; of a chunk the inputs [36][block of kRows tiles][depth / kLanes][kRows][kLanes] and the products
// [36][panel of channels][block][kRows][kPanel], so that the innermost product runs through memory from front to back.
// Bytes moved: see the contract. A chunk's inputs go through the second cache once, its products once for every `depth`.
// Variants: tiles inside the picture and on its border; bias, residual, ReLU.
#include <omp.h>

#include <utility>

#include "kernels/cpu/winograd_math.h"
#include "kernels/unroll.h"
#include "kernels/winograd.h"

namespace ddpmts::kernels::cpu::DDPMTS_ISA {
namespace {

/// Where a tile lies: its first output position, and the part of its 6×6 inputs that lies inside the picture.
struct Tile {
  std::int64_t picture, row, column;
  std::int64_t row_begin, row_end, column_begin, column_end;
  bool is_inside;  ///< all of it
};

/// The part of a tile's inputs on one axis that lies in [0, size); `first`: of its outputs, `step`: the dilation.
DDPMTS_INLINE void part_inside(std::int64_t first, std::int64_t step, std::int64_t size, std::int64_t& begin,
                               std::int64_t& end) {
  begin = first < step ? 1 : 0;
  end = smaller(kWinogradInputs, larger(ceil_div(size - first, step) + 1, begin));
}

DDPMTS_INLINE Tile tile_at(const WinogradConvArgs& args, const WinogradPlan& plan, std::int64_t index) {
  Tile tile;
  const std::int64_t columns = plan.column_phases * plan.tile_columns,
                     rows = plan.row_phases * plan.tile_rows;
  const std::int64_t column = index % columns, row = index / columns % rows;
  tile.picture = index / columns / rows;
  tile.row = row / plan.tile_rows + row % plan.tile_rows * kWinogradOutputs * args.dilation;
  tile.column = column / plan.tile_columns + column % plan.tile_columns * kWinogradOutputs * args.dilation;
  part_inside(tile.row, args.dilation, args.h, tile.row_begin, tile.row_end);
  part_inside(tile.column, args.dilation, args.w, tile.column_begin, tile.column_end);
  tile.is_inside = tile.row_begin == 0 && tile.column_begin == 0 && tile.row_end == kWinogradInputs &&
                   tile.column_end == kWinogradInputs;
  return tile;
}

/// Bᵀ d B of `count` channels of one tile, from x (its first input, which may lie outside) to out + point · stride.
template <bool kInside>
DDPMTS_INLINE void write_input_points(const Tile& tile, const float* x, std::int64_t row_step,
                                      std::int64_t column_step, std::int64_t count, float* out,
                                      std::int64_t stride) {
  Floats half[6][6];  // [point of the rows][column]
  DDPMTS_UNROLL(6)
  for (std::int64_t j = 0; j < 6; ++j) {
    Floats column[6], points[6];
    DDPMTS_UNROLL(6)
    for (std::int64_t i = 0; i < 6; ++i) {
      const bool is_there = kInside || (i >= tile.row_begin && i < tile.row_end && j >= tile.column_begin &&
                                        j < tile.column_end);
      column[i] = is_there ? load_upto(x + i * row_step + j * column_step, count) : splat(0.0f);
    }
    transform_input(column, points);
    DDPMTS_UNROLL(6)
    for (int i = 0; i < 6; ++i) half[i][j] = points[i];
  }
  DDPMTS_UNROLL(6)
  for (int i = 0; i < 6; ++i) {
    Floats points[6];
    transform_input(half[i], points);
    DDPMTS_UNROLL(6)
    for (int j = 0; j < 6; ++j) store(out + (6 * i + j) * stride, points[j]);
  }
}

/// `channels` of one tile from `first_channel` on; out: its row in the block of the first point.
template <bool kInside>
DDPMTS_INLINE void transform_tile_inputs(const WinogradConvArgs& args, const Tile& tile,
                                         std::int64_t first_channel, std::int64_t channels, float* out,
                                         std::int64_t stride) {
  const std::int64_t column_step = args.dilation * args.c, row_step = args.w * column_step;
  const std::int64_t pixel = (tile.picture * args.h + tile.row) * args.w + tile.column;
  const float* x = args.x + pixel * args.c - row_step - column_step + first_channel;
  for_each_vector(channels, [&](std::int64_t first, std::int64_t count) DDPMTS_INLINE_LAMBDA {
    write_input_points<kInside>(tile, x + first, row_step, column_step, count, out + first * kRows, stride);
  });
}

/// m[row][channel] (+)= Σ v[c][row]·u[c][channel] over the first kCount rows of a block, one c after the other: how many c
/// a call takes changes no bit. soon: as many vectors as `channels` that a later call reads, fetched meanwhile.
template <std::int64_t kCount>
void multiply_block(const float* v, const float* u, std::int64_t channels, const float* soon, bool adds,
                    float* m) {
  Floats sums[kCount][2] = {};
  if (adds) {
    DDPMTS_UNROLL(14)
    for (std::int64_t row = 0; row < kCount; ++row) {
      sums[row][0] = load(m + row * kPanel);
      sums[row][1] = load(m + row * kPanel + kLanes);
    }
  }
  for (std::int64_t first = 0; first < channels; first += kLanes, v += kRows * kLanes) {
    const std::int64_t count = smaller(kLanes, channels - first);
    for (std::int64_t c = 0; c < count; ++c, u += kPanel, soon += kLanes) {
      __builtin_prefetch(soon, 0, 2);
      const Floats left = load(u), right = load(u + kLanes);
      DDPMTS_UNROLL(14)
      for (std::int64_t row = 0; row < kCount; ++row) {
        const Floats factor = splat(v[row * kLanes + c]);
        sums[row][0] += factor * left;
        sums[row][1] += factor * right;
      }
    }
  }
  DDPMTS_UNROLL(14)
  for (std::int64_t row = 0; row < kCount; ++row) {
    store(m + row * kPanel, sums[row][0]);
    store(m + row * kPanel + kLanes, sums[row][1]);
  }
}

using MultiplyBlock = decltype(&multiply_block<1>);

/// multiply_block of `rows`, 1 to kRows.
template <std::int64_t... kFewer>
DDPMTS_INLINE MultiplyBlock multiply_rows(std::int64_t rows, std::integer_sequence<std::int64_t, kFewer...>) {
  static constexpr MultiplyBlock blocks[] = {multiply_block<kFewer + 1>...};
  return blocks[rows - 1];
}
DDPMTS_INLINE MultiplyBlock multiply_rows(std::int64_t rows) {
  return multiply_rows(rows, std::make_integer_sequence<std::int64_t, kRows>());
}

/// A chunk's tiles in blocks of nearly the same number of rows.
struct Blocks {
  std::int64_t tiles, count;
  DDPMTS_INLINE explicit Blocks(std::int64_t all) : tiles(all), count(ceil_div(all, kRows)) {}
  DDPMTS_INLINE std::int64_t begin(std::int64_t block) const { return tiles * block / count; }
  DDPMTS_INLINE std::int64_t rows(std::int64_t block) const { return begin(block + 1) - begin(block); }
};

/// Aᵀ m A of `count` channels from one vector for each point, `stride` apart.
DDPMTS_INLINE void read_outputs(const float* m, std::int64_t stride, Floats (&out)[4][4]) {
  Floats half[4][6];  // [row of the outputs][point of the columns]
  DDPMTS_UNROLL(6)
  for (int j = 0; j < 6; ++j) {
    Floats column[6], outputs[4];
    DDPMTS_UNROLL(6)
    for (int i = 0; i < 6; ++i) column[i] = load(m + (6 * i + j) * stride);
    transform_output(column, outputs);
    DDPMTS_UNROLL(4)
    for (int i = 0; i < 4; ++i) half[i][j] = outputs[i];
  }
  DDPMTS_UNROLL(4)
  for (int i = 0; i < 4; ++i) transform_output(half[i], out[i]);
}

/// Channels [first, first + channels) of one tile; m: its row in the first panel of the first point.
DDPMTS_INLINE void write_tile_outputs(const WinogradConvArgs& args, const Tile& tile, std::int64_t first,
                                      std::int64_t channels, const float* m, std::int64_t panel_step,
                                      std::int64_t stride) {
  const std::int64_t rows = smaller(kWinogradOutputs, tile.row_end - 1);
  const std::int64_t columns = smaller(kWinogradOutputs, tile.column_end - 1);
  const std::int64_t pixel = (tile.picture * args.h + tile.row) * args.w + tile.column;
  for_each_vector(channels, [&](std::int64_t k, std::int64_t count) DDPMTS_INLINE_LAMBDA {
    Floats out[4][4];
    read_outputs(m + k / kPanel * panel_step + k % kPanel, stride, out);
    const Floats bias = args.bias != nullptr ? load_upto(args.bias + first + k, count) : splat(0.0f);
    DDPMTS_UNROLL(4)
    for (std::int64_t i = 0; i < 4; ++i) {
      DDPMTS_UNROLL(4)
      for (std::int64_t j = 0; j < 4; ++j) {
        if (i >= rows || j >= columns) continue;
        const std::int64_t at = (pixel + (i * args.w + j) * args.dilation) * args.k + first + k;
        Floats sum = out[i][j] + bias;
        if (args.residual != nullptr) sum += load_upto(args.residual + at, count);
        store_upto(args.y + at, args.relu ? relu(sum) : sum, count);
      }
    }
  });
}

/// One task: what it works on, and its part of the workspace.
struct Task {
  const WinogradConvArgs& args;
  const WinogradPlan& plan;
  std::int64_t first_tile;
  Blocks blocks;
  std::int64_t first_output, outputs, panels;
  std::int64_t input_block, input_stride;   ///< floats from block to block and from point to point
  std::int64_t panel_step, product_stride;  ///< floats from panel to panel and from point to point
  float* inputs;
  float* products;

  DDPMTS_INLINE Task(const WinogradConvArgs& a, const WinogradPlan& p, std::int64_t chunk, std::int64_t group,
                     float* workspace)
      : args(a),
        plan(p),
        first_tile(chunk * p.chunk),
        blocks(smaller(p.chunk, p.tiles - first_tile)),
        first_output(group * p.group),
        outputs(smaller(p.group, a.k - first_output)),
        panels(ceil_div(outputs, kPanel)),
        input_block(kRows * kLanes * ceil_div(p.depth, kLanes)),
        input_stride(blocks.count * input_block),
        panel_step(blocks.count * kRows * kPanel),
        product_stride(panels * panel_step),
        inputs(workspace),
        products(workspace + kWinogradPoints * input_stride) {}

  /// Calls body(tile, block, row of the block) for every tile.
  template <class Body>
  DDPMTS_INLINE void for_each_tile(Body body) const {
    for (std::int64_t block = 0; block < blocks.count; ++block) {
      for (std::int64_t row = 0; row < blocks.rows(block); ++row) {
        body(tile_at(args, plan, first_tile + blocks.begin(block) + row), block, row);
      }
    }
  }

  void transform_inputs(std::int64_t first, std::int64_t channels) const {
    for_each_tile([&](const Tile& tile, std::int64_t block, std::int64_t row) DDPMTS_INLINE_LAMBDA {
      float* out = inputs + block * input_block + row * kLanes;
      if (tile.is_inside) {
        transform_tile_inputs<true>(args, tile, first, channels, out, input_stride);
      } else {
        transform_tile_inputs<false>(args, tile, first, channels, out, input_stride);
      }
    });
  }

  void multiply(std::int64_t first, std::int64_t channels) const {
    const std::int64_t all_panels = ceil_div(args.k, kPanel), count = kWinogradPoints * panels;
    const auto filters = [&](std::int64_t i) {
      const std::int64_t panel = i / panels * all_panels + first_output / kPanel + i % panels;
      return args.weights + (panel * args.c + first) * kPanel;
    };
    for (std::int64_t i = 0; i < count; ++i) {
      const float* next = filters(i + 1 < count ? i + 1 : i);
      for (std::int64_t block = 0; block < blocks.count; ++block) {
        multiply_rows(blocks.rows(block))(inputs + i / panels * input_stride + block * input_block,
                                          filters(i), channels, next + block % 2 * channels * kLanes,
                                          first > 0, products + i * panel_step + block * kRows * kPanel);
      }
    }
  }

  void transform_outputs() const {
    for_each_tile([&](const Tile& tile, std::int64_t block, std::int64_t row) DDPMTS_INLINE_LAMBDA {
      write_tile_outputs(args, tile, first_output, outputs, products + (block * kRows + row) * kPanel,
                         panel_step, product_stride);
    });
  }
};

}  // namespace

void winograd_conv(const WinogradConvArgs& args) {
  const WinogradPlan plan = winograd_plan(args);
  const std::int64_t tasks = plan.chunks * plan.groups, threads = smaller(args.threads, tasks);
  if (tasks == 0) return;
  const std::int64_t share = static_cast<std::int64_t>(winograd_workspace_floats(args)) / threads;
#pragma omp parallel for schedule(static) num_threads(static_cast <int>(threads))
  for (std::int64_t i = 0; i < tasks; ++i) {
    const Task task(args, plan, i / plan.groups, i % plan.groups,
                    args.workspace + omp_get_thread_num() * share);
    for (std::int64_t first = 0; first < args.c; first += plan.depth) {
      const std::int64_t channels = smaller(plan.depth, args.c - first);
      task.transform_inputs(first, channels);
      task.multiply(first, channels);
    }
    task.transform_outputs();
  }
}

}  // namespace ddpmts::kernels::cpu::DDPMTS_ISA
