// The contrastive loss and its gradient (contract: kernels/contrastive_loss.h).
// Layout: similarities [n, n]; a warp has a row, its lanes share the columns in groups of four. Within a row sums are f32,
//   over the rows f64 (grid_sum).
// Bytes moved: as the contract says. A few hundred rows: everything stays in the second cache.
// Variants: vector accesses where n and the pointers allow.
#include "kernels/contrastive_loss.h"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/vector.cuh"

namespace ddpmts::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarpsPerBlock = kThreads / kWarp;
constexpr int kWidth = 4;
constexpr int kBlocksPerMultiprocessor = 8;

/// e^((s − 1)/τ); cosines that rounding has put above 1 count as 1.
__device__ __forceinline__ float exponential(float s, float inverse_temperature) {
  const float below = s - 1.0f;
  return expf((below > 0.0f ? 0.0f : below) * inverse_temperature);
}

__device__ __forceinline__ std::int64_t partner_of(std::int64_t i, std::int64_t n) {
  return i < n / 2 ? i + n / 2 : i - n / 2;
}

__global__ void __launch_bounds__(kThreads)
    forward_kernel(const __grid_constant__ ContrastiveLossArgs args, bool aligned, ReductionScratch scratch) {
  const std::int64_t n = args.n;
  const float inverse_temperature = 1.0f / args.temperature;
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  double loss = 0.0, found = 0.0;  // of the warp's rows, in its first lane
  for (std::int64_t i = std::int64_t{blockIdx.x} * kWarpsPerBlock + threadIdx.x / kWarp; i < n;
       i += std::int64_t{gridDim.x} * kWarpsPerBlock) {
    const float* s = args.similarities + i * n;
    const float to_partner = s[partner_of(i, n)];
    float sum = 0.0f;
    int as_similar = 0;
    for_each_stretch<kWidth>(lane, kWarp, n, aligned, [&](const Stretch<kWidth>& here) {
      const Floats<kWidth> value = here.read(s);
#pragma unroll
      for (int k = 0; k < kWidth; ++k) {
        const bool counts = k < here.size && here.first + k != i;
        sum += counts ? exponential(value[k], inverse_temperature) : 0.0f;
        as_similar += counts && value[k] >= to_partner ? 1 : 0;
      }
    });
    sum = warp_sum(sum);
    as_similar = warp_sum(as_similar);
    if (lane == 0) {
      args.sums[i] = sum;
      loss += static_cast<double>(logf(sum)) + static_cast<double>((1.0f - to_partner) * inverse_temperature);
      found += as_similar == 1 ? 1.0 : 0.0;  // the partner itself
    }
  }
  const double sums[] = {block_sum(loss), block_sum(found)};
  double totals[2];
  if (!grid_sum(sums, scratch, totals)) return;
  if (threadIdx.x == 0) {
    *args.loss = static_cast<float>(totals[0] / static_cast<double>(n));
    *args.accuracy = static_cast<float>(totals[1] / static_cast<double>(n));
  }
}

__global__ void __launch_bounds__(kThreads)
    backward_kernel(const __grid_constant__ ContrastiveLossArgs args, bool aligned) {
  const std::int64_t n = args.n;
  const std::int64_t i = std::int64_t{blockIdx.x} * kWarpsPerBlock + threadIdx.x / kWarp;
  if (i >= n) return;  // the whole warp
  const float inverse_temperature = 1.0f / args.temperature;
  const float scale = *args.grad_loss * inverse_temperature / static_cast<float>(n);
  const float own_share = scale / args.sums[i];
  const std::int64_t partner = partner_of(i, n);
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  for_each_stretch<kWidth>(lane, kWarp, n, aligned, [&](const Stretch<kWidth>& here) {
    Floats<kWidth> gradient = here.read(args.similarities + i * n);
    const Floats<kWidth> sums = here.read(args.sums);
#pragma unroll
    for (int k = 0; k < kWidth; ++k) {
      const std::int64_t j = here.first + k;
      const float share =
          scale / sums[k];  // rounded before it is added: the gradient is symmetric to the bit
      const float value = exponential(gradient[k], inverse_temperature) * (share + own_share);
      gradient[k] = j == i ? 0.0f : value - (j == partner ? 2.0f * scale : 0.0f);
    }
    here.write(args.similarities_grad + i * n, gradient);
  });
}

}  // namespace

void contrastive_loss_forward(const ContrastiveLossArgs& args, Stream stream) {
  check(args);
  const unsigned blocks = smaller(persistent_blocks(args.n, kWarpsPerBlock, kBlocksPerMultiprocessor),
                                  ReductionScratch::kMostBlocks);
  launch("contrastive_loss_forward", forward_kernel, blocks, kThreads, 0, stream, args,
         args.n % kWidth == 0 && aligned_to_16(args.similarities), reduction_scratch(stream));
}

void contrastive_loss_backward(const ContrastiveLossArgs& args, Stream stream) {
  check(args);
  launch("contrastive_loss_backward", backward_kernel, blocks_for(args.n, kWarpsPerBlock), kThreads, 0,
         stream, args,
         args.n % kWidth == 0 && aligned_to_16(args.similarities, args.sums, args.similarities_grad));
}

}  // namespace ddpmts::kernels::cuda
