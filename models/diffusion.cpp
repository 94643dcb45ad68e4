#include "models/diffusion.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

#include "kernels/elementwise.h"

namespace ddpmts {
namespace {

// The enumerator of a name.
template <class Kind, std::size_t kCount>
Kind parse(const char* what, const std::string& text, const Kind (&kinds)[kCount]) {
  std::string known;
  for (const Kind kind : kinds) {
    if (text == name_of(kind)) return kind;
    known += (known.empty() ? "" : " or ") + std::string(name_of(kind));
  }
  throw_error("unknown {} '{}': expected {}", what, text, known);
}

}  // namespace

const char* name_of(ScheduleKind kind) { return kind == ScheduleKind::linear ? "linear" : "cosine"; }
const char* name_of(SamplerKind kind) { return kind == SamplerKind::ancestral ? "ancestral" : "ddim"; }
const char* name_of(Prediction prediction) { return prediction == Prediction::noise ? "noise" : "velocity"; }
const char* name_of(ReverseVariance variance) {
  return variance == ReverseVariance::small ? "small" : "large";
}

ScheduleKind parse_schedule_kind(const std::string& text) {
  return parse("noise schedule", text, {ScheduleKind::linear, ScheduleKind::cosine});
}
SamplerKind parse_sampler_kind(const std::string& text) {
  return parse("sampler", text, {SamplerKind::ancestral, SamplerKind::ddim});
}
Prediction parse_prediction(const std::string& text) {
  return parse("prediction", text, {Prediction::noise, Prediction::velocity});
}
ReverseVariance parse_reverse_variance(const std::string& text) {
  return parse("reverse variance", text, {ReverseVariance::small, ReverseVariance::large});
}

NoiseSchedule::NoiseSchedule(ScheduleKind kind, std::int64_t steps) : kind_(kind) {
  if (steps < 2 || steps > 100000 || (kind == ScheduleKind::linear && steps < 21)) {
    throw_error("noise schedule: {} steps of the {} schedule; needs {} to 100000", steps, name_of(kind),
                kind == ScheduleKind::linear ? 21 : 2);
  }
  const auto count = static_cast<double>(steps);
  const auto cosine = [](double share) {
    const double c = std::cos((share + 0.008) / 1.008 * std::numbers::pi / 2);
    return c * c;
  };
  double product = 1.0;
  for (std::int64_t t = 0; t < steps; ++t) {
    const auto position = static_cast<double>(t);
    const double scale = 1000.0 / count;
    const double beta =
        kind == ScheduleKind::linear
            ? scale * (1e-4 + (0.02 - 1e-4) * position / (count - 1.0))
            : std::min(1.0 - cosine((position + 1.0) / count) / cosine(position / count), 0.999);
    product *= 1.0 - beta;
    betas_.push_back(beta);
    all_.timesteps.push_back(t);
    all_.alphas_cumprod.push_back(product);
  }
}

ReverseSchedule NoiseSchedule::respaced(std::int64_t count) const {
  for (std::int64_t stride = 1; count > 0 && stride <= steps(); ++stride) {
    if ((steps() + stride - 1) / stride != count) continue;
    ReverseSchedule result;
    for (std::int64_t t = 0; t < steps(); t += stride) {
      result.timesteps.push_back(t);
      result.alphas_cumprod.push_back(alphas_cumprod()[static_cast<std::size_t>(t)]);
    }
    return result;
  }
  throw_error("sampler: no whole stride visits {} of {} timesteps; try 10, 20, 25, 50 or 100", count,
              steps());
}

DiffusionTables NoiseSchedule::tables(Device device) const {
  std::vector<float> signal, noise;
  for (const double a : alphas_cumprod()) {
    signal.push_back(static_cast<float>(std::sqrt(a)));
    noise.push_back(static_cast<float>(std::sqrt(1.0 - a)));
  }
  return {Tensor::from_host<float>({steps()}, signal, device),
          Tensor::from_host<float>({steps()}, noise, device)};
}

kernels::ReverseStepCoefficients reverse_coefficients(const ReverseSchedule& schedule, std::size_t i,
                                                      const ReverseStepOptions& options,
                                                      const Disturbance& disturbance, Prediction prediction) {
  const double a = schedule.alphas_cumprod[i];
  const double a_before = schedule.alphas_cumprod_before(i);
  const double beta = schedule.beta(i);
  const double ancestral_variance =
      options.variance == ReverseVariance::small ? schedule.posterior_variance(i) : beta;
  double from_x_0, from_x, variance, disturbed;
  if (options.kind == SamplerKind::ancestral) {
    variance = ancestral_variance;
    from_x_0 = std::sqrt(a_before) * beta / (1.0 - a);
    from_x = std::sqrt(1.0 - beta) * (1.0 - a_before) / (1.0 - a);
  } else {
    // The noise is derived again from the clamped x̂_0: ε = (x_t − sqrt(ᾱ_t)·x̂_0)/sqrt(1 − ᾱ_t).
    variance = options.eta * options.eta * schedule.posterior_variance(i);
    from_x = std::sqrt(std::max(1.0 - a_before - variance, 0.0) / (1.0 - a));
    from_x_0 = std::sqrt(a_before) - std::sqrt(a) * from_x;
  }
  disturbed = variance + disturbance.s * ancestral_variance + disturbance.delta * disturbance.delta;
  if (i == 0) variance = disturbed = 0.0;

  kernels::ReverseStepCoefficients c;
  const bool velocity = prediction == Prediction::velocity;
  c.x_0_from_x = static_cast<float>(velocity ? std::sqrt(a) : 1.0 / std::sqrt(a));
  c.x_0_from_prediction = static_cast<float>(velocity ? std::sqrt(1.0 - a) : std::sqrt(1.0 / a - 1.0));
  c.from_x_0 = static_cast<float>(from_x_0);
  c.from_x = static_cast<float>(from_x);
  c.sigma = static_cast<float>(std::sqrt(variance));
  c.sigma_disturbed = static_cast<float>(std::sqrt(disturbed));
  c.known_scale = static_cast<float>(std::sqrt(a_before));
  c.known_sigma = static_cast<float>(std::sqrt(1.0 - a_before));
  return c;
}

Tensor to_network_range(const Tensor& pictures, DType type) {
  Tensor result = Tensor::empty(pictures.shape(), type, pictures.device());
  kernels::NormalizeArgs args;
  args.type = type;
  args.pixels = pictures.count() / 3;
  args.src = pictures.data<std::uint8_t>();
  args.dst = result.raw();
  std::fill_n(args.mean, 3, 0.5f);
  std::fill_n(args.std, 3, 0.5f);
  DDPMTS_LAUNCH(pictures.device(), normalize_pictures, args);
  return result;
}

}  // namespace ddpmts
