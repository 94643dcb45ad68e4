// Cosine distance of teacher and student features over all levels, its loss, and the student's gradient.
// Layout: features NHWC in f32 or bf16; one position is one contiguous channel vector.
// Bytes moved: forward reads T and S once; backward reads T and S once (the second look at a vector hits the cache)
// and writes dS once. Variants: f32, bf16; loss and distances each optional.
#include "kernels/cosine_loss.h"

#include <cmath>

#include "kernels/cpu/channel_pairs.h"

namespace ddpmts::kernels::cpu::DDPMTS_ISA {
namespace {

/// Every level is cut into this many blocks whatever the thread count: the loss is summed block by block, in order.
constexpr int kBlocks = 128;

struct Dots {
  float tt, ss, ts;
};

template <class T>
DDPMTS_INLINE Dots dots_of(const T* teacher, const T* student, std::int64_t channels) {
  Pair tt = zero_pair(), ss = zero_pair(), ts = zero_pair();
  std::int64_t c = 0;
  for (; c + kPair <= channels; c += kPair) {
    const Pair t = load_pair(teacher + c);
    const Pair s = load_pair(student + c);
    tt = tt + t * t;
    ss = ss + s * s;
    ts = ts + t * s;
  }
  Dots dots{sum_of(tt), sum_of(ss), sum_of(ts)};
  for (; c < channels; ++c) {
    const float t = to_float(teacher[c]);
    const float s = to_float(student[c]);
    dots.tt += t * t;
    dots.ss += s * s;
    dots.ts += t * s;
  }
  return dots;
}

/// Σ (1 − cos) over the positions [begin, end) of one level.
template <class T>
DDPMTS_INLINE double forward_block(const FeatureLevel& level, std::int64_t begin, std::int64_t end) {
  const T* teacher = static_cast<const T*>(level.teacher);
  const T* student = static_cast<const T*>(level.student);
  double sum = 0.0;
  for (std::int64_t i = begin; i < end; ++i) {
    const Dots d = dots_of(teacher + i * level.channels, student + i * level.channels, level.channels);
    const float cosine = d.ts / ((std::sqrt(d.tt) + kNormEpsilon) * (std::sqrt(d.ss) + kNormEpsilon));
    const float distance = 1.0f - cosine;
    if (level.distance != nullptr) level.distance[i] = distance;
    sum += static_cast<double>(distance);
  }
  return sum;
}

/// dS = −weight · d cos/dS = −weight · (T/(nt·ns) − cos · S/(ns·‖S‖)), with nt = ‖T‖ + ε and ns = ‖S‖ + ε.
/// A zero student vector has no direction: its gradient is set to 0.
template <class T>
DDPMTS_INLINE void backward_block(const FeatureLevel& level, float weight, std::int64_t begin,
                                  std::int64_t end) {
  const T* teachers = static_cast<const T*>(level.teacher);
  const T* students = static_cast<const T*>(level.student);
  T* gradients = static_cast<T*>(level.student_grad);
  for (std::int64_t i = begin; i < end; ++i) {
    const T* teacher = teachers + i * level.channels;
    const T* student = students + i * level.channels;
    T* gradient = gradients + i * level.channels;
    const Dots d = dots_of(teacher, student, level.channels);
    const float student_norm = std::sqrt(d.ss);
    const float inverse = 1.0f / ((std::sqrt(d.tt) + kNormEpsilon) * (student_norm + kNormEpsilon));
    const float cosine = d.ts * inverse;
    const bool zero = student_norm == 0.0f;
    const float along_teacher = zero ? 0.0f : -weight * inverse;
    const float along_student =
        zero ? 0.0f : weight * (cosine / ((student_norm + kNormEpsilon) * student_norm));
    std::int64_t c = 0;
    for (; c + kPair <= level.channels; c += kPair) {
      store_pair(gradient + c,
                 load_pair(teacher + c) * along_teacher + load_pair(student + c) * along_student);
    }
    for (; c < level.channels; ++c) {
      gradient[c] =
          from_float<T>(along_teacher * to_float(teacher[c]) + along_student * to_float(student[c]));
    }
  }
}

DDPMTS_INLINE std::int64_t block_begin(std::int64_t positions, int block) {
  return positions * block / kBlocks;
}

template <class T>
void forward(const CosineLossArgs& args) {
  const FeatureLevels& f = args.features;
  double sums[kMaxFeatureLevels][kBlocks];
#pragma omp parallel for collapse(2) schedule(dynamic)
  for (int k = 0; k < f.count; ++k) {
    for (int block = 0; block < kBlocks; ++block) {
      const std::int64_t positions = f.n * f.level[k].h * f.level[k].w;
      sums[k][block] =
          forward_block<T>(f.level[k], block_begin(positions, block), block_begin(positions, block + 1));
    }
  }
  if (args.loss == nullptr) return;
  double loss = 0.0;
  for (int k = 0; k < f.count; ++k) {
    double level_sum = 0.0;
    for (int block = 0; block < kBlocks; ++block) level_sum += sums[k][block];
    loss += level_sum / static_cast<double>(f.level[k].h * f.level[k].w);
  }
  *args.loss = static_cast<float>(static_cast<double>(args.scale) * loss);
}

template <class T>
void backward(const CosineLossArgs& args) {
  const FeatureLevels& f = args.features;
  const float grad = *args.grad_loss * args.scale;
#pragma omp parallel for collapse(2) schedule(dynamic)
  for (int k = 0; k < f.count; ++k) {
    for (int block = 0; block < kBlocks; ++block) {
      const FeatureLevel& level = f.level[k];
      const std::int64_t positions = f.n * level.h * level.w;
      backward_block<T>(level, grad / static_cast<float>(level.h * level.w), block_begin(positions, block),
                        block_begin(positions, block + 1));
    }
  }
}

}  // namespace

void cosine_loss_forward(const CosineLossArgs& args) {
  with_float_type(args.features.type, [&](auto type) { forward<decltype(type)>(args); });
}

void cosine_loss_backward(const CosineLossArgs& args) {
  with_float_type(args.features.type, [&](auto type) { backward<decltype(type)>(args); });
}

}  // namespace ddpmts::kernels::cpu::DDPMTS_ISA
