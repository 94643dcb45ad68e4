// The simple loss of DDPM (arXiv 2006.11239 eq. 14) and its gradient:
//   loss = 1/N · Σ_n mean_e (ε̂ − ε)²;   dε̂ = dloss · 2(ε̂ − ε)/(N·count)
// Layout: prediction ε̂ and its gradient [N, count] f32 or bf16; noise ε f32.
// Bytes moved per element: forward reads both; backward reads both and writes the gradient.
// Variants: none.
#pragma once

#include "kernels/launch.h"

namespace ddpmts::kernels {

struct NoiseLossArgs {
  DType type = DType::f32;  ///< of the prediction and its gradient
  std::int64_t n = 0, count = 0;
  const void* prediction = nullptr;
  const float* noise = nullptr;
  float* per_picture = nullptr;      ///< [n] out, forward: mean over one picture's values
  float* loss = nullptr;             ///< [1] out, forward
  const float* grad_loss = nullptr;  ///< [1] in, backward
  void* prediction_grad = nullptr;   ///< backward out
};

/// Sums run in a fixed order: the same input gives the same bits on the same machine, whatever the thread count.
/// Throws std::invalid_argument for element types that do not fit, n < 1 or count < 1.
DDPMTS_KERNEL(noise_loss_forward, NoiseLossArgs)
DDPMTS_KERNEL(noise_loss_backward, NoiseLossArgs)

}  // namespace ddpmts::kernels
