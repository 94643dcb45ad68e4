// Focal loss + L1 from logits, and their gradient (contract: kernels/segmentation_loss.h). One launch each.
// Layout: logits [count] f32 or bf16, mask [count] u8, 16 bytes of logits to a thread; sums over blocks in f64.
// Bytes moved per element: forward reads a logit and a mask byte; backward also writes a gradient.
// Variants: f32, bf16; γ a whole number up to 8 by multiplication, any other γ by exp(γ·log(1−p_t)).
//
// With a = z where the mask is 1 and −z where it is 0: p_t = σ(a), u = 1−p_t = |p − mask| = σ(−a),
//   L = −log p_t = softplus(−a), focal = u^γ·L, d focal/da = −u^γ·(γ·p_t·L + u), d l1/da = −u·p_t.
#include <cmath>

#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/vector.cuh"
#include "kernels/segmentation_loss.h"

namespace ddpmts::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kBlocksPerMultiprocessor = 8;

struct Focal {
  float gamma;
  int whole_gamma;  ///< γ where that is a whole number in [0, 8], else −1
  float cutoff;     ///< u^(γ+1) would be no normal float for u below this: the focal term is 0 there
};

Focal focal_of(float gamma) {
  const bool whole = gamma >= 0.0f && gamma <= 8.0f && gamma == std::floor(gamma);
  return Focal{gamma, whole ? static_cast<int>(gamma) : -1, std::pow(10.0f, -37.0f / (gamma + 1.0f))};
}

/// What both directions need of one pixel.
struct Pixel {
  float probability, complement;  ///< p_t and u
  float log_loss;                 ///< L
  float factor;                   ///< u^γ
};

__device__ __forceinline__ Pixel pixel_of(float a, const Focal& focal) {
  const float e = expf(-fabsf(a));
  const float high = 1.0f / (1.0f + e), low = e * high;
  const float log1p_exp = log1pf(e);
  const float positive = a < 0.0f ? 0.0f : a;  // softplus(a) = positive + log1p_exp
  Pixel p;
  p.probability = a < 0.0f ? low : high;
  p.complement = a < 0.0f ? high : low;
  p.log_loss = (positive - a) + log1p_exp;
  p.factor = 1.0f;
  if (p.complement < focal.cutoff) {
    p.factor = 0.0f;
  } else if (focal.whole_gamma >= 0) {
    for (int i = 0; i < focal.whole_gamma; ++i) p.factor *= p.complement;
  } else {
    p.factor = expf(-focal.gamma * (positive + log1p_exp));
  }
  return p;
}

/// Elements [i, i + kWidth), or those of them below `count`.
template <int kWidth>
struct Span {
  std::int64_t i;
  int size;    ///< elements, at most kWidth
  bool whole;  ///< kWidth of them, in one aligned access

  template <class T>
  __device__ __forceinline__ Floats<kWidth> logits(const T* p) const {
    return whole ? load<kWidth>(p + i) : load_upto<kWidth>(p + i, size);
  }
  __device__ __forceinline__ void mask(const std::uint8_t* p, bool (&inside)[kWidth]) const {
    std::uint8_t bytes[kWidth] = {};
    if (whole) {
      using Words = detail::Words<kWidth, std::uint8_t>;
      static_assert(Words::kCount == 1);
      const typename Words::Word word = *reinterpret_cast<const typename Words::Word*>(p + i);
      __builtin_memcpy(bytes, &word, sizeof bytes);
    } else {
#pragma unroll
      for (int k = 0; k < kWidth; ++k) {
        if (k < size) bytes[k] = p[i + k];
      }
    }
#pragma unroll
    for (int k = 0; k < kWidth; ++k) inside[k] = bytes[k] != 0;
  }
};

template <int kWidth>
__device__ __forceinline__ Span<kWidth> span_of(std::int64_t vector, std::int64_t count, bool aligned) {
  const std::int64_t i = vector * kWidth;
  const int size = static_cast<int>(smaller(count - i, std::int64_t{kWidth}));
  return Span<kWidth>{i, size, aligned && size == kWidth};
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    forward_kernel(const __grid_constant__ SegmentationLossArgs args, const __grid_constant__ Focal focal,
                   bool aligned, ReductionScratch scratch) {
  constexpr int kWidth = kVector<T>;
  const std::int64_t vectors = ceil_div(args.count, kWidth), step = std::int64_t{gridDim.x} * kThreads;
  double focal_sum = 0.0, l1_sum = 0.0;
  for (std::int64_t v = std::int64_t{blockIdx.x} * kThreads + threadIdx.x; v < vectors; v += step) {
    const Span<kWidth> span = span_of<kWidth>(v, args.count, aligned);
    const Floats<kWidth> z = span.logits(static_cast<const T*>(args.logits));
    bool inside[kWidth];
    span.mask(args.mask, inside);
    float focal_here = 0.0f, l1_here = 0.0f;
#pragma unroll
    for (int k = 0; k < kWidth; ++k) {
      const Pixel p = pixel_of(inside[k] ? z[k] : -z[k], focal);
      focal_here += k < span.size ? p.factor * p.log_loss : 0.0f;
      l1_here += k < span.size ? p.complement : 0.0f;
    }
    focal_sum += static_cast<double>(focal_here);
    l1_sum += static_cast<double>(l1_here);
  }
  const double of_block[2] = {block_sum(focal_sum), block_sum(l1_sum)};
  double totals[2];
  if (grid_sum(of_block, scratch, totals) && threadIdx.x == 0) {
    const float focal_mean = static_cast<float>(totals[0] / static_cast<double>(args.count));
    const float l1_mean = static_cast<float>(totals[1] / static_cast<double>(args.count));
    args.loss[0] = args.focal_weight * focal_mean + args.l1_weight * l1_mean;
    args.loss[1] = focal_mean;
    args.loss[2] = l1_mean;
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    backward_kernel(const __grid_constant__ SegmentationLossArgs args, const __grid_constant__ Focal focal,
                    bool aligned) {
  constexpr int kWidth = kVector<T>;
  const std::int64_t v = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (v * kWidth >= args.count) return;
  const Span<kWidth> span = span_of<kWidth>(v, args.count, aligned);
  const Floats<kWidth> z = span.logits(static_cast<const T*>(args.logits));
  bool inside[kWidth];
  span.mask(args.mask, inside);
  const float scale = *args.grad_loss / static_cast<float>(args.count);
  const float focal_scale = scale * args.focal_weight, l1_scale = scale * args.l1_weight;
  Floats<kWidth> gradient;
#pragma unroll
  for (int k = 0; k < kWidth; ++k) {
    const Pixel p = pixel_of(inside[k] ? z[k] : -z[k], focal);
    const float by_focal = p.factor * (focal.gamma * p.probability * p.log_loss + p.complement);
    const float downwards = focal_scale * by_focal + l1_scale * (p.complement * p.probability);
    gradient[k] = inside[k] ? -downwards : downwards;
  }
  T* out = static_cast<T*>(args.grad_logits) + span.i;
  if (span.whole) {
    store<kWidth>(out, gradient);
  } else {
    store_upto<kWidth>(out, gradient, span.size);
  }
}

/// Whether vectors of kVector<T> logits, mask bytes and gradients are aligned.
template <class T>
bool is_aligned(const SegmentationLossArgs& args, const void* gradients) {
  return reinterpret_cast<std::uintptr_t>(args.mask) % kVector<T> == 0 &&
         aligned_to_16(static_cast<const char*>(args.logits), static_cast<const char*>(gradients));
}

}  // namespace

void segmentation_loss_forward(const SegmentationLossArgs& args, Stream stream) {
  with_float_type(args.type, [&](auto zero) {
    using T = decltype(zero);
    const std::int64_t vectors = ceil_div(args.count, kVector<T>);
    const unsigned blocks = smaller(persistent_blocks(vectors, kThreads, kBlocksPerMultiprocessor),
                                    ReductionScratch::kMostBlocks);
    launch("segmentation_loss_forward", forward_kernel<T>, blocks, kThreads, 0, stream, args,
           focal_of(args.gamma), is_aligned<T>(args, nullptr), reduction_scratch(stream));
  });
}

void segmentation_loss_backward(const SegmentationLossArgs& args, Stream stream) {
  with_float_type(args.type, [&](auto zero) {
    using T = decltype(zero);
    const std::int64_t vectors = ceil_div(args.count, kVector<T>);
    launch("segmentation_loss_backward", backward_kernel<T>, blocks_for(vectors, kThreads), kThreads, 0,
           stream, args, focal_of(args.gamma), is_aligned<T>(args, args.grad_logits));
  });
}

}  // namespace ddpmts::kernels::cuda
