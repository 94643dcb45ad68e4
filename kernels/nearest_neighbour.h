// Distance of feature vectors to the nearest vector of a bank, one chunk of the bank after the other, so that no
// [rows, bank] matrix is ever kept (PatchCore, arXiv 2106.08265 eq. 6), and the greedy choice of such a bank (eq. 5):
//   d_i = sqrt(max(0, ‖q_i‖² + min_j (‖c_j‖² − 2·q_i·c_j)))
// Layout: vectors [rows, channels] f32 or bf16, row-major; products q·c, norms and distances f32.
// Bytes moved: squared_norms reads the vectors once; nearest_update reads the products once; farthest_point reads the
// points once and the distances once.
// Variants: none.
#pragma once

#include "kernels/launch.h"

namespace ddpmts::kernels {

struct SquaredNormsArgs {
  DType type = DType::f32;
  std::int64_t rows = 0, channels = 0;
  const void* x = nullptr;  ///< [rows, channels]
  float* norms = nullptr;   ///< [rows] out: Σ x²
};

struct NearestUpdateArgs {
  std::int64_t rows = 0, columns = 0;   ///< columns: vectors of this chunk of the bank, ≥ 1
  const float* products = nullptr;      ///< [rows, columns] q·c
  const float* column_norms = nullptr;  ///< [columns] ‖c‖²
  const float* row_norms = nullptr;     ///< [rows] ‖q‖², read where `last`
  bool first = true;                    ///< the first chunk: `distance` holds nothing yet
  bool last = true;                     ///< the last chunk: `distance` becomes d
  float* distance = nullptr;            ///< [rows] in between min_j (‖c_j‖² − 2·q·c_j), finally d
};

/// One step of greedy k-centre selection: distances to the chosen set are lowered by the centre's, and the point that is
/// farthest from the set is found, the first of equals.
struct FarthestPointArgs {
  std::int64_t count = 0, channels = 0;
  const float* points = nullptr;         ///< [count, channels]
  const std::int32_t* centre = nullptr;  ///< [1] in: index of the newest centre
  bool first = true;                     ///< `squared_distance` holds nothing yet
  float* squared_distance = nullptr;     ///< [count] in and out
  std::int32_t* farthest = nullptr;      ///< [1] out
};

/// The same input gives the same bits on the same machine, whatever the thread count. NaN in a product or norm gives NaN.
DDPMTS_KERNEL(squared_norms, SquaredNormsArgs)
DDPMTS_KERNEL(nearest_update, NearestUpdateArgs)
/// Throws std::invalid_argument where count is not in 1..2^31−1.
DDPMTS_KERNEL(farthest_point, FarthestPointArgs)

}  // namespace ddpmts::kernels
