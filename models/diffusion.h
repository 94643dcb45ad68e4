// Noise schedules and reverse steps of diffusion models: DDPM (arXiv 2006.11239), IDDPM (arXiv 2102.09672), DDIM
// (arXiv 2010.02502), and the disturbed reverse steps that paint defects (arXiv 2403.05897, arXiv 2604.19240). All in double
// precision; timesteps are 0-based, ᾱ of the step before the first is 1.
#pragma once

#include <string>
#include <vector>

#include "engine/diffusion_ops.h"

namespace ddpmts {

/// linear: β from 1e-4·(1000/T) to 0.02·(1000/T) (arXiv 2006.11239 Sec. 4); cosine: ᾱ(t) = cos²((t + 0.008)/1.008·π/2),
/// β at most 0.999 (arXiv 2102.09672 eq. 17).
enum class ScheduleKind { linear, cosine };
const char* name_of(ScheduleKind kind);
/// Throws Error on anything but "linear", "cosine".
ScheduleKind parse_schedule_kind(const std::string& text);

/// The timesteps that a reverse chain visits, with the noise levels it goes between. All of a schedule's, or a few.
struct ReverseSchedule {
  std::vector<std::int64_t> timesteps;  ///< rising; what the network is told
  std::vector<double> alphas_cumprod;   ///< at those

  std::size_t size() const { return timesteps.size(); }
  double alphas_cumprod_before(std::size_t i) const { return i == 0 ? 1.0 : alphas_cumprod[i - 1]; }
  /// 1 − ᾱ_i/ᾱ_{i−1}
  double beta(std::size_t i) const { return 1.0 - alphas_cumprod[i] / alphas_cumprod_before(i); }
  /// β̃_i = β_i·(1 − ᾱ_{i−1})/(1 − ᾱ_i), the variance of q(x_{i−1} | x_i, x_0); 0 at the first.
  double posterior_variance(std::size_t i) const {
    return beta(i) * (1.0 - alphas_cumprod_before(i)) / (1.0 - alphas_cumprod[i]);
  }
};

class NoiseSchedule {
 public:
  /// Throws Error unless steps is in 2 … 100000 (linear: at least 21, where β stays below 1).
  explicit NoiseSchedule(ScheduleKind kind = ScheduleKind::linear, std::int64_t steps = 1000);

  ScheduleKind kind() const { return kind_; }
  std::int64_t steps() const { return static_cast<std::int64_t>(betas_.size()); }
  const std::vector<double>& betas() const { return betas_; }
  const std::vector<double>& alphas_cumprod() const { return all_.alphas_cumprod; }
  double posterior_variance(std::int64_t t) const {
    return all_.posterior_variance(static_cast<std::size_t>(t));
  }

  /// Every timestep.
  const ReverseSchedule& all() const { return all_; }
  /// `count` timesteps at the smallest whole stride that gives so many, from 0 ("ddimN" of arXiv 2105.05233: {0, 50, …, 950}
  /// for 20 of 1000). Throws Error when no stride does.
  ReverseSchedule respaced(std::int64_t count) const;
  /// For forward_diffusion.
  DiffusionTables tables(Device device) const;

 private:
  ScheduleKind kind_;
  std::vector<double> betas_;
  ReverseSchedule all_;
};

/// ancestral: x ~ N(μ, σ²) (arXiv 2006.11239 eq. 11). ddim: arXiv 2010.02502 eq. 12 with η; deterministic at η = 0.
enum class SamplerKind { ancestral, ddim };
/// σ² of an ancestral step: small is β̃, large is β (arXiv 2006.11239 Sec. 3.2). Few steps need small.
enum class ReverseVariance { small, large };
const char* name_of(SamplerKind kind);
const char* name_of(ReverseVariance variance);
/// Throw Error on unknown names ("ancestral", "ddim"; "small", "large").
SamplerKind parse_sampler_kind(const std::string& text);
ReverseVariance parse_reverse_variance(const std::string& text);

/// How far a chain is pushed away from the good parts it learned.
struct Disturbance {
  /// H1: an ancestral step's variance times (1 + s) (arXiv 2403.05897 eq. 7, s in 0.1 … 0.2); a DDIM step gets s·σ² more,
  /// σ² the ancestral step's.
  double s = 0.0;
  /// H1′: a variance δ² more, the same at every step ("constant-variance perturbations", arXiv 2604.19240).
  double delta = 0.0;
};

struct ReverseStepOptions {
  SamplerKind kind = SamplerKind::ancestral;
  ReverseVariance variance = ReverseVariance::small;
  double eta = 0.0;  ///< ddim, in [0, 1]
};

const char* name_of(Prediction prediction);
/// Throws Error on anything but "noise", "velocity".
Prediction parse_prediction(const std::string& text);

/// Coefficients of the step from schedule.timesteps[i] to the one before (random_step is left 0). The last step, i = 0, is
/// the clamped x̂_0: it adds no noise and no disturbance.
kernels::ReverseStepCoefficients reverse_coefficients(const ReverseSchedule& schedule, std::size_t i,
                                                      const ReverseStepOptions& options,
                                                      const Disturbance& disturbance,
                                                      Prediction prediction = Prediction::noise);

/// u8 pictures [N,H,W,3] → [−1, 1], in `type`: what diffusion models learn from.
Tensor to_network_range(const Tensor& pictures, DType type);

}  // namespace ddpmts
