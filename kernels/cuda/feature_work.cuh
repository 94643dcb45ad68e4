// How the positions of all feature levels are shared out among warps: a position's channels lie on a group of neighbouring
// lanes, as many as its vectors need; a warp takes 32/lanes positions at a time; the levels follow one another, so that
// one launch does them all.
#pragma once

#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/vector.cuh"
#include "kernels/feature_levels.h"

namespace ddpmts::kernels::cuda {

struct LevelWork {
  std::int64_t first_task = 0;  ///< warp tasks of the levels before
  std::int64_t positions = 0;   ///< N·h·w, below 2^31
  int lanes = 1;                ///< 1, 2, 4 … 32
  bool in_vectors = false;      ///< channels come in whole, aligned 16-byte vectors
};

struct FeatureWork {
  std::int64_t tasks = 0;
  LevelWork level[kMaxFeatureLevels];
};

/// The tasks of all levels; in_vectors[k] says where the kernel's own arrays (besides teacher and student) allow it.
template <class T>
FeatureWork feature_work(const FeatureLevels& features, const bool (&in_vectors)[kMaxFeatureLevels]) {
  FeatureWork work;
  for (int k = 0; k < features.count; ++k) {
    const FeatureLevel& level = features.level[k];
    LevelWork& own = work.level[k];
    own.first_task = work.tasks;
    own.positions = features.n * level.h * level.w;
    if (own.positions > 0x7fffffff)
      throw std::invalid_argument("a feature level has more than 2^31 − 1 positions");
    own.in_vectors =
        in_vectors[k] && level.channels % kVector<T> == 0 &&
        aligned_to_16(static_cast<const char*>(level.teacher), static_cast<const char*>(level.student));
    const std::int64_t wanted = own.in_vectors ? level.channels / kVector<T> : level.channels;
    while (own.lanes < kWarp && own.lanes < wanted) own.lanes *= 2;
    work.tasks += ceil_div(own.positions, kWarp / own.lanes);
  }
  return work;
}

/// What one lane does in one task.
struct LaneWork {
  int level;
  std::int64_t position;
  bool inside;  ///< the position exists; lanes without one still take part in group_sum
  int lane;     ///< within the position's group
  int lanes;
};

__device__ __forceinline__ LaneWork lane_work(const FeatureWork& work, int levels, std::int64_t task) {
  int k = 0;
#pragma unroll
  for (int next = 1; next < kMaxFeatureLevels; ++next) {
    if (next < levels && task >= work.level[next].first_task) k = next;
  }
  const int lanes = work.level[k].lanes;
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  const std::int64_t position = (task - work.level[k].first_task) * (kWarp / lanes) + lane / lanes;
  return LaneWork{k, position, position < work.level[k].positions, lane % lanes, lanes};
}

/// ‖T‖², ‖S‖² and T·S of one position, in every lane of its group. kWidth channels an access; `channels` 0 where the
/// position does not exist. All lanes of the warp must call it.
struct Dots {
  float tt, ss, ts;
};

template <int kWidth, class T>
__device__ __forceinline__ Dots dots_of(const T* teacher, const T* student, int channels, int lane,
                                        int lanes) {
  Dots dots{0.0f, 0.0f, 0.0f};
  for (int c = lane * kWidth; c < channels; c += lanes * kWidth) {
    const Floats<kWidth> t = load<kWidth>(teacher + c), s = load<kWidth>(student + c);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      dots.tt += t[i] * t[i];
      dots.ss += s[i] * s[i];
      dots.ts += t[i] * s[i];
    }
  }
  return Dots{group_sum(dots.tt, lanes), group_sum(dots.ss, lanes), group_sum(dots.ts, lanes)};
}

}  // namespace ddpmts::kernels::cuda
