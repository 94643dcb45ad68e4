// Cosine distance of teacher and student features over all levels, its loss, and the student's gradient
//   (contract: kernels/cosine_loss.h). One launch each, whatever the number of levels.
// Layout: features NHWC; a position's channels lie on neighbouring lanes (feature_work.cuh).
// Bytes moved: forward reads T and S once; backward reads them once (the second look hits the cache) and writes dS once.
// Variants: f32, bf16; 16-byte accesses where channels and pointers allow, else one element at a time.
#include "kernels/cosine_loss.h"
#include "kernels/cuda/feature_work.cuh"

namespace ddpmts::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
constexpr int kBlocksPerMultiprocessor = 8;

template <int kWidth, class T>
__device__ __forceinline__ float distance_of(const FeatureLevel& level, const LaneWork& at) {
  const std::int64_t i = at.position * level.channels;
  const int channels = at.inside ? static_cast<int>(level.channels) : 0;
  const Dots d = dots_of<kWidth>(static_cast<const T*>(level.teacher) + i,
                                 static_cast<const T*>(level.student) + i, channels, at.lane, at.lanes);
  return 1.0f - d.ts / ((sqrtf(d.tt) + kNormEpsilon) * (sqrtf(d.ss) + kNormEpsilon));
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    forward_kernel(const __grid_constant__ CosineLossArgs args, const __grid_constant__ FeatureWork work,
                   ReductionScratch scratch) {
  double sum = 0.0;
  const std::int64_t first = std::int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp;
  for (std::int64_t task = first; task < work.tasks; task += std::int64_t{gridDim.x} * kWarps) {
    const LaneWork at = lane_work(work, args.features.count, task);
    const FeatureLevel& level = args.features.level[at.level];
    const float distance = work.level[at.level].in_vectors ? distance_of<kVector<T>, T>(level, at)
                                                           : distance_of<1, T>(level, at);
    if (at.inside && at.lane == 0) {
      if (level.distance != nullptr) level.distance[at.position] = distance;
      sum += static_cast<double>(distance) / static_cast<double>(level.h * level.w);
    }
  }
  if (args.loss == nullptr) return;
  const double of_block[1] = {block_sum(sum)};
  double total[1];
  if (grid_sum(of_block, scratch, total) && threadIdx.x == 0) {
    *args.loss = static_cast<float>(static_cast<double>(args.scale) * total[0]);
  }
}

/// dS = −weight · (T/(nt·ns) − cos · S/(ns·‖S‖)), with nt = ‖T‖ + ε and ns = ‖S‖ + ε. A zero student vector has no
/// direction: its gradient is 0.
template <int kWidth, class T>
__device__ __forceinline__ void write_gradient(const FeatureLevel& level, const LaneWork& at, float weight) {
  const std::int64_t first = at.position * level.channels;
  const int channels = at.inside ? static_cast<int>(level.channels) : 0;
  const T* teacher = static_cast<const T*>(level.teacher) + first;
  const T* student = static_cast<const T*>(level.student) + first;
  T* gradient = static_cast<T*>(level.student_grad) + first;
  const Dots d = dots_of<kWidth>(teacher, student, channels, at.lane, at.lanes);
  const float norm = sqrtf(d.ss);
  const float inverse = 1.0f / ((sqrtf(d.tt) + kNormEpsilon) * (norm + kNormEpsilon));
  const float cosine = d.ts * inverse;
  const bool zero = norm == 0.0f;
  const float along_teacher = zero ? 0.0f : -weight * inverse;
  const float along_student = zero ? 0.0f : weight * (cosine / ((norm + kNormEpsilon) * norm));
  for (int c = at.lane * kWidth; c < channels; c += at.lanes * kWidth) {
    const Floats<kWidth> t = load<kWidth>(teacher + c), s = load<kWidth>(student + c);
    Floats<kWidth> g;
#pragma unroll
    for (int i = 0; i < kWidth; ++i) g[i] = along_teacher * t[i] + along_student * s[i];
    store<kWidth>(gradient + c, g);
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads, 4)
    backward_kernel(const __grid_constant__ CosineLossArgs args, const __grid_constant__ FeatureWork work) {
  const std::int64_t task = std::int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp;
  if (task >= work.tasks) return;
  const LaneWork at = lane_work(work, args.features.count, task);
  const FeatureLevel& level = args.features.level[at.level];
  const float weight = *args.grad_loss * args.scale / static_cast<float>(level.h * level.w);
  if (work.level[at.level].in_vectors) {
    write_gradient<kVector<T>, T>(level, at, weight);
  } else {
    write_gradient<1, T>(level, at, weight);
  }
}

}  // namespace

void cosine_loss_forward(const CosineLossArgs& args, Stream stream) {
  with_float_type(args.features.type, [&](auto zero) {
    using T = decltype(zero);
    const FeatureWork work = feature_work<T>(args.features, {true, true, true, true});
    unsigned blocks = persistent_blocks(work.tasks, kWarps, kBlocksPerMultiprocessor);
    ReductionScratch scratch{};
    if (args.loss != nullptr) {
      scratch = reduction_scratch(stream);
      blocks = smaller(larger(blocks, 1u), ReductionScratch::kMostBlocks);  // without positions the loss is 0
    }
    launch("cosine_loss_forward", forward_kernel<T>, blocks, kThreads, 0, stream, args, work, scratch);
  });
}

void cosine_loss_backward(const CosineLossArgs& args, Stream stream) {
  with_float_type(args.features.type, [&](auto zero) {
    using T = decltype(zero);
    bool in_vectors[kMaxFeatureLevels] = {};
    for (int k = 0; k < args.features.count; ++k) {
      in_vectors[k] = aligned_to_16(static_cast<const char*>(args.features.level[k].student_grad));
    }
    const FeatureWork work = feature_work<T>(args.features, in_vectors);
    launch("cosine_loss_backward", backward_kernel<T>, blocks_for(work.tasks, kWarps), kThreads, 0, stream,
           args, work);
  });
}

}  // namespace ddpmts::kernels::cuda
