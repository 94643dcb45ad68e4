// silu(w) = w·σ(w) and its derivative, in registers.
#pragma once

#include "kernels/cuda/launch.cuh"

namespace ddpmts::kernels::cuda {

__device__ __forceinline__ float silu(float w) { return w / (1.0f + expf(-w)); }

/// σ(w)·(1 + w·(1 − σ(w)))
__device__ __forceinline__ float silu_slope(float w) {
  const float s = 1.0f / (1.0f + expf(-w));
  return s * (1.0f + w * (1.0f - s));
}

}  // namespace ddpmts::kernels::cuda
