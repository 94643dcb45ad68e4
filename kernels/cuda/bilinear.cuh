// One axis of bilinear interpolation with half-pixel centres (PyTorch's align_corners=False), edges clamped: the same
// arithmetic as kernels/cpu/bilinear_tap.h.
#pragma once

#include "kernels/cuda/launch.cuh"

namespace ddpmts::kernels::cuda {

/// What an output coordinate reads: source[first] + (source[second] − source[first])·fraction.
struct BilinearTap {
  int first, second;
  float fraction;

  /// The weight that the output coordinate gives to source coordinate x.
  __device__ __forceinline__ float weight_of(int x) const {
    return (x == first ? 1.0f - fraction : 0.0f) + (x == second ? fraction : 0.0f);
  }
};

struct BilinearAxis {
  int source_size, out_size;
  float source_per_out, out_per_source;

  __device__ __forceinline__ BilinearTap tap(int out) const {
    const float centre = (static_cast<float>(out) + 0.5f) * source_per_out - 0.5f;
    const float position = centre < 0.0f ? 0.0f : centre;
    const int first = smaller(static_cast<int>(position), source_size - 1);
    return BilinearTap{first, smaller(first + 1, source_size - 1), position - static_cast<float>(first)};
  }

  /// [readers_begin(x), readers_end(x)) holds every output coordinate that reads source coordinate x; some in it may give
  /// x the weight 0.
  __device__ __forceinline__ int readers_begin(int x) const {
    return larger(0, static_cast<int>((static_cast<float>(x) - 0.5f) * out_per_source - 1.0f));
  }
  __device__ __forceinline__ int readers_end(int x) const {
    return smaller(out_size, static_cast<int>((static_cast<float>(x) + 1.5f) * out_per_source + 1.5f));
  }
};

inline BilinearAxis bilinear_axis(std::int64_t source_size, std::int64_t out_size) {
  const float source = static_cast<float>(source_size), out = static_cast<float>(out_size);
  return BilinearAxis{static_cast<int>(source_size), static_cast<int>(out_size), source / out, out / source};
}

}  // namespace ddpmts::kernels::cuda
