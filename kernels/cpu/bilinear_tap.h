// One axis of bilinear interpolation with half-pixel centres (PyTorch's align_corners=False), edges clamped.
// Kernel sources only: everything is inlined, in an unnamed namespace of the instruction set's own.
#pragma once

#include "kernels/cpu/simd.h"

namespace ddpmts::kernels::cpu::DDPMTS_ISA {
namespace {

/// What an output coordinate reads: source[first] + (source[second] − source[first])·fraction.
struct BilinearTap {
  std::int64_t first, second;
  float fraction;

  /// The weight that the output coordinate gives to source coordinate x.
  DDPMTS_INLINE float weight_of(std::int64_t x) const {
    return (x == first ? 1.0f - fraction : 0.0f) + (x == second ? fraction : 0.0f);
  }
};

/// Output coordinates [begin, end).
struct BilinearReaders {
  std::int64_t begin, end;
};

struct BilinearAxis {
  std::int64_t source_size, out_size;
  float source_per_out, out_per_source;

  DDPMTS_INLINE BilinearTap tap(std::int64_t out) const {
    const float centre = (static_cast<float>(out) + 0.5f) * source_per_out - 0.5f;
    const float position = centre < 0.0f ? 0.0f : centre;
    const std::int64_t first = smaller(static_cast<std::int64_t>(position), source_size - 1);
    return BilinearTap{first, smaller(first + 1, source_size - 1), position - static_cast<float>(first)};
  }

  /// Holds every output coordinate that reads source coordinate x; some in it may give x weight 0.
  DDPMTS_INLINE BilinearReaders readers(std::int64_t x) const {
    const float position = static_cast<float>(x);
    return BilinearReaders{
        larger(0, static_cast<std::int64_t>((position - 0.5f) * out_per_source - 1.0f)),
        smaller(out_size, static_cast<std::int64_t>((position + 1.5f) * out_per_source + 1.5f))};
  }
};

DDPMTS_INLINE BilinearAxis bilinear_axis(std::int64_t source_size, std::int64_t out_size) {
  const float source = static_cast<float>(source_size), out = static_cast<float>(out_size);
  return BilinearAxis{source_size, out_size, source / out, out / source};
}

}  // namespace
}  // namespace ddpmts::kernels::cpu::DDPMTS_ISA
