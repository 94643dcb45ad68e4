// Gaussian noise for a stretch of elements, in vector lanes: the numbers of diffusion_math.h's gaussians, bit for bit.
// Compilers make poor code of Philox's 32×32→64-bit products, so those are written out: one block sits in the low half
// of a 64-bit lane, where a product leaves both of its halves in place; what is left over in high halves is never read.
// Kernel sources only: everything is inlined, in an unnamed namespace of the instruction set's own.
#pragma once

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "kernels/cpu/simd.h"
#include "kernels/diffusion_math.h"

namespace ddpmts::kernels::cpu::DDPMTS_ISA {
namespace {

/// Elements that one call of fill_gaussians makes: what it keeps stays in the first cache.
constexpr std::int64_t kNoiseChunk = 1024;

typedef std::uint64_t Longs __attribute__((vector_size(kLanes * 4)));

/// Products of the lanes' low halves with a 32-bit number.
DDPMTS_INLINE Longs multiply_low(Longs a, std::uint32_t factor) {
#if defined(__AVX512F__)
  return (Longs)_mm512_maskz_mul_epu32(0xff, (__m512i)a, _mm512_set1_epi64(factor));
#elif defined(__AVX2__)
  return (Longs)_mm256_mul_epu32((__m256i)a, _mm256_set1_epi64x(factor));
#elif defined(__SSE2__)
  return (Longs)_mm_mul_epu32((__m128i)a, _mm_set1_epi64x(factor));
#else
  return (a & 0xffffffffu) * factor;
#endif
}

struct WordLanes {
  Longs x, y, z, w;
};

/// philox4x32_10 of kLanes / 2 blocks, the counters' words in the low halves.
DDPMTS_INLINE WordLanes philox_lanes(WordLanes counter, std::uint64_t seed) {
  std::uint32_t key0 = static_cast<std::uint32_t>(seed);
  std::uint32_t key1 = static_cast<std::uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const Longs p0 = multiply_low(counter.x, 0xD2511F53u);
    const Longs p1 = multiply_low(counter.z, 0xCD9E8D57u);
    counter = WordLanes{(p1 >> 32) ^ counter.y ^ key0, p1, (p0 >> 32) ^ counter.w ^ key1, p0};
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return counter;
}

/// Low halves of both, in turns.
DDPMTS_INLINE Words interleave(Longs even, Longs odd) { return (Words)((even & 0xffffffffu) | (odd << 32)); }

/// Writes the numbers of elements [first, first + count), first a multiple of 4 and count ≤ kNoiseChunk, to `out`,
/// which has room for kNoiseChunk (more than count may be written).
void fill_gaussians(const Philox& random, std::int64_t first, std::int64_t count, float* out) {
  constexpr std::int64_t kBlocks = kNoiseChunk / 4;
  alignas(64) std::uint32_t words[4][kBlocks];
  const std::int64_t vectors = ceil_div(count, 4 * kLanes);
  Longs lane{};
  for (int i = 0; i < kLanes / 2; ++i) lane[i] = static_cast<std::uint64_t>(2 * i);
  const Longs zero{};
  const Longs stream = zero + static_cast<std::uint32_t>(random.stream);
  const Longs step_low = zero + static_cast<std::uint32_t>(random.step);
  const Longs step_high = zero + static_cast<std::uint32_t>(random.step >> 32);
  for (std::int64_t v = 0; v < vectors; ++v) {
    const Longs block = lane + static_cast<std::uint64_t>(first / 4 + v * kLanes);
    const WordLanes even = philox_lanes(WordLanes{block, stream, step_low, step_high}, random.seed);
    const WordLanes odd = philox_lanes(WordLanes{block + 1u, stream, step_low, step_high}, random.seed);
    const Words of_vector[4] = {interleave(even.x, odd.x), interleave(even.y, odd.y),
                                interleave(even.z, odd.z), interleave(even.w, odd.w)};
    for (int k = 0; k < 4; ++k) __builtin_memcpy(words[k] + v * kLanes, &of_vector[k], sizeof(Words));
  }
#pragma omp simd
  for (std::int64_t b = 0; b < vectors * kLanes; ++b) {
    const Float4 g = gaussians(Uint4{words[0][b], words[1][b], words[2][b], words[3][b]});
    out[4 * b] = g.x;
    out[4 * b + 1] = g.y;
    out[4 * b + 2] = g.z;
    out[4 * b + 3] = g.w;
  }
}

}  // namespace
}  // namespace ddpmts::kernels::cpu::DDPMTS_ISA
