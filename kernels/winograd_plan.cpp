// How the Winograd convolution is cut into tasks (contract: winograd.h); the same for every instruction set.
#include <algorithm>

#include "kernels/winograd.h"

namespace ddpmts::kernels {
namespace {

// Two blocks of the widest instruction set's innermost product; three where that is all there is to do. Fewer tiles read the
// weights more often, more drive each other out of the second cache.
constexpr std::int64_t kTiles = 2 * kWinogradTileStep, kMostTiles = 3 * kWinogradTileStep;
// Input channels at a time, so that they stay in the second cache too; sums of many output channels are dear to fetch again.
constexpr std::int64_t kDepth = 64, kDepthOfMany = 128, kMany = 128;

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
std::int64_t round_up(std::int64_t value, std::int64_t step) { return ceil_div(value, step) * step; }

}  // namespace

WinogradPlan winograd_plan(const WinogradConvArgs& args) {
  WinogradPlan plan;
  plan.row_phases = std::min(args.dilation, args.h);
  plan.column_phases = std::min(args.dilation, args.w);
  plan.tile_rows = ceil_div(ceil_div(args.h, args.dilation), kWinogradOutputs);
  plan.tile_columns = ceil_div(ceil_div(args.w, args.dilation), kWinogradOutputs);
  plan.tiles = args.n * plan.row_phases * plan.tile_rows * plan.column_phases * plan.tile_columns;
  if (plan.tiles == 0) return plan;

  // As many chunks as keep all threads busy to the end.
  const std::int64_t rounds =
      plan.tiles <= kMostTiles * args.threads ? 1 : ceil_div(plan.tiles, kTiles * args.threads);
  plan.chunk = std::max(ceil_div(plan.tiles, rounds * args.threads), kWinogradTileStep);
  plan.chunk = std::min(plan.chunk, plan.tiles);
  plan.chunks = ceil_div(plan.tiles, plan.chunk);
  // Where tiles are few, threads share the output channels; each transforms the inputs for itself.
  const std::int64_t wide = round_up(args.k, kWinogradOutputStep);
  const std::int64_t wanted = std::max<std::int64_t>(args.threads / plan.chunks, 1);
  plan.group = round_up(ceil_div(wide, wanted), kWinogradOutputStep);
  plan.groups = ceil_div(wide, plan.group);
  plan.depth = std::min(args.c, plan.group > kMany ? kDepthOfMany : kDepth);
  return plan;
}

std::size_t winograd_workspace_floats(const WinogradConvArgs& args) {
  const WinogradPlan plan = winograd_plan(args);
  const std::int64_t tasks = std::min(args.threads, plan.chunks * plan.groups);
  const std::int64_t tiles = plan.chunk + kWinogradTileStep - 1;  // blocks of any instruction set
  return static_cast<std::size_t>(tasks * kWinogradPoints * tiles *
                                  (round_up(plan.depth, kWinogradInputStep) + plan.group));
}

std::size_t winograd_weight_floats(std::int64_t c, std::int64_t k) {
  return static_cast<std::size_t>(kWinogradPoints * c * round_up(k, kWinogradOutputStep));
}

}  // namespace ddpmts::kernels
