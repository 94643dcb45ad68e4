// One pass over all parameters: SGD or AdamW, bf16 copy, moving average; and the gradient norm before it
//   (contract: kernels/optimizer_step.h).
// Layout: the slots are cut into chunks of 16384 elements, which the threads take as they come; the norm adds
//   one double per chunk in order, so that it does not depend on the number of threads.
// Bytes moved per element: AdamW 28, SGD 20, + 2 for the bf16 copy, + 8 for the average; the norm reads 4.
// Variants: sgd, adamw; × bf16 copy × moving average, chosen per slot.
#include "kernels/optimizer_step.h"

#include "kernels/cpu/simd.h"

namespace ddpmts::kernels::cpu::DDPMTS_ISA {
namespace {

constexpr std::int64_t kChunk = 1 << 14;

/// Which chunk lies where: slot s owns chunks [first[s], first[s + 1]).
class ChunkTable {
 public:
  DDPMTS_INLINE ChunkTable(const ParameterSlot* slots, std::int64_t slot_count)
      : slots_(slots), slot_count_(slot_count), first_(slot_count + 1) {
    first_[0] = 0;
    for (std::int64_t s = 0; s < slot_count; ++s)
      first_[s + 1] = first_[s] + ceil_div(slots[s].count, kChunk);
  }
  DDPMTS_INLINE std::int64_t count() const { return first_[slot_count_]; }

  struct Chunk {
    const ParameterSlot& slot;
    std::int64_t begin, size;
  };
  DDPMTS_INLINE Chunk operator[](std::int64_t chunk) const {
    std::int64_t low = 0;
    std::int64_t high = slot_count_;
    while (high - low > 1) {  // first_[low] ≤ chunk < first_[high]
      const std::int64_t middle = (low + high) / 2;
      (first_[middle] <= chunk ? low : high) = middle;
    }
    const std::int64_t begin = (chunk - first_[low]) * kChunk;
    return Chunk{slots_[low], begin, smaller(kChunk, slots_[low].count - begin)};
  }

 private:
  const ParameterSlot* slots_;
  std::int64_t slot_count_;
  Scratch<std::int64_t> first_;
};

/// While it lives, this thread takes numbers below 1.2e-38 for zero. Moments that decay towards zero reach that range
/// and stay in it, and arithmetic there is many times slower.
class FlushSubnormals {
 public:
#if defined(__x86_64__)
  DDPMTS_INLINE FlushSubnormals() : control_(__builtin_ia32_stmxcsr()) {
    constexpr unsigned flush_results = 0x8000;
    constexpr unsigned zero_operands = 0x0040;
    __builtin_ia32_ldmxcsr(control_ | flush_results | zero_operands);
  }
  DDPMTS_INLINE ~FlushSubnormals() { __builtin_ia32_ldmxcsr(control_); }

 private:
  unsigned control_;
#else
  DDPMTS_INLINE FlushSubnormals() {}
#endif
};

DDPMTS_INLINE Floats square_root(Floats x) {
#if defined(__AVX512F__)
  return (Floats)_mm512_maskz_sqrt_ps(0xffff, (__m512)x);
#elif defined(__AVX2__)
  return (Floats)_mm256_sqrt_ps((__m256)x);
#else
  for (int i = 0; i < kLanes; ++i) x[i] = __builtin_sqrtf(x[i]);
  return x;
#endif
}

/// The step's scalars for one slot.
struct Coefficients {
  float gradient_scale, decay, rate, epsilon;
  float beta1, beta2, rest1, rest2;  // rest = 1 − beta
  float second_scale;                // 1/√(1 − beta2^step)
  float average_decay;
  bool first_step;
};

Coefficients coefficients_of(const OptimizerStepArgs& args, const ParameterSlot& slot) {
  const OptimizerRates& rates = *args.rates;
  const double rate = static_cast<double>(rates.learning_rate) * static_cast<double>(slot.lr_scale);
  const double weight_decay = static_cast<double>(slot.weight_decay);
  Coefficients k{};
  k.gradient_scale = 1.0f;
  if (args.max_norm > 0.0f && args.norm != nullptr) {
    const float wanted = args.max_norm / (args.norm[0] + 1e-6f);
    if (wanted < 1.0f) k.gradient_scale = wanted;
  }
  k.average_decay = rates.average_decay;
  k.first_step = rates.first_step != 0;
  if (args.kind == OptimizerKind::sgd) {
    k.rate = static_cast<float>(rate);
    k.decay = slot.weight_decay;
    k.beta1 = args.momentum;
    return k;
  }
  const double beta1 = static_cast<double>(args.beta1);
  const double beta2 = static_cast<double>(args.beta2);
  k.rate = static_cast<float>(rate / rates.first_correction);
  k.second_scale = static_cast<float>(1.0 / __builtin_sqrt(rates.second_correction));
  k.decay = static_cast<float>(1.0 - rate * weight_decay);
  k.epsilon = args.epsilon;
  k.beta1 = args.beta1;
  k.beta2 = args.beta2;
  k.rest1 = static_cast<float>(1.0 - beta1);
  k.rest2 = static_cast<float>(1.0 - beta2);
  return k;
}

/// SGD with momentum as in PyTorch: g ← g + decay·p; v ← momentum·v + g (at first: g); p ← p − rate·v.
DDPMTS_INLINE Floats sgd(const Coefficients& k, const ParameterSlot& slot, std::int64_t i, std::int64_t n,
                         Floats value, Floats gradient) {
  Floats velocity = gradient + k.decay * value;
  if (!k.first_step) velocity += k.beta1 * load_upto(slot.first_moment + i, n);
  store_upto(slot.first_moment + i, velocity, n);
  return value - k.rate * velocity;
}

/// AdamW (arXiv 1711.05101, algorithm 2) in PyTorch's order: decay first, epsilon outside the root.
DDPMTS_INLINE Floats adamw(const Coefficients& k, const ParameterSlot& slot, std::int64_t i, std::int64_t n,
                           Floats value, Floats gradient) {
  const Floats m = k.beta1 * load_upto(slot.first_moment + i, n) + k.rest1 * gradient;
  const Floats v = k.beta2 * load_upto(slot.second_moment + i, n) + k.rest2 * (gradient * gradient);
  store_upto(slot.first_moment + i, m, n);
  store_upto(slot.second_moment + i, v, n);
  return value * k.decay - k.rate * (m / (square_root(v) * k.second_scale + k.epsilon));
}

template <bool kAdamW, bool kCopy, bool kAverage>
void step_chunk(const Coefficients& k, const ParameterSlot& slot, std::int64_t begin, std::int64_t size) {
  for_each_vector(size, [&](std::int64_t offset, std::int64_t n) DDPMTS_INLINE_LAMBDA {
    const std::int64_t i = begin + offset;
    const Floats gradient = load_upto(slot.grad + i, n) * k.gradient_scale;
    Floats value = load_upto(slot.value + i, n);
    value = kAdamW ? adamw(k, slot, i, n, value, gradient) : sgd(k, slot, i, n, value, gradient);
    store_upto(slot.value + i, value, n);
    if constexpr (kCopy) store_upto(slot.low_precision + i, value, n);
    if constexpr (kAverage) {
      const Floats average = load_upto(slot.average + i, n);
      store_upto(slot.average + i, value + k.average_decay * as_written(average - value), n);
    }
  });
}

template <bool kAdamW>
DDPMTS_INLINE void step_slot(const OptimizerStepArgs& args, const ChunkTable::Chunk& chunk) {
  const ParameterSlot& slot = chunk.slot;
  const Coefficients k = coefficients_of(args, slot);
  if (slot.low_precision != nullptr) {
    slot.average != nullptr ? step_chunk<kAdamW, true, true>(k, slot, chunk.begin, chunk.size)
                            : step_chunk<kAdamW, true, false>(k, slot, chunk.begin, chunk.size);
  } else {
    slot.average != nullptr ? step_chunk<kAdamW, false, true>(k, slot, chunk.begin, chunk.size)
                            : step_chunk<kAdamW, false, false>(k, slot, chunk.begin, chunk.size);
  }
}

double sum_of_squares(const float* p, std::int64_t count) {
  double sum = 0.0;
  for (std::int64_t i = 0; i < count; ++i) {
    const double x = static_cast<double>(p[i]);
    sum += x * x;
  }
  return sum;
}

}  // namespace

void optimizer_step(const OptimizerStepArgs& args) {
  if (args.norm != nullptr && args.norm[1] == 0.0f) return;
  const ChunkTable chunks(args.slots, args.slot_count);
  const std::int64_t count = chunks.count();
#pragma omp parallel if (count > 1)
  {
    const FlushSubnormals flush;
#pragma omp for schedule(dynamic)
    for (std::int64_t c = 0; c < count; ++c) {
      args.kind == OptimizerKind::adamw ? step_slot<true>(args, chunks[c])
                                        : step_slot<false>(args, chunks[c]);
    }
  }
}

void gradient_norm(const GradientNormArgs& args) {
  const ChunkTable chunks(args.slots, args.slot_count);
  const std::int64_t count = chunks.count();
  const Scratch<double> partial(count);
#pragma omp parallel for schedule(dynamic) if (count > 1)
  for (std::int64_t c = 0; c < count; ++c) {
    const ChunkTable::Chunk chunk = chunks[c];
    partial[c] = sum_of_squares(chunk.slot.grad + chunk.begin, chunk.size);
  }
  // Squares of finite floats cannot overflow a double, so the sum is finite exactly if every gradient is.
  double sum = 0.0;
  for (std::int64_t c = 0; c < count; ++c) sum += partial[c];
  args.norm[0] = static_cast<float>(__builtin_sqrt(sum));
  args.norm[1] = __builtin_isfinite(sum) ? 1.0f : 0.0f;
}

}  // namespace ddpmts::kernels::cpu::DDPMTS_ISA
