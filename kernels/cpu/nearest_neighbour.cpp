// Squared norms, running minimum of squared distances, and greedy k-centre selection.
// Layout: vectors row-major, products [rows, columns] f32.
// Bytes moved: every input once; the products should come from the cache.
// Variants: f32 or bf16 vectors for the norms.
#include "kernels/nearest_neighbour.h"

#include <cmath>
#include <stdexcept>

#include "kernels/cpu/simd.h"

namespace ddpmts::kernels::cpu::DDPMTS_ISA {
namespace {

/// The points are cut into this many blocks whatever the thread count.
constexpr int kBlocks = 64;

template <class T>
void write_norms(const SquaredNormsArgs& args) {
#pragma omp parallel for schedule(static)
  for (std::int64_t row = 0; row < args.rows; ++row) {
    const T* x = static_cast<const T*>(args.x) + row * args.channels;
    Floats sum{};
    for_each_vector(args.channels, [&](std::int64_t i, std::int64_t count) DDPMTS_INLINE_LAMBDA {
      const Floats v = load_upto(x + i, count);
      sum += v * v;
    });
    args.norms[row] = sum_lanes(sum);
  }
}

/// min_j (‖c_j‖² − 2·product_j) of one row; NaN where one of them is.
DDPMTS_INLINE float least_of_row(const float* products, const float* norms, std::int64_t columns) {
  Floats least = splat(__builtin_inff());
  Ints nan{};
  for_each_vector(columns, [&](std::int64_t i, std::int64_t count) DDPMTS_INLINE_LAMBDA {
    Floats value = load_upto(norms + i, count) - 2.0f * load_upto(products + i, count);
    nan |= value != value;
    for (std::int64_t k = count; k < kLanes; ++k) value[k] = __builtin_inff();
    least = smaller(value, least);
  });
  float result = least[0];
  std::int32_t any_nan = nan[0];
  for (int k = 1; k < kLanes; ++k) {
    result = least[k] < result ? least[k] : result;
    any_nan |= nan[k];
  }
  return any_nan != 0 ? __builtin_nanf("") : result;
}

struct Farthest {
  float distance = -1.0f;
  std::int64_t index = 0;
};

DDPMTS_INLINE Farthest lower_block(const FarthestPointArgs& args, const float* centre, std::int64_t begin,
                                   std::int64_t end) {
  Farthest farthest;
  for (std::int64_t row = begin; row < end; ++row) {
    const float* x = args.points + row * args.channels;
    Floats sum{};
    for_each_vector(args.channels, [&](std::int64_t i, std::int64_t count) DDPMTS_INLINE_LAMBDA {
      const Floats d = load_upto(x + i, count) - load_upto(centre + i, count);
      sum += d * d;
    });
    float distance = sum_lanes(sum);
    if (!args.first && args.squared_distance[row] < distance) distance = args.squared_distance[row];
    args.squared_distance[row] = distance;
    if (distance > farthest.distance) farthest = Farthest{distance, row};
  }
  return farthest;
}

}  // namespace

void squared_norms(const SquaredNormsArgs& args) {
  with_float_type(args.type, [&](auto type) { write_norms<decltype(type)>(args); });
}

void nearest_update(const NearestUpdateArgs& args) {
#pragma omp parallel for schedule(static)
  for (std::int64_t row = 0; row < args.rows; ++row) {
    float least = least_of_row(args.products + row * args.columns, args.column_norms, args.columns);
    if (!args.first && !(least < args.distance[row]) && least == least) least = args.distance[row];
    if (args.last) {
      const float squared = least + args.row_norms[row];
      least = std::sqrt(squared < 0.0f ? 0.0f : squared);
    }
    args.distance[row] = least;
  }
}

void farthest_point(const FarthestPointArgs& args) {
  if (args.count < 1 || args.count > 0x7fffffff) {
    throw std::invalid_argument("farthest_point: the number of points must lie in 1..2^31-1");
  }
  const float* centre = args.points + *args.centre * args.channels;
  Farthest farthest[kBlocks];
#pragma omp parallel for schedule(static)
  for (int block = 0; block < kBlocks; ++block) {
    farthest[block] =
        lower_block(args, centre, args.count * block / kBlocks, args.count * (block + 1) / kBlocks);
  }
  Farthest best;
  for (const Farthest& candidate : farthest) {
    if (candidate.distance > best.distance) best = candidate;
  }
  *args.farthest = static_cast<std::int32_t>(best.index);
}

}  // namespace ddpmts::kernels::cpu::DDPMTS_ISA
