#include "engine/cpu/winograd.h"

#include <omp.h>

#include <algorithm>

#include "engine/cpu/packed_weights.h"
#include "kernels/winograd.h"

namespace ddpmts::cpu {
namespace {

using kernels::WinogradConvArgs;

// Both passes are one convolution of a picture of the same size; backward, from k channels to c.
WinogradConvArgs args_of(const ConvShape& s, ConvPass pass) {
  const bool is_forward = pass == ConvPass::forward;
  WinogradConvArgs args;
  args.n = s.n;
  args.h = s.h;
  args.w = s.w;
  args.c = is_forward ? s.c : s.k;
  args.k = is_forward ? s.k : s.c;
  args.dilation = s.dilation;
  args.threads = omp_get_max_threads();
  return args;
}

const float* transformed_weight(const WinogradConvArgs& args, ConvPass pass, Parameter& weight) {
  const bool turned = pass == ConvPass::backward_data;
  const auto kind = turned ? PackedForm::Kind::winograd_backward_data : PackedForm::Kind::winograd_forward;
  const std::size_t bytes = sizeof(float) * kernels::winograd_weight_floats(args.c, args.k);
  const void* transformed = packed_weight(weight, {kind}, bytes, [&](void* to) {
    kernels::WinogradWeightsArgs weights;
    weights.c = args.c;
    weights.k = args.k;
    weights.turned = turned;
    weights.weights = weight.value().data<float>();
    weights.transformed = static_cast<float*>(to);
    kernels::cpu::winograd_weights(weights);
  });
  return static_cast<const float*>(transformed);
}

void run(WinogradConvArgs& args) {
  const Buffer workspace({}, sizeof(float) * kernels::winograd_workspace_floats(args));
  args.workspace = static_cast<float*>(workspace.data());
  kernels::cpu::winograd_conv(args);
}

// How many taps of a 3×3 filter lie inside the picture, over all places on one axis: the others a direct kernel leaves out.
std::int64_t taps_inside(std::int64_t size, std::int64_t dilation) {
  return size + 2 * std::max<std::int64_t>(size - dilation, 0);
}

}  // namespace

// The measure: products of the direct sum over those of Winograd's, for one picture and one pair of channels. Reading the four
// times larger weights costs about as much as four more tiles. One thread, AVX-512, in turns with oneDNN's direct kernel: from a
// quotient of 2.9 on it was 2.2 to 2.7 times as fast, at 2.1 (dilation 18 on 64×64) 1.6 times; at 1.7 (8×8) one picture
// took as long as directly and eight less than half; at 1.35 (dilation 12) nothing was gained; at 0.6 (5×5) it was half as
// fast. AVX2 gained more on both shapes tried. Below 16 channels in or 32 out the transformations weigh too much (16 to 16:
// 1.1, 8 to 8: 0.8 times as fast). The number of pictures is left out: a picture's result, to the last bit, does not depend
// on its company.
bool uses_winograd(const ConvShape& s, ConvPass pass) {
  if (pass == ConvPass::backward_weights || s.type != DType::f32) return false;
  if (s.r != 3 || s.s != 3 || s.stride != 1 || s.padding != s.dilation) return false;
  WinogradConvArgs args = args_of(s, pass);
  if (args.c < 16 || args.k < 32) return false;
  args.n = 1;
  const std::int64_t direct = taps_inside(s.h, s.dilation) * taps_inside(s.w, s.dilation);
  const std::int64_t tiles = kernels::winograd_plan(args).tiles;
  return 10 * direct >= 16 * kernels::kWinogradPoints * (tiles + 4);
}

void winograd_forward(const ConvShape& s, const float* x, Parameter& weight, const ConvEpilogue& epilogue,
                      float* y) {
  WinogradConvArgs args = args_of(s, ConvPass::forward);
  args.x = x;
  args.weights = transformed_weight(args, ConvPass::forward, weight);
  args.bias = epilogue.bias;
  args.residual = static_cast<const float*>(epilogue.residual);
  args.relu = epilogue.relu;
  args.y = y;
  run(args);
}

void winograd_backward_data(const ConvShape& s, const float* dy, Parameter& weight, float* dx) {
  WinogradConvArgs args = args_of(s, ConvPass::backward_data);
  args.x = dy;
  args.weights = transformed_weight(args, ConvPass::backward_data, weight);
  args.y = dx;
  run(args);
}

}  // namespace ddpmts::cpu
