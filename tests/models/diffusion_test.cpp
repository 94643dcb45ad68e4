// Noise schedules against published and computed constants; samplers against plain formulas and against data whose perfect
// noise prediction is known.
#include "models/diffusion.h"

#include "tests/models/diffusion_test.h"

namespace ddpmts::test {
namespace {

/// `value` agrees with a number printed with `digits` significant digits.
void expect_digits(double value, double printed, int digits) {
  EXPECT_NEAR(value, printed, 0.51 * std::pow(10.0, std::floor(std::log10(printed)) + 1 - digits)) << printed;
}

TEST(NoiseScheduleTest, LinearConstants) {
  const NoiseSchedule schedule;
  EXPECT_EQ(schedule.steps(), 1000);
  EXPECT_DOUBLE_EQ(schedule.betas().front(), 1e-4);
  EXPECT_DOUBLE_EQ(schedule.betas().back(), 0.02);
  const auto a = [&](std::size_t t) { return schedule.alphas_cumprod()[t]; };
  expect_digits(a(0), 0.9999, 10);
  expect_digits(a(49), 0.9710157229, 10);
  expect_digits(a(99), 0.8970181457, 10);
  expect_digits(a(199), 0.6590385082, 10);
  expect_digits(a(249), 0.5240853738, 10);
  expect_digits(a(299), 0.3964197595, 10);
  expect_digits(a(399), 0.1951464449, 10);
  expect_digits(a(499), 0.0785872429, 9);
  expect_digits(a(749), 0.0033505504, 8);
  expect_digits(a(950), 1.060418e-4, 7);
  expect_digits(a(999), 4.03583e-5, 6);
  EXPECT_EQ(schedule.posterior_variance(0), 0.0);
  expect_digits(schedule.posterior_variance(1), 5.4531877e-5, 8);
  expect_digits(schedule.posterior_variance(500), 0.0100513358, 9);
}

TEST(NoiseScheduleTest, CosineConstants) {
  const NoiseSchedule schedule(ScheduleKind::cosine);
  expect_digits(schedule.alphas_cumprod()[249], 0.8470121613, 10);
  expect_digits(schedule.alphas_cumprod()[499], 0.4938435904, 10);
  expect_digits(schedule.alphas_cumprod()[999], 2.428767e-9, 7);
  for (const double beta : schedule.betas()) EXPECT_LE(beta, 0.999);
  EXPECT_EQ(schedule.betas().back(), 0.999);
}

TEST(NoiseScheduleTest, OtherLengthsKeepTheNoiseAtTheEnd) {
  for (const std::int64_t steps : {100, 250, 4000}) {
    const NoiseSchedule schedule(ScheduleKind::linear, steps);
    EXPECT_EQ(schedule.steps(), steps);
    EXPECT_NEAR(std::log(schedule.alphas_cumprod().back()), std::log(4.03583e-5), 0.15 * std::log(1e5))
        << steps;
  }
}

TEST(NoiseScheduleTest, RespacingTakesTheSmallestWholeStride) {
  const NoiseSchedule schedule;
  const ReverseSchedule twenty = schedule.respaced(20);
  ASSERT_EQ(twenty.size(), 20u);
  for (std::size_t i = 0; i < 20; ++i) {
    EXPECT_EQ(twenty.timesteps[i], static_cast<std::int64_t>(50 * i));
    EXPECT_EQ(twenty.alphas_cumprod[i], schedule.alphas_cumprod()[50 * i]);
  }
  EXPECT_DOUBLE_EQ(twenty.beta(3), 1.0 - schedule.alphas_cumprod()[150] / schedule.alphas_cumprod()[100]);
  EXPECT_DOUBLE_EQ(twenty.beta(0), 1.0 - schedule.alphas_cumprod()[0]);
  EXPECT_EQ(schedule.respaced(30).timesteps[1], 34);  // 30 steps of 34 reach 986
  EXPECT_EQ(schedule.respaced(1000).timesteps, schedule.all().timesteps);
  EXPECT_EQ(schedule.respaced(1).timesteps, std::vector<std::int64_t>{0});
  for (std::size_t t = 1; t < 1000; ++t) EXPECT_NEAR(schedule.all().beta(t), schedule.betas()[t], 1e-12);
  expect_error<Error>([&] { schedule.respaced(999); }, {"999 of 1000"});
  expect_error<Error>([&] { schedule.respaced(0); }, {"0 of 1000"});
}

TEST(NoiseScheduleTest, NamesAndErrors) {
  EXPECT_EQ(parse_schedule_kind("cosine"), ScheduleKind::cosine);
  EXPECT_EQ(parse_sampler_kind("ddim"), SamplerKind::ddim);
  EXPECT_EQ(parse_reverse_variance("large"), ReverseVariance::large);
  expect_error<Error>([] { parse_schedule_kind("square"); }, {"square", "linear or cosine"});
  expect_error<Error>([] { parse_sampler_kind("euler"); }, {"euler", "ancestral or ddim"});
  expect_error<Error>([] { NoiseSchedule(ScheduleKind::linear, 20); }, {"20 steps", "21"});
  expect_error<Error>([] { NoiseSchedule(ScheduleKind::cosine, 1); }, {"1 steps"});
}

/// One value's reverse step as the papers write it, without noise, and the noise's deviation.
struct PlainStep {
  double mean, sigma;
};

PlainStep plain_step(const ReverseSchedule& s, std::size_t i, const ReverseStepOptions& options, double x,
                     double eps) {
  const double a = s.alphas_cumprod[i], before = s.alphas_cumprod_before(i), beta = 1 - a / before,
               alpha = 1 - beta;
  const double x_0 = std::clamp((x - std::sqrt(1 - a) * eps) / std::sqrt(a), -1.0, 1.0);
  if (options.kind == SamplerKind::ancestral) {
    const double mean =
        std::sqrt(before) * beta / (1 - a) * x_0 + std::sqrt(alpha) * (1 - before) / (1 - a) * x;
    const double small = beta * (1 - before) / (1 - a);
    return {mean, i == 0 ? 0.0 : std::sqrt(options.variance == ReverseVariance::small ? small : beta)};
  }
  const double derived = (x - std::sqrt(a) * x_0) / std::sqrt(1 - a);
  const double sigma = options.eta * std::sqrt((1 - before) / (1 - a)) * std::sqrt(1 - a / before);
  return {std::sqrt(before) * x_0 + std::sqrt(1 - before - sigma * sigma) * derived, sigma};
}

const ReverseStepOptions kSamplers[] = {
    {SamplerKind::ancestral, ReverseVariance::small, 0.0},
    {SamplerKind::ancestral, ReverseVariance::large, 0.0},
    {SamplerKind::ddim, ReverseVariance::small, 0.0},
    {SamplerKind::ddim, ReverseVariance::small, 0.6},
    {SamplerKind::ddim, ReverseVariance::small, 1.0},
};

TEST(ReverseCoefficients, AgreeWithThePlainFormulas) {
  const NoiseSchedule schedule;
  for (const ReverseStepOptions& options : kSamplers) {
    for (const ReverseSchedule& s : {schedule.all(), schedule.respaced(20)}) {
      for (const std::size_t i : {std::size_t{0}, std::size_t{1}, s.size() / 2, s.size() - 1}) {
        const auto c = reverse_coefficients(s, i, options, {});
        for (const double x : {-1.7, -0.2, 0.4, 2.5}) {
          for (const double eps : {-1.1, 0.3, 2.0}) {
            const PlainStep plain = plain_step(s, i, options, x, eps);
            const double x_0 = std::clamp(c.x_0_from_x * x - c.x_0_from_prediction * eps, -1.0, 1.0);
            EXPECT_NEAR(c.from_x_0 * x_0 + c.from_x * x, plain.mean, 3e-6);
            EXPECT_NEAR(c.sigma, plain.sigma, 1e-6);
            EXPECT_EQ(c.sigma_disturbed, c.sigma);
          }
        }
        EXPECT_NEAR(c.known_scale * c.known_scale + c.known_sigma * c.known_sigma, 1.0, 1e-6);
        EXPECT_NEAR(c.known_scale, std::sqrt(s.alphas_cumprod_before(i)), 1e-7);
      }
    }
  }
}

// The same picture and noise, told as ε or as v, lead to the same step.
TEST(ReverseCoefficients, VelocityAndNoiseGiveTheSameStep) {
  const NoiseSchedule schedule;
  for (const ReverseStepOptions& options : kSamplers) {
    const ReverseSchedule s = schedule.respaced(20);
    for (std::size_t i = 0; i < s.size(); ++i) {
      const auto of_noise = reverse_coefficients(s, i, options, {});
      const auto of_velocity = reverse_coefficients(s, i, options, {}, Prediction::velocity);
      const double on_picture = std::sqrt(s.alphas_cumprod[i]), on_noise = std::sqrt(1 - s.alphas_cumprod[i]);
      for (const double x_0 : {-0.9, 0.0, 0.6}) {
        for (const double eps : {-1.5, 0.2}) {
          const double x = on_picture * x_0 + on_noise * eps, v = on_picture * eps - on_noise * x_0;
          EXPECT_NEAR(of_velocity.x_0_from_x * x - of_velocity.x_0_from_prediction * v, x_0, 1e-6);
          EXPECT_NEAR(of_noise.x_0_from_x * x - of_noise.x_0_from_prediction * eps, x_0, 1e-4);
        }
      }
      EXPECT_EQ(of_velocity.from_x_0, of_noise.from_x_0);
      EXPECT_EQ(of_velocity.from_x, of_noise.from_x);
      EXPECT_EQ(of_velocity.sigma, of_noise.sigma);
    }
  }
  EXPECT_EQ(parse_prediction("velocity"), Prediction::velocity);
  EXPECT_EQ(parse_prediction(name_of(Prediction::noise)), Prediction::noise);
  EXPECT_THROW(parse_prediction("score"), Error);
}

TEST(ReverseCoefficients, DisturbancesAddVariance) {
  const ReverseSchedule s = NoiseSchedule().respaced(20);
  for (const ReverseStepOptions& options : kSamplers) {
    for (std::size_t i = 0; i < s.size(); ++i) {
      const auto calm = reverse_coefficients(s, i, options, {});
      const auto scaled = reverse_coefficients(s, i, options, {0.2, 0.0});
      const auto constant = reverse_coefficients(s, i, options, {0.0, 0.05});
      EXPECT_EQ(scaled.sigma, calm.sigma);
      if (i == 0) {  // the last step shows the picture: nothing is added
        EXPECT_EQ(calm.sigma, 0.0f);
        EXPECT_EQ(scaled.sigma_disturbed, 0.0f);
        EXPECT_EQ(constant.sigma_disturbed, 0.0f);
        continue;
      }
      const double ancestral =
          options.variance == ReverseVariance::small ? s.posterior_variance(i) : s.beta(i);
      const double base = static_cast<double>(calm.sigma) * calm.sigma;
      EXPECT_NEAR(std::pow(scaled.sigma_disturbed, 2), base + 0.2 * ancestral, 1e-6);
      EXPECT_NEAR(std::pow(constant.sigma_disturbed, 2), base + 0.0025, 1e-6);
    }
  }
}

/// Runs a chain on data x_0 ~ N(mean, deviation²), whose perfect noise prediction is
/// sqrt(1 − ᾱ)·(x_t − sqrt(ᾱ)·mean)/(ᾱ·deviation² + 1 − ᾱ), and returns what it ends with.
std::vector<float> gaussian_chain(const ReverseSchedule& s, const ReverseStepOptions& options,
                                  const Disturbance& disturbance, double mean, double deviation) {
  const Tensor start = Tensor::zeros({1, 64, 64, 3}, DType::f32);
  const std::vector<float> none{0.0f}, all{1.0f};
  const DiffusionTables tables{Tensor::from_host<float>({1}, none), Tensor::from_host<float>({1}, all)};
  const Tensor x = forward_diffusion(start, timesteps({0}), tables, 7, 0).x_t;
  for (std::size_t i = s.size(); i-- > 0;) {
    const double a = s.alphas_cumprod[i];
    std::vector<float> noise = x.to_floats();
    for (float& value : noise) {
      value = static_cast<float>(std::sqrt(1 - a) * (value - std::sqrt(a) * mean) /
                                 (a * deviation * deviation + 1 - a));
    }
    ReverseStep step;
    step.coefficients = {reverse_coefficients(s, i, options, disturbance)};
    step.coefficients[0].random_step = i + 1;
    step.seed = 7;
    reverse_step(x, Tensor::from_host<float>(x.shape(), noise), step, false);
  }
  return x.to_floats();
}

struct Moments {
  double mean = 0, deviation = 0;
};
Moments moments(const std::vector<float>& values) {
  Moments m;
  for (const float v : values) m.mean += v / static_cast<double>(values.size());
  for (const float v : values) m.deviation += std::pow(v - m.mean, 2) / static_cast<double>(values.size());
  m.deviation = std::sqrt(m.deviation);
  return m;
}

/// The moments that such a chain ends with when nothing is clamped: each step is linear in x.
Moments expected_moments(const ReverseSchedule& s, const ReverseStepOptions& options, double mean,
                         double deviation) {
  double m = 0, variance = 1;
  for (std::size_t i = s.size(); i-- > 0;) {
    const double a = s.alphas_cumprod[i];
    const auto c = reverse_coefficients(s, i, options, {});
    const double slope = std::sqrt(1 - a) / (a * deviation * deviation + 1 - a);  // of the noise prediction
    const double gain = c.from_x_0 * (c.x_0_from_x - c.x_0_from_prediction * slope) + c.from_x;
    m = gain * m + c.from_x_0 * c.x_0_from_prediction * slope * std::sqrt(a) * mean;
    variance = gain * gain * variance + static_cast<double>(c.sigma) * c.sigma;
  }
  return {m, std::sqrt(variance)};
}

// With the perfect prediction a fine chain gives back the data's distribution, whichever sampler walks it.
TEST(ReverseChain, ReproducesGaussianData) {
  const NoiseSchedule schedule;
  const double mean = 0.2, deviation = 0.15;
  for (const ReverseStepOptions& options : kSamplers) {
    SCOPED_TRACE(fmt::format("{} {} {}", name_of(options.kind), name_of(options.variance), options.eta));
    const Moments fine = expected_moments(schedule.all(), options, mean, deviation);
    EXPECT_NEAR(fine.mean, mean, 0.002);
    EXPECT_NEAR(fine.deviation, deviation, 0.03 * deviation);
    // 12,288 values: the mean is good to 0.01 deviations, the deviation to 0.64 %.
    const ReverseSchedule coarse = schedule.respaced(50);
    const Moments expected = expected_moments(coarse, options, mean, deviation);
    const Moments drawn = moments(gaussian_chain(coarse, options, {}, mean, deviation));
    EXPECT_NEAR(drawn.mean, expected.mean, 0.03 * deviation);
    EXPECT_NEAR(drawn.deviation, expected.deviation, 0.025 * deviation);
  }
}

TEST(ReverseChain, DisturbancesWidenWhatItGives) {
  const ReverseSchedule s = NoiseSchedule().respaced(20);
  const ReverseStepOptions ancestral;
  const auto deviation = [&](const Disturbance& d) {
    return moments(gaussian_chain(s, ancestral, d, 0.2, 0.15)).deviation;
  };
  const double calm = deviation({});
  EXPECT_GT(deviation({0.2, 0.0}), 1.002 * calm);
  EXPECT_GT(deviation({0.0, 0.1}), 1.01 * calm);
  EXPECT_GT(deviation({0.0, 0.2}), deviation({0.0, 0.1}));
}

}  // namespace
}  // namespace ddpmts::test
