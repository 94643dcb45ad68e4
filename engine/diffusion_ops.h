// Operations that a diffusion model is made of (DDPM, arXiv 2006.11239; ADM, arXiv 2105.05233), beside those of
// engine/ops.h; the same rules hold.
#pragma once

#include "engine/ops.h"
#include "kernels/dropout.h"
#include "kernels/reverse_step.h"

namespace ddpmts {

struct GroupNormOptions {
  std::int64_t groups = 32;
  Tensor add;  ///< [N, C] in x's type, added to x first; empty: none
  Tensor
      scale_shift;  ///< [N, 2C], scales first: the normalised value times (1 + scale) plus shift; empty: none
  bool silu = false;  ///< x·sigmoid(x), last
  float epsilon = 1e-5f;
};

/// GroupNorm (arXiv 1803.08494) of x [N,H,W,C] with what surrounds it in a UNet's residual block (kernels/group_norm.h).
/// weight, bias [C].
Tensor group_norm(const Tensor& x, const ParameterPtr& weight, const ParameterPtr& bias,
                  const GroupNormOptions& options = {});

/// x·sigmoid(x), any shape.
Tensor silu(const Tensor& x);

/// [N,H,W,C] → [N,2H,2W,C]: every pixel becomes four.
Tensor upsample_nearest_2x(const Tensor& x);
/// [N,H,W,C], H and W even → [N,H/2,W/2,C]: mean of 2×2 windows.
Tensor average_pool_2x(const Tensor& x);

/// Softmax attention among the pixels of each picture (engine/primitives.h, AttentionShape): qkv [N,H,W,3C], queries
/// then keys then values, each of `heads` heads → [N,H,W,C].
Tensor attention(const Tensor& qkv, std::int64_t heads);

/// Zeroes values with `probability` and scales the rest by 1/(1 − probability) (arXiv 1207.0580): a pure function of
/// (seed, step + *step_offset). x itself when probability is 0. step_offset: on x's device, as long as the backward pass is to
/// come; null: 0.
Tensor dropout(const Tensor& x, float probability, std::uint64_t seed, std::uint64_t step,
               const std::uint64_t* step_offset = nullptr);

struct NoiseLoss {
  Tensor total;        ///< [1] f32, differentiable: mean over everything of (ε̂ − ε)²
  Tensor per_picture;  ///< [N] f32, for display
};
/// The simple loss of DDPM (arXiv 2006.11239 eq. 14), of the noise or, with that as target, of the velocity. prediction [N,H,W,C]; noise the same shape, f32.
NoiseLoss noise_loss(const Tensor& prediction, const Tensor& noise);

// What follows records nothing.

/// Sinusoids of timesteps [N] i32 → [N, channels] of `type`, cosines first; channels even (kernels/time_embedding.h).
Tensor time_embedding(const Tensor& timesteps, std::int64_t channels, DType type);

/// sqrt(ᾱ_t) and sqrt(1 − ᾱ_t) for all t, each [steps] f32 on the device that uses them.
struct DiffusionTables {
  Tensor sqrt_alphas_cumprod, sqrt_one_minus_alphas_cumprod;
};

struct NoisedPictures {
  Tensor x_t;     ///< shape and type of x_0
  Tensor target;  ///< what the network is to predict, the same shape, f32
};

/// noise: ε. velocity: v = sqrt(ᾱ_t)·ε − sqrt(1 − ᾱ_t)·x_0 (arXiv 2202.00512): where nearly all is noise, an error in v is as
/// large in x_0, one in ε a hundred times larger.
enum class Prediction : std::uint8_t { noise, velocity };
/// x_t = sqrt(ᾱ_t)·x_0 + sqrt(1 − ᾱ_t)·ε (arXiv 2006.11239 eq. 4); picture i draws its ε from (seed, first_sample + *sample_offset
/// + i). timesteps [N] i32 below the tables' length; sample_offset: on their device, null: 0.
NoisedPictures forward_diffusion(const Tensor& x_0, const Tensor& timesteps, const DiffusionTables& tables,
                                 std::uint64_t seed, std::uint64_t first_sample,
                                 Prediction prediction = Prediction::noise,
                                 const std::uint64_t* sample_offset = nullptr);

/// One reverse step (kernels/reverse_step.h).
struct ReverseStep {
  std::vector<kernels::ReverseStepCoefficients> coefficients;  ///< one a picture
  std::uint64_t seed = 0;
  Tensor mask;  ///< [N,H,W] u8, 1 where the picture is disturbed; empty: everywhere
  Tensor
      known;  ///< [N,H,W,C] in the prediction's type: what lies outside of the mask; empty: nothing is kept
};
/// What a reverse step hands on besides x itself.
struct ReverseStepOutputs {
  Tensor next_input;  ///< x in the prediction's type: the network's next input
  Tensor pictures;    ///< [N,H,W,C] u8 levels, round((x + 1)·127.5), clamped; empty unless wanted
};
/// x [N,H,W,C] f32 goes from x_t to the x before it, in place; noise_prediction has its shape.
ReverseStepOutputs reverse_step(const Tensor& x, const Tensor& noise_prediction, const ReverseStep& step,
                                bool want_pictures);
/// The same into tensors that are there (`outputs.pictures` may be empty), with the coefficients, one a picture, on the
/// device: step.coefficients is not looked at. outputs.next_input may be noise_prediction.
void reverse_step(const Tensor& x, const Tensor& noise_prediction, const ReverseStep& step,
                  const kernels::ReverseStepCoefficients* coefficients, const ReverseStepOutputs& outputs);

}  // namespace ddpmts
