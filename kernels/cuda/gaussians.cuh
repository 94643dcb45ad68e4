// Standard normal numbers in registers: those of kernels/diffusion_math.h, bit for bit where compiled without fused
// multiply-adds.
#pragma once

#include "kernels/cuda/vector.cuh"
#include "kernels/diffusion_math.h"

namespace ddpmts::kernels::cuda {

/// The numbers of elements [first, first + kWidth); `first` and kWidth are multiples of 4.
template <int kWidth>
__device__ __forceinline__ Floats<kWidth> gaussians_of(const Philox& random, std::int64_t first) {
  static_assert(kWidth % 4 == 0);
  Floats<kWidth> numbers;
#pragma unroll
  for (int b = 0; b < kWidth / 4; ++b) {
    const Float4 four = gaussians(random.bits(static_cast<std::uint32_t>(first / 4 + b)));
    numbers[4 * b] = four.x;
    numbers[4 * b + 1] = four.y;
    numbers[4 * b + 2] = four.z;
    numbers[4 * b + 3] = four.w;
  }
  return numbers;
}

}  // namespace ddpmts::kernels::cuda
