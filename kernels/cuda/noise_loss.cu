// Mean squared error of the predicted noise, and its gradient (contract: kernels/noise_loss.h). One launch each.
// Layout: several blocks a picture, each with every splits-th run of it; the block that finishes last adds up in f64, in
//   the blocks' order.
// Bytes moved per element: what the arrays hold, once.
// Variants: f32, bf16; 16-byte accesses where a picture's size and the pointers allow.
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/vector.cuh"
#include "kernels/noise_loss.h"

namespace ddpmts::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kBlocksPerMultiprocessor = 8;
constexpr std::int64_t kMostBlocks =
    std::int64_t{ReductionScratch::kMostBlocks} * ReductionScratch::kMostSums;  // one number each

template <class T>
__global__ void __launch_bounds__(kThreads)
    forward_kernel(const __grid_constant__ NoiseLossArgs args, unsigned splits, bool aligned,
                   ReductionScratch scratch) {
  constexpr int kWidth = kVector<T>;
  const unsigned picture = blockIdx.x / splits, split = blockIdx.x - picture * splits;
  const T* prediction = static_cast<const T*>(args.prediction) + picture * args.count;
  const float* noise = args.noise + picture * args.count;
  double sum = 0.0;
  for (std::int64_t i = (std::int64_t{split} * kThreads + threadIdx.x) * kWidth; i < args.count;
       i += std::int64_t{splits} * kThreads * kWidth) {
    const Stretch<kWidth> here = stretch_of<kWidth>(i, args.count, aligned);
    const Floats<kWidth> a = here.read(prediction), b = here.read(noise);
    float of_vector = 0.0f;
#pragma unroll
    for (int k = 0; k < kWidth; ++k) of_vector += (a[k] - b[k]) * (a[k] - b[k]);
    sum += static_cast<double>(of_vector);
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) scratch.partials[blockIdx.x] = sum;
  if (!is_last_block(scratch)) return;
  double means = 0.0;
  for (std::int64_t i = threadIdx.x; i < args.n; i += kThreads) {
    double of_picture = 0.0;
    for (unsigned s = 0; s < splits; ++s) of_picture += __ldcg(scratch.partials + i * splits + s);
    const double mean = of_picture / static_cast<double>(args.count);
    args.per_picture[i] = static_cast<float>(mean);
    means += mean;
  }
  means = block_sum(means);
  if (threadIdx.x == 0) *args.loss = static_cast<float>(means / static_cast<double>(args.n));
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    backward_kernel(const __grid_constant__ NoiseLossArgs args, std::int64_t total, bool aligned) {
  constexpr int kWidth = kVector<T>;
  const Stretch<kWidth> here =
      stretch_of<kWidth>((std::int64_t{blockIdx.x} * kThreads + threadIdx.x) * kWidth, total, aligned);
  if (here.size <= 0) return;
  const float scale =
      static_cast<float>(2.0 * static_cast<double>(*args.grad_loss) / static_cast<double>(total));
  Floats<kWidth> gradient = here.read(static_cast<const T*>(args.prediction));
  const Floats<kWidth> noise = here.read(args.noise);
#pragma unroll
  for (int k = 0; k < kWidth; ++k) gradient[k] = (gradient[k] - noise[k]) * scale;
  here.write(static_cast<T*>(args.prediction_grad), gradient);
}

void check(const NoiseLossArgs& args) {
  if (args.type != DType::f32 && args.type != DType::bf16) {
    throw std::invalid_argument("noise_loss: the prediction must be f32 or bf16");
  }
  if (args.n < 1 || args.count < 1) {
    throw std::invalid_argument("noise_loss: there must be at least one picture of at least one value");
  }
}

}  // namespace

void noise_loss_forward(const NoiseLossArgs& args, Stream stream) {
  check(args);
  if (args.n > kMostBlocks) {
    throw std::invalid_argument("noise_loss: on a GPU a batch has at most " + std::to_string(kMostBlocks) +
                                " pictures");
  }
  with_float_type(args.type, [&](auto zero) {
    using T = decltype(zero);
    const std::int64_t most =
        smaller(kMostBlocks / args.n, ceil_div(multiprocessor_count() * kBlocksPerMultiprocessor, args.n));
    const std::int64_t splits = smaller(ceil_div(args.count, kThreads * kVector<T>), most);
    const bool aligned =
        args.count % kVector<T> == 0 && aligned_to_16(static_cast<const T*>(args.prediction), args.noise);
    launch("noise_loss_forward", forward_kernel<T>, blocks_for(args.n * splits, 1), kThreads, 0, stream, args,
           static_cast<unsigned>(splits), aligned, reduction_scratch(stream));
  });
}

void noise_loss_backward(const NoiseLossArgs& args, Stream stream) {
  check(args);
  with_float_type(args.type, [&](auto zero) {
    using T = decltype(zero);
    const std::int64_t total = args.n * args.count;
    launch("noise_loss_backward", backward_kernel<T>, blocks_for(total, kThreads * kVector<T>), kThreads, 0,
           stream, args, total,
           aligned_to_16(static_cast<const T*>(args.prediction), args.noise,
                         static_cast<T*>(args.prediction_grad)));
  });
}

}  // namespace ddpmts::kernels::cuda
