// Mean squared error of the predicted noise, and its gradient (contract: kernels/noise_loss.h).
// Layout: each picture's values are cut into blocks of 16384, which the threads share; sums are taken in f32 lanes within a
//   block, in f64 over the blocks in order, so that they do not depend on the number of threads.
// Bytes moved per element: what the arrays hold, once.
// Variants: prediction in f32 or bf16.
#include "kernels/noise_loss.h"

#include <stdexcept>

#include "kernels/cpu/simd.h"

namespace ddpmts::kernels::cpu::DDPMTS_ISA {
namespace {

constexpr std::int64_t kBlock = 1 << 14;  // elements of one task; arrays up to this size run on one thread
constexpr std::int64_t kSums = 4;         // independent sums: one alone would wait for its own additions

template <class T>
double sum_of_squares(const T* prediction, const float* noise, std::int64_t count) {
  Floats sums[kSums] = {};
  std::int64_t i = 0;
  for (; i + kSums * kLanes <= count; i += kSums * kLanes) {
    for (std::int64_t k = 0; k < kSums; ++k) {
      const Floats d = load(prediction + i + k * kLanes) - load(noise + i + k * kLanes);
      sums[k] += d * d;
    }
  }
  for_each_vector(count - i, [&](std::int64_t at, std::int64_t n) DDPMTS_INLINE_LAMBDA {
    const Floats d = load_upto(prediction + i + at, n) - load_upto(noise + i + at, n);
    sums[0] += d * d;
  });
  return static_cast<double>(sum_lanes((sums[0] + sums[1]) + (sums[2] + sums[3])));
}

template <class T>
void forward(const NoiseLossArgs& args) {
  const T* prediction = static_cast<const T*>(args.prediction);
  const std::int64_t blocks = ceil_div(args.count, kBlock);
  const Scratch<double> partial(args.n * blocks);
#pragma omp parallel for schedule(static) if (args.n * blocks > 1)
  for (std::int64_t k = 0; k < args.n * blocks; ++k) {
    const std::int64_t first = k % blocks * kBlock;
    const std::int64_t at = k / blocks * args.count + first;
    partial[k] = sum_of_squares(prediction + at, args.noise + at, smaller(kBlock, args.count - first));
  }
  double loss = 0.0;
  for (std::int64_t i = 0; i < args.n; ++i) {
    double sum = 0.0;
    for (std::int64_t b = 0; b < blocks; ++b) sum += partial[i * blocks + b];
    const double mean = sum / static_cast<double>(args.count);
    args.per_picture[i] = static_cast<float>(mean);
    loss += mean;
  }
  *args.loss = static_cast<float>(loss / static_cast<double>(args.n));
}

template <class T>
void backward(const NoiseLossArgs& args) {
  const T* prediction = static_cast<const T*>(args.prediction);
  T* gradient = static_cast<T*>(args.prediction_grad);
  const std::int64_t total = args.n * args.count;
  const std::int64_t blocks = ceil_div(total, kBlock);
  const float scale =
      static_cast<float>(2.0 * static_cast<double>(*args.grad_loss) / static_cast<double>(total));
#pragma omp parallel for schedule(static) if (blocks > 1)
  for (std::int64_t b = 0; b < blocks; ++b) {
    const std::int64_t first = b * kBlock;
    for_each_vector(smaller(kBlock, total - first), [&](std::int64_t i, std::int64_t n) DDPMTS_INLINE_LAMBDA {
      const Floats d =
          as_written(load_upto(prediction + first + i, n) - load_upto(args.noise + first + i, n));
      store_upto(gradient + first + i, d * scale, n);
    });
  }
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

void noise_loss_forward(const NoiseLossArgs& args) {
  check(args);
  with_float_type(args.type, [&](auto zero) DDPMTS_INLINE_LAMBDA { forward<decltype(zero)>(args); });
}

void noise_loss_backward(const NoiseLossArgs& args) {
  check(args);
  with_float_type(args.type, [&](auto zero) DDPMTS_INLINE_LAMBDA { backward<decltype(zero)>(args); });
}

}  // namespace ddpmts::kernels::cpu::DDPMTS_ISA
