// One launch over all parameters: SGD or AdamW, bf16 copy, moving average; and one for the gradient norm before it
//   (contract: kernels/optimizer_step.h).
// Layout: the slots, read on the device, are cut into chunks of 4096 elements that the blocks take in turn; every block
//   finds the chunks' places by a scan over the slots. The norm adds up in f64, in an order that depends on the sizes alone.
// Bytes moved per element: AdamW 28, SGD 20, + 2 for the bf16 copy, + 8 for the average; the norm reads 4.
// Variants: sgd, adamw; bf16 copy and moving average by slot; 16-byte accesses for slots whose arrays allow them.
#include <cmath>

#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/vector.cuh"
#include "kernels/optimizer_step.h"

namespace ddpmts::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kBlocksPerMultiprocessor = 8;
constexpr int kWidth = 4;    // elements of one access
constexpr int kVectors = 4;  // accesses of one thread in a chunk
constexpr int kChunk = kThreads * kWidth * kVectors;

/// Which chunk lies where: slot s owns chunks [first[s], first[s + 1]).
struct ChunkTable {
  DynamicShared<int> first;
  int slots, chunks;

  struct Chunk {
    int slot;
    std::int64_t begin;
  };
  __device__ __forceinline__ Chunk operator[](int chunk) const {
    int low = 0, high = slots;
    while (high - low > 1) {  // first[low] ≤ chunk < first[high]
      const int middle = (low + high) / 2;
      const int at_middle = first[middle];
      if (at_middle <= chunk) {
        low = middle;
      } else {
        high = middle;
      }
    }
    const int first_of_slot = first[low];
    return Chunk{low, std::int64_t{chunk - first_of_slot} * kChunk};
  }
};

std::size_t chunk_table_bytes(std::int64_t slots) {
  return sizeof(int) * static_cast<std::size_t>(slots + 1);
}

/// All threads of the block must call it.
__device__ __forceinline__ ChunkTable chunk_table(const ParameterSlot* slots, int count) {
  const DynamicShared<int> first = dynamic_shared<int>(count + 1);
  int chunks = 0;
  for (int base = 0; base < count; base += kThreads) {
    const int s = base + static_cast<int>(threadIdx.x);
    const int mine = s < count ? static_cast<int>(ceil_div(slots[s].count, kChunk)) : 0;
    int total = 0;
    const int before = block_inclusive_scan(mine, total) - mine;
    if (s < count) first[s] = chunks + before;
    chunks += total;
  }
  if (threadIdx.x == 0) first[count] = chunks;
  __syncthreads();
  return ChunkTable{first, count, chunks};
}

/// What no step changes.
struct Constants {
  float beta1, beta2, rest1, rest2, epsilon, max_norm;  // rest = 1 − beta
};

Constants constants_of(const OptimizerStepArgs& args) {
  Constants k{};
  k.max_norm = args.max_norm;
  k.beta1 = args.kind == OptimizerKind::sgd ? args.momentum : args.beta1;
  if (args.kind == OptimizerKind::sgd) return k;
  k.beta2 = args.beta2;
  k.rest1 = static_cast<float>(1.0 - static_cast<double>(args.beta1));
  k.rest2 = static_cast<float>(1.0 - static_cast<double>(args.beta2));
  k.epsilon = args.epsilon;
  return k;
}

/// The step's own scalars; slots differ by their rate and decay.
struct Scalars {
  float learning_rate, average_decay, gradient_scale;
  float first_scale, second_scale;  // 1/(1 − beta1^step), 1/√(1 − beta2^step)
  bool first_step;
};

template <bool kAdamW>
__device__ __forceinline__ Scalars scalars_of(const OptimizerRates* rates) {
  Scalars k{};
  k.learning_rate = rates->learning_rate;
  k.average_decay = rates->average_decay;
  k.gradient_scale = 1.0f;
  k.first_step = rates->first_step != 0;
  if constexpr (kAdamW) {
    k.first_scale = static_cast<float>(1.0 / rates->first_correction);
    k.second_scale = static_cast<float>(1.0 / sqrt(rates->second_correction));
  }
  return k;
}

/// Elements [i, i + kWidth) of a slot, or fewer, one by one, where `whole` is false.
struct Span {
  std::int64_t i, count;
  bool whole;
  template <class T>
  __device__ __forceinline__ Floats<kWidth> read(const T* p) const {
    return whole ? load<kWidth>(p + i) : load_upto<kWidth>(p + i, count - i);
  }
  template <class T>
  __device__ __forceinline__ void write(T* p, const Floats<kWidth>& f) const {
    if (whole) {
      store<kWidth>(p + i, f);
    } else {
      store_upto<kWidth>(p + i, f, count - i);
    }
  }
};

/// SGD with momentum as in PyTorch: g ← g + decay·p; v ← momentum·v + g (at first: g); p ← p − rate·v.
/// AdamW (arXiv 1711.05101, algorithm 2) in PyTorch's order: decay first, epsilon outside the root.
template <bool kAdamW>
__device__ __forceinline__ void step_span(const Constants& c, const Scalars& k, const ParameterSlot& slot,
                                          const Span& span) {
  const Floats<kWidth> gradient = span.read(slot.grad);
  Floats<kWidth> value = span.read(slot.value);
  const float slot_rate = k.learning_rate * slot.lr_scale;
  if constexpr (kAdamW) {
    Floats<kWidth> m = span.read(slot.first_moment), v = span.read(slot.second_moment);
    const float rate = slot_rate * k.first_scale, keep = 1.0f - slot_rate * slot.weight_decay;
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      const float g = gradient[i] * k.gradient_scale;
      m[i] = c.beta1 * m[i] + c.rest1 * g;
      v[i] = c.beta2 * v[i] + c.rest2 * (g * g);
      value[i] = value[i] * keep - rate * (m[i] / (sqrtf(v[i]) * k.second_scale + c.epsilon));
    }
    span.write(slot.first_moment, m);
    span.write(slot.second_moment, v);
  } else {
    Floats<kWidth> velocity = k.first_step ? splat<kWidth>(0.0f) : span.read(slot.first_moment);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      velocity[i] = c.beta1 * velocity[i] + (gradient[i] * k.gradient_scale + slot.weight_decay * value[i]);
      value[i] -= slot_rate * velocity[i];
    }
    span.write(slot.first_moment, velocity);
  }
  span.write(slot.value, value);
  if (slot.low_precision != nullptr) span.write(slot.low_precision, value);
  if (slot.average != nullptr) {
    Floats<kWidth> average = span.read(slot.average);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) average[i] = value[i] + k.average_decay * (average[i] - value[i]);
    span.write(slot.average, average);
  }
}

template <bool kAdamW>
__global__ void __launch_bounds__(kThreads)
    step_kernel(const ParameterSlot* slots, int slot_count, const OptimizerRates* rates, const float* norm,
                const __grid_constant__ Constants c) {
  if (norm != nullptr && norm[1] == 0.0f) return;
  Scalars k = scalars_of<kAdamW>(rates);
  if (norm != nullptr && c.max_norm > 0.0f) {
    const float wanted = c.max_norm / (norm[0] + 1e-6f);
    if (wanted < 1.0f) k.gradient_scale = wanted;
  }
  const ChunkTable table = chunk_table(slots, slot_count);
  for (int chunk = static_cast<int>(blockIdx.x); chunk < table.chunks; chunk += static_cast<int>(gridDim.x)) {
    const ChunkTable::Chunk here = table[chunk];
    const ParameterSlot slot = slots[here.slot];
    const bool aligned = aligned_to_16(slot.value, slot.grad, slot.first_moment, slot.second_moment,
                                       slot.low_precision, slot.average);
#pragma unroll 1
    for (int v = 0; v < kVectors; ++v) {
      const std::int64_t i = here.begin + (std::int64_t{v} * kThreads + threadIdx.x) * kWidth;
      if (i < slot.count) {
        step_span<kAdamW>(c, k, slot, Span{i, slot.count, aligned && i + kWidth <= slot.count});
      }
    }
  }
}

__global__ void __launch_bounds__(kThreads)
    norm_kernel(const ParameterSlot* slots, int slot_count, float* norm, ReductionScratch scratch) {
  const ChunkTable table = chunk_table(slots, slot_count);
  double sum = 0.0;
  for (int chunk = static_cast<int>(blockIdx.x); chunk < table.chunks; chunk += static_cast<int>(gridDim.x)) {
    const ChunkTable::Chunk here = table[chunk];
    const float* grad = slots[here.slot].grad;
    const std::int64_t count = slots[here.slot].count;
    const bool aligned = aligned_to_16(grad);
    Floats<kWidth> g[kVectors];
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      const std::int64_t i = here.begin + (std::int64_t{v} * kThreads + threadIdx.x) * kWidth;
      g[v] = i < count ? Span{i, count, aligned && i + kWidth <= count}.read(grad) : splat<kWidth>(0.0f);
    }
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
#pragma unroll
      for (int i = 0; i < kWidth; ++i) sum += static_cast<double>(g[v][i]) * static_cast<double>(g[v][i]);
    }
  }
  // Squares of finite floats cannot overflow a double, so the sum is finite exactly if every gradient is.
  const double of_block[1] = {block_sum(sum)};
  double total[1];
  if (grid_sum(of_block, scratch, total) && threadIdx.x == 0) {
    norm[0] = static_cast<float>(sqrt(total[0]));
    norm[1] = total[0] - total[0] == 0.0 ? 1.0f : 0.0f;  // not so for infinity and NaN
  }
}

/// As many blocks as the device holds: how many chunks there are, only the device knows.
unsigned all_blocks() {
  return smaller(static_cast<unsigned>(multiprocessor_count() * kBlocksPerMultiprocessor),
                 ReductionScratch::kMostBlocks);
}

}  // namespace

void optimizer_step(const OptimizerStepArgs& args, Stream stream) {
  if (args.slot_count == 0) return;
  launch("optimizer_step", args.kind == OptimizerKind::adamw ? step_kernel<true> : step_kernel<false>,
         all_blocks(), kThreads, chunk_table_bytes(args.slot_count), stream, args.slots,
         static_cast<int>(args.slot_count), args.rates, args.norm, constants_of(args));
}

void gradient_norm(const GradientNormArgs& args, Stream stream) {
  launch("gradient_norm", norm_kernel, all_blocks(), kThreads, chunk_table_bytes(args.slot_count), stream,
         args.slots, static_cast<int>(args.slot_count), args.norm, reduction_scratch(stream));
}

}  // namespace ddpmts::kernels::cuda
