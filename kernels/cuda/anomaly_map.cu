// Distance, segmentation and memory map and their combination at picture size (contract: kernels/anomaly_map.h).
// Layout: maps [N, h, w] f32, logits f32 or bf16; a thread has four neighbouring output columns, a warp 128 of one row.
// Bytes moved: the outputs once, from registers; the small inputs hit the first cache.
// Variants: f32 or bf16 logits; whole, aligned 16-byte stores or single elements.
#include <math.h>

#include "kernels/anomaly_map.h"
#include "kernels/cuda/bilinear.cuh"
#include "kernels/cuda/vector.cuh"

namespace ddpmts::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kRun = 4;  // output columns of one thread
using Run = Floats<kRun>;

/// One small map and how it is stretched to the output.
struct Stretched {
  const void* values = nullptr;  // null: not wanted
  BilinearAxis rows{}, columns{};
};

struct Maps {
  Stretched level[kMaxFeatureLevels], logits, memory;
  int level_count = 0;
  bool in_vectors = false;
};

/// Where a thread's run lies.
struct Place {
  int picture, y, x, count;
};

__device__ __forceinline__ float logistic(float z) { return 1.0f / (1.0f + expf(-z)); }

/// The map at the run's pixels; kLogistic: of σ(value).
template <bool kLogistic, class T>
__device__ __forceinline__ Run stretched(const Stretched& map, const Place& at) {
  const BilinearTap vertical = map.rows.tap(at.y);
  const int w = map.columns.source_size;
  const T* picture = static_cast<const T*>(map.values) + std::int64_t{at.picture} * map.rows.source_size * w;
  const T* above = picture + std::int64_t{vertical.first} * w;
  const T* below = picture + std::int64_t{vertical.second} * w;
  const auto column = [&](int x) {
    float top = to_float(above[x]), bottom = to_float(below[x]);
    if constexpr (kLogistic) {
      top = logistic(top);
      bottom = logistic(bottom);
    }
    return top + (bottom - top) * vertical.fraction;
  };
  Run run;
  float left = 0.0f, right = 0.0f;
  int held = -1;  // the source column in `left`
#pragma unroll
  for (int i = 0; i < kRun; ++i) {
    // Beyond the row's end the last column once more: it is not stored.
    const BilinearTap tap = map.columns.tap(smaller(at.x + i, map.columns.out_size - 1));
    if (tap.first != held) {
      left = column(tap.first);
      right = column(tap.second);
      held = tap.first;
    }
    run[i] = left + (right - left) * tap.fraction;
  }
  return run;
}

__device__ __forceinline__ void store_run(float* p, const Run& run, int count, bool in_vectors) {
  if (p == nullptr) return;
  if (in_vectors) {
    store<kRun>(p, run);
  } else {
    store_upto<kRun>(p, run, count);
  }
}

/// combined += value · scale + offset, unless the term is left out.
__device__ __forceinline__ void add_term(Run& combined, const Run& value, const MapTerm& term) {
  if (term.scale == 0.0f) return;
#pragma unroll
  for (int i = 0; i < kRun; ++i) combined[i] += value[i] * term.scale + term.offset;
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    anomaly_map_kernel(const __grid_constant__ AnomalyMapArgs args, const __grid_constant__ Maps maps) {
  const int h = static_cast<int>(args.h), w = static_cast<int>(args.w);
  const int runs = static_cast<int>(ceil_div(args.w, kRun));
  const std::int64_t task = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (task >= args.n * args.h * runs) return;
  const std::int64_t row = task / runs;
  const int picture = static_cast<int>(row / h), y = static_cast<int>(row - std::int64_t{picture} * h);
  const int x = static_cast<int>(task - row * runs) * kRun;
  const Place at{picture, y, x, smaller(kRun, w - x)};
  const std::int64_t out = row * w + x;
  const bool vectors = maps.in_vectors;
  Run combined = splat<kRun>(0.0f);
  if (maps.level_count > 0) {
    Run distance = stretched<false, float>(maps.level[0], at);
#pragma unroll
    for (int k = 1; k < kMaxFeatureLevels; ++k) {
      if (k >= maps.level_count) continue;
      const Run other = stretched<false, float>(maps.level[k], at);
#pragma unroll
      for (int i = 0; i < kRun; ++i) distance[i] *= other[i];
    }
    store_run(args.distance_map == nullptr ? nullptr : args.distance_map + out, distance, at.count, vectors);
    add_term(combined, distance, args.distance_term);
  }
  if (maps.logits.values != nullptr) {
    const Run probability = stretched<true, T>(maps.logits, at);
    store_run(args.segmentation_map == nullptr ? nullptr : args.segmentation_map + out, probability, at.count,
              vectors);
    add_term(combined, probability, args.segmentation_term);
  }
  if (maps.memory.values != nullptr) {
    const Run memory = stretched<false, float>(maps.memory, at);
    store_run(args.memory_map == nullptr ? nullptr : args.memory_map + out, memory, at.count, vectors);
    add_term(combined, memory, args.memory_term);
  }
  store_run(args.combined_map == nullptr ? nullptr : args.combined_map + out, combined, at.count, vectors);
}

}  // namespace

void anomaly_map(const AnomalyMapArgs& args, Stream stream) {
  const bool combine = args.combined_map != nullptr;
  const auto stretch = [&](const void* values, std::int64_t h, std::int64_t w) {
    return Stretched{values, bilinear_axis(h, args.h), bilinear_axis(w, args.w)};
  };
  Maps maps;
  if (args.distance_map != nullptr || (combine && args.distance_term.scale != 0.0f)) {
    maps.level_count = args.level_count;
    for (int k = 0; k < args.level_count; ++k) {
      maps.level[k] = stretch(args.level[k].distance, args.level[k].h, args.level[k].w);
    }
  }
  if (args.segmentation_map != nullptr || (combine && args.segmentation_term.scale != 0.0f)) {
    maps.logits = stretch(args.logits, args.logits_h, args.logits_w);
  }
  if (args.memory_map != nullptr || (combine && args.memory_term.scale != 0.0f)) {
    maps.memory = stretch(args.memory.distance, args.memory.h, args.memory.w);
  }
  maps.in_vectors = args.w % kRun == 0 && aligned_to_16(args.distance_map, args.segmentation_map,
                                                        args.memory_map, args.combined_map);
  const unsigned blocks = blocks_for(args.n * args.h * ceil_div(args.w, kRun), kThreads);
  with_float_type(args.logits_type, [&](auto zero) {
    launch("anomaly_map", anomaly_map_kernel<decltype(zero)>, blocks, kThreads, 0, stream, args, maps);
  });
}

}  // namespace ddpmts::kernels::cuda
