// Mean of the k largest values of each map.
// Layout: map [N, pixels] f32, score [N] f32.
// Bytes moved: up to five passes over a picture's map, which stays in a core's cache.
// Variants: none. Exact: a radix select (11 + 11 + 10 bits) on integer keys finds the k-th largest value; the score is the
// sum of all that is larger plus as many copies of it as are missing.
#include "kernels/top_k_mean.h"

#include "kernels/cpu/simd.h"

namespace ddpmts::kernels::cpu::DDPMTS_ISA {
namespace {

constexpr int kDigitBits = 11;
constexpr int kBuckets = 1 << kDigitBits;
/// Histograms that take turns, so that runs of equal values do not wait for one counter.
constexpr int kHistograms = 2;

DDPMTS_INLINE std::uint32_t bits_of(float x) {
  std::uint32_t bits;
  __builtin_memcpy(&bits, &x, sizeof bits);
  return bits;
}

/// An unsigned integer that orders as the float does: negative numbers are complemented, the sign bit turned round.
DDPMTS_INLINE std::uint32_t key_of(float x) {
  const std::uint32_t bits = bits_of(x);
  return bits ^ (static_cast<std::uint32_t>(static_cast<std::int32_t>(bits) >> 31) | 0x80000000u);
}

DDPMTS_INLINE float value_of(std::uint32_t key) {
  const std::uint32_t bits = (key & 0x80000000u) != 0 ? key ^ 0x80000000u : ~key;
  float x;
  __builtin_memcpy(&x, &bits, sizeof x);
  return x;
}

DDPMTS_INLINE bool has_nan(const float* map, std::int64_t pixels) {
  std::uint32_t found = 0;
#pragma omp simd reduction(| : found)
  for (std::int64_t i = 0; i < pixels; ++i) {
    found |= (bits_of(map[i]) & 0x7fffffffu) > 0x7f800000u ? 1u : 0u;
  }
  return found != 0;
}

/// Counts the digit (key >> shift) of the keys whose higher bits, key >> prefix_shift, are `prefix`, and walks down from
/// the largest digit to the one that holds the rank-th largest of them. `rank` becomes its rank within that digit.
DDPMTS_INLINE std::uint32_t select_digit(const float* map, std::int64_t pixels, int shift, int bits,
                                         std::uint32_t prefix, std::int64_t& rank) {
  std::uint32_t counts[kHistograms][kBuckets] = {};
  const std::uint32_t digit_mask = (1u << bits) - 1u;
  const bool all = shift + bits == 32;
  for (std::int64_t i = 0; i < pixels; ++i) {
    const std::uint32_t key = key_of(map[i]);
    if (all || key >> (shift + bits) == prefix) ++counts[i % kHistograms][(key >> shift) & digit_mask];
  }
  std::uint32_t digit = digit_mask;
  for (;; --digit) {
    const std::int64_t here = static_cast<std::int64_t>(counts[0][digit]) + counts[1][digit];
    if (rank <= here || digit == 0) return digit;
    rank -= here;
  }
}

DDPMTS_INLINE double mean_of_largest(const float* map, std::int64_t pixels, std::int64_t k) {
  std::int64_t rank = k;
  std::uint32_t threshold = select_digit(map, pixels, 21, 11, 0, rank);
  threshold = (threshold << 11) | select_digit(map, pixels, 10, 11, threshold, rank);
  threshold = (threshold << 10) | select_digit(map, pixels, 0, 10, threshold, rank);
  double sum = 0.0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t i = 0; i < pixels; ++i) {
    sum += key_of(map[i]) > threshold ? static_cast<double>(map[i]) : 0.0;
  }
  return (sum + static_cast<double>(rank) * static_cast<double>(value_of(threshold))) /
         static_cast<double>(k);
}

DDPMTS_INLINE double mean_of_all(const float* map, std::int64_t pixels) {
  double sum = 0.0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t i = 0; i < pixels; ++i) sum += static_cast<double>(map[i]);
  return sum / static_cast<double>(pixels);
}

}  // namespace

void top_k_mean(const TopKMeanArgs& args) {
#pragma omp parallel for schedule(dynamic)
  for (std::int64_t picture = 0; picture < args.n; ++picture) {
    const float* map = args.map + picture * args.pixels;
    float score = __builtin_nanf("");
    if (!has_nan(map, args.pixels)) {
      score = static_cast<float>(args.k >= args.pixels ? mean_of_all(map, args.pixels)
                                                       : mean_of_largest(map, args.pixels, args.k));
    }
    args.score[picture] = score;
  }
}

}  // namespace ddpmts::kernels::cpu::DDPMTS_ISA
