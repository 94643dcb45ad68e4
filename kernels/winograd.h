// 3×3 convolution with stride 1 by Winograd's minimal filtering F(4×4, 3×3) (Lavin & Gray, arXiv 1509.09308, Sec. 4.1):
// Y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A makes 4×4 outputs from 6×6 inputs with 36 multiplications where the direct sum needs 144.
// Over channels, ⊙ becomes 36 matrix products. In f32 the result is off by about 1e-5 of its own size (cpu/winograd_math.h).
// Layout: x [N, H, W, C], y [N, H, W, K], residual like y, all f32; transformed weights in the instruction set's own order.
// Bytes moved: x read 2.25 times (tiles overlap), the weights once for every chunk of winograd_plan, y written once; what lies
// between is meant to stay in the second cache.
// Variants: dilation (the padding is the dilation, so that y has x's size); bias, residual and ReLU in the same pass. The data's
// gradient is the same convolution with turned weights. For CPUs only: on a GPU cuDNN has such kernels of its own.
#pragma once

#include "kernels/launch.h"

namespace ddpmts::kernels {

constexpr std::int64_t kWinogradOutputs = 4;  ///< rows and columns that a tile makes
constexpr std::int64_t kWinogradInputs = 6;   ///< rows and columns that it reads
constexpr std::int64_t kWinogradPoints = kWinogradInputs * kWinogradInputs;

struct WinogradConvArgs {
  std::int64_t n = 0, h = 0, w = 0, c = 0, k = 0;
  std::int64_t dilation = 1;
  const float* x = nullptr;
  const float* weights = nullptr;   ///< what winograd_weights made
  const float* bias = nullptr;      ///< [K], null: none
  const float* residual = nullptr;  ///< added, null: none; may be y itself
  bool relu = false;                ///< last
  float* y = nullptr;
  std::int64_t threads = 1;    ///< that share the work; y is the same, bit for bit, for any number
  float* workspace = nullptr;  ///< winograd_workspace_floats, 64-byte aligned
};

struct WinogradWeightsArgs {
  std::int64_t c = 0, k = 0;       ///< of the convolution that will use the result: c channels to k
  bool turned = false;             ///< for the data's gradient of a convolution of k channels to c
  const float* weights = nullptr;  ///< [K, 3, 3, C]; turned: [C, 3, 3, K]
  float* transformed = nullptr;    ///< winograd_weight_floats, 64-byte aligned
};

/// y = relu?(conv(x, g) + bias + residual). What is not finite in x spreads over the 16 outputs of every tile that reads it.
DDPMTS_KERNEL(winograd_conv, WinogradConvArgs)
/// G g Gᵀ for every pair of channels, zero where channels are filled up. turned: of the filters turned by 180°, their two
/// kinds of channels exchanged.
DDPMTS_KERNEL(winograd_weights, WinogradWeightsArgs)

/// How the work is cut: a task makes the outputs of one group of channels for one chunk of tiles.
struct WinogradPlan {
  std::int64_t row_phases = 1, column_phases = 1;  ///< pictures that dilation makes of one
  std::int64_t tile_rows = 0, tile_columns = 0;    ///< of one phase
  std::int64_t tiles = 0;                          ///< of all pictures and phases
  std::int64_t chunk = 0, chunks = 0;  ///< tiles of a chunk, the last may have fewer; their number
  std::int64_t group = 0, groups = 0;  ///< output channels of a group, likewise
  std::int64_t depth = 0;              ///< input channels that are transformed and multiplied together
};

/// Reads sizes, dilation and threads alone.
WinogradPlan winograd_plan(const WinogradConvArgs& args);
std::size_t winograd_workspace_floats(const WinogradConvArgs& args);
std::size_t winograd_weight_floats(std::int64_t c, std::int64_t k);

/// What the widest instruction set rounds up to: input channels, output channels, tiles of a chunk.
constexpr std::int64_t kWinogradInputStep = 16, kWinogradOutputStep = 32, kWinogradTileStep = 14;

}  // namespace ddpmts::kernels
