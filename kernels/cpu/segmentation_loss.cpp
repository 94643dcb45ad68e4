// Focal loss + L1 from logits, and their gradient.
// Layout: logits [count] f32 or bf16, mask [count] u8.
// Bytes moved: forward reads a logit and a mask byte per element; backward also writes a gradient.
// Variants: f32, bf16; γ a whole number up to 8 by multiplication, any other γ by exp(γ·log(1−p_t)).
//
// With a = z where the mask is 1 and −z where it is 0: p_t = σ(a), u = 1−p_t = |p − mask| = σ(−a),
//   L = −log p_t = softplus(−a), focal = u^γ·L, d focal/da = −u^γ·(γ·p_t·L + u), d l1/da = −u·p_t.
#include "kernels/segmentation_loss.h"

#include <cmath>

#include "kernels/cpu/vector_math.h"

namespace ddpmts::kernels::cpu::DDPMTS_ISA {
namespace {

/// The input is cut into this many blocks whatever the thread count: sums are taken block by block, in order.
constexpr int kBlocks = 64;
/// Vectors that are summed in f32 lanes before they go into the block's f64 sums.
constexpr int kRun = 64;
/// A logit whose loss and gradient are exactly 0: it fills the lanes past the end.
constexpr float kNeutralLogit = 200.0f;

struct Focal {
  float gamma;
  int whole_gamma;  ///< γ where that is a whole number in [0, 8], else −1
  float cutoff;     ///< u^(γ+1) would be no normal float for u below this: the focal term is 0 there

  /// u^γ, from u itself or from log u = −softplus(a).
  DDPMTS_INLINE Floats factor(Floats u, Floats softplus_a) const {
    Floats power = splat(1.0f);
    if (whole_gamma >= 0) {
      const Floats base = u < cutoff ? splat(0.0f) : u;
      for (int i = 0; i < whole_gamma; ++i) power *= base;
    } else {
      power = exp_of_nonpositive(softplus_a * -gamma);
    }
    return u < cutoff ? splat(0.0f) : power;
  }
};

DDPMTS_INLINE Focal focal_of(float gamma) {
  const bool whole = gamma >= 0.0f && gamma <= 8.0f && gamma == std::floor(gamma);
  return Focal{gamma, whole ? static_cast<int>(gamma) : -1, std::pow(10.0f, -37.0f / (gamma + 1.0f))};
}

struct Terms {
  Floats focal, l1;
};

DDPMTS_INLINE Terms loss_of(Floats a, const Focal& f) {
  const Logistic p = logistic(a);
  const Floats positive = a < 0.0f ? splat(0.0f) : a;
  const Floats log_loss = as_written(positive - a) + p.log1p_exp;
  return Terms{f.factor(p.complement, positive + p.log1p_exp) * log_loss, p.complement};
}

/// d focal/da and d l1/da.
DDPMTS_INLINE Terms slope_of(Floats a, const Focal& f) {
  const Logistic p = logistic(a);
  const Floats positive = a < 0.0f ? splat(0.0f) : a;
  const Floats log_loss = as_written(positive - a) + p.log1p_exp;
  const Floats factor = f.factor(p.complement, positive + p.log1p_exp);
  return Terms{negative(factor * (f.gamma * p.probability * log_loss + p.complement)),
               negative(p.complement * p.probability)};
}

/// Some lanes of the input: `inside` is all ones where the mask is set.
struct Pixels {
  Floats z;
  Ints inside;

  DDPMTS_INLINE Floats a() const { return inside != 0 ? z : negative(z); }
};

template <class T>
DDPMTS_INLINE Pixels load_pixels(const T* logits, const std::uint8_t* mask, std::int64_t count) {
  typedef std::uint8_t Bytes __attribute__((vector_size(kLanes)));
  if (count >= kLanes) {
    Bytes bytes;
    __builtin_memcpy(&bytes, mask, sizeof bytes);
    return Pixels{load(logits), __builtin_convertvector(bytes, Ints)};
  }
  Pixels pixels{splat(kNeutralLogit), Ints{} + 1};
  for (std::int64_t i = 0; i < count; ++i) {
    pixels.z[i] = to_float(logits[i]);
    pixels.inside[i] = mask[i];
  }
  return pixels;
}

/// Elements of one block, a multiple of every lane count.
DDPMTS_INLINE std::int64_t block_size(std::int64_t count) {
  return ceil_div(ceil_div(count, kBlocks), 16) * 16;
}

template <class T>
void forward(const SegmentationLossArgs& args) {
  const T* logits = static_cast<const T*>(args.logits);
  const Focal parameters = focal_of(args.gamma);
  const std::int64_t size = block_size(args.count);
  double focal[kBlocks] = {};
  double l1[kBlocks] = {};
#pragma omp parallel for schedule(dynamic)
  for (int block = 0; block < kBlocks; ++block) {
    const std::int64_t end = smaller(args.count, (block + 1) * size);
    for (std::int64_t begin = block * size; begin < end; begin += kRun * kLanes) {
      const std::int64_t run_end = smaller(end, begin + kRun * kLanes);
      Floats focal_lanes = splat(0.0f), l1_lanes = splat(0.0f);
      for (std::int64_t i = begin; i < run_end; i += kLanes) {
        const Terms terms = loss_of(load_pixels(logits + i, args.mask + i, run_end - i).a(), parameters);
        focal_lanes += terms.focal;
        l1_lanes += terms.l1;
      }
      focal[block] += static_cast<double>(sum_lanes(focal_lanes));
      l1[block] += static_cast<double>(sum_lanes(l1_lanes));
    }
  }
  double focal_sum = 0.0, l1_sum = 0.0;
  for (int block = 0; block < kBlocks; ++block) {
    focal_sum += focal[block];
    l1_sum += l1[block];
  }
  const double count = static_cast<double>(args.count);
  args.loss[1] = static_cast<float>(focal_sum / count);
  args.loss[2] = static_cast<float>(l1_sum / count);
  args.loss[0] = args.focal_weight * args.loss[1] + args.l1_weight * args.loss[2];
}

template <class T>
void backward(const SegmentationLossArgs& args) {
  const T* logits = static_cast<const T*>(args.logits);
  T* gradients = static_cast<T*>(args.grad_logits);
  const Focal parameters = focal_of(args.gamma);
  const std::int64_t size = block_size(args.count);
  const float scale = *args.grad_loss / static_cast<float>(args.count);
  const float focal_scale = scale * args.focal_weight;
  const float l1_scale = scale * args.l1_weight;
#pragma omp parallel for schedule(dynamic)
  for (int block = 0; block < kBlocks; ++block) {
    const std::int64_t end = smaller(args.count, (block + 1) * size);
    for (std::int64_t i = block * size; i < end; i += kLanes) {
      const Pixels pixels = load_pixels(logits + i, args.mask + i, end - i);
      const Terms slope = slope_of(pixels.a(), parameters);
      const Floats along_a = focal_scale * slope.focal + l1_scale * slope.l1;
      const Floats gradient = pixels.inside != 0 ? along_a : negative(along_a);
      if (end - i >= kLanes) {
        store(gradients + i, gradient);
      } else {
        store_part(gradients + i, gradient, end - i);
      }
    }
  }
}

}  // namespace

void segmentation_loss_forward(const SegmentationLossArgs& args) {
  with_float_type(args.type, [&](auto type) { forward<decltype(type)>(args); });
}

void segmentation_loss_backward(const SegmentationLossArgs& args) {
  with_float_type(args.type, [&](auto type) { backward<decltype(type)>(args); });
}

}  // namespace ddpmts::kernels::cpu::DDPMTS_ISA
