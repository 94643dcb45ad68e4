#include "kernels/reverse_step.h"

#include <stdexcept>

#include "kernels/diffusion_math.h"
#include "tests/kernels/drawing_test.h"

#if DDPMTS_CPU_TESTS
#include <omp.h>
#endif

namespace ddpmts::kernels {
namespace {

using test::Array;
using test::Buffer;
using test::random_floats;

enum class Outside { nothing, undisturbed, known };

/// Buffers of one call. Coefficients differ from picture to picture.
struct Call {
  Call(DType of, std::int64_t n, std::int64_t pixels, std::int64_t channels, Outside outside)
      : type(of),
        count(pixels * channels),
        x_t(random_floats(n * count, 1, -2.0f, 2.0f)),
        x(x_t),
        prediction(type, random_floats(n * count, 2, -2.0f, 2.0f)),
        known(type, random_floats(n * count, 3)),
        next_input(type, n * count),
        pictures(static_cast<std::size_t>(n * count + 1), 99) {
    for (std::int64_t i = 0; i < n; ++i) {
      const float s = static_cast<float>(i);
      ReverseStepCoefficients k;
      k.x_0_from_x = 1.25f + 0.1f * s;
      k.x_0_from_prediction = 0.75f;
      k.from_x_0 = 0.4f + 0.05f * s;
      k.from_x = 0.55f;
      k.sigma = 0.2f;
      k.sigma_disturbed = 0.3f + 0.1f * s;
      k.known_scale = 0.8f;
      k.known_sigma = 0.6f;
      k.random_step = (std::uint64_t{1} << 40) + 1000 * static_cast<std::uint64_t>(i) + 17;
      coefficients.push_back(k);
    }
    const Array<float> draws = random_floats(n * pixels, 4);
    for (const float draw : draws) mask.push_back(draw > 0.2f ? 1 : 0);
    x.push_back(-77.0f);
    args.type = type;
    args.n = n;
    args.pixels = pixels;
    args.channels = channels;
    args.coefficients = coefficients.data();
    args.seed = 321;
    args.x = x.data();
    args.noise_prediction = prediction.data();
    args.mask = outside == Outside::nothing ? nullptr : mask.data();
    args.known = outside == Outside::known ? known.data() : nullptr;
    args.next_input = next_input.data();
    args.pictures = pictures.data();
  }
  Call(const Call&) = delete;

  /// z of value e of picture i.
  float noise(std::int64_t i, std::int64_t e) const {
    const Philox random{args.seed, RandomStream::diffusion,
                        coefficients[static_cast<std::size_t>(i)].random_step};
    const Float4 four = gaussians(random.bits(static_cast<std::uint32_t>(e / 4)));
    const float lanes[] = {four.x, four.y, four.z, four.w};
    return lanes[e % 4];
  }

  DType type;
  std::int64_t count;
  Array<float> x_t, x;
  Buffer prediction, known, next_input;
  Array<std::uint8_t> pictures, mask;
  Array<ReverseStepCoefficients> coefficients;
  ReverseStepArgs args;
};

double expected_value(const Call& call, std::int64_t i, std::int64_t e) {
  const ReverseStepCoefficients& k = call.coefficients[static_cast<std::size_t>(i)];
  const std::size_t at = static_cast<std::size_t>(i * call.count + e);
  const double x = static_cast<double>(call.x_t[at]);
  const double z = static_cast<double>(call.noise(i, e));
  const double raw = static_cast<double>(k.x_0_from_x) * x -
                     static_cast<double>(k.x_0_from_prediction) * static_cast<double>(call.prediction[at]);
  const double x_0 = std::min(1.0, std::max(-1.0, raw));
  const bool inside = call.args.mask == nullptr ||
                      call.mask[static_cast<std::size_t>(i * call.args.pixels + e / call.args.channels)] != 0;
  if (!inside && call.args.known != nullptr) {
    return static_cast<double>(k.known_scale) * static_cast<double>(call.known[at]) +
           static_cast<double>(k.known_sigma) * z;
  }
  const double sigma = static_cast<double>(inside ? k.sigma_disturbed : k.sigma);
  return static_cast<double>(k.from_x_0) * x_0 + static_cast<double>(k.from_x) * x + sigma * z;
}

struct Shape {
  std::int64_t n, pixels, channels;
};
const Shape kShapes[] = {{1, 1, 1},   {3, 1, 3},    {2, 5, 1},    {2, 17 * 19, 3}, {1, 37, 6},
                         {2, 33, 65}, {1, 3, 1100}, {2, 1025, 1}, {3, 1500, 3},    {1, 700, 4}};

TEST(ReverseStep, MatchesThePlainTwin) {
  for (const Shape& s : kShapes) {
    for (const DType type : {DType::f32, DType::bf16}) {
      for (const Outside outside : {Outside::nothing, Outside::undisturbed, Outside::known}) {
        SCOPED_TRACE(::testing::Message() << s.n << "x" << s.pixels << "x" << s.channels << " "
                                          << name_of(type) << " " << static_cast<int>(outside));
        test::for_each_isa([&](CpuIsa isa) {
          Call call(type, s.n, s.pixels, s.channels, outside);
          DDPMTS_RUN_KERNEL(isa, reverse_step, call.args);
          for (std::int64_t i = 0; i < s.n; ++i) {
            for (std::int64_t e = 0; e < call.count; ++e) {
              const std::size_t at = static_cast<std::size_t>(i * call.count + e);
              const float x = call.x[at];
              ASSERT_NEAR(x, expected_value(call, i, e), 3e-6) << at;
              ASSERT_EQ(call.next_input[at], type == DType::bf16 ? to_float(from_float<bf16>(x)) : x) << at;
              const float level = std::min(255.0f, std::max(0.0f, (x + 1.0f) * 127.5f));
              ASSERT_EQ(call.pictures[at], static_cast<std::uint8_t>(level + 0.5f)) << at;
            }
          }
          EXPECT_EQ(call.x.back(), -77.0f);
          EXPECT_EQ(call.pictures.back(), 99);
          EXPECT_TRUE(call.next_input.guard_is_intact());
        });
      }
    }
  }
}

#if DDPMTS_CPU_TESTS
TEST(ReverseStep, SameBitsOnEveryInstructionSetAndThreadCount) {
  const int threads = omp_get_max_threads();
  for (const Shape& s : kShapes) {
    for (const DType type : {DType::f32, DType::bf16}) {
      for (const Outside outside : {Outside::nothing, Outside::undisturbed, Outside::known}) {
        Call expected(type, s.n, s.pixels, s.channels, outside);
        DDPMTS_RUN_KERNEL(CpuIsa::baseline, reverse_step, expected.args);
        test::for_each_isa([&](CpuIsa isa) {
          for (const int count : {1, 3}) {
            omp_set_num_threads(count);
            Call call(type, s.n, s.pixels, s.channels, outside);
            DDPMTS_RUN_KERNEL(isa, reverse_step, call.args);
            EXPECT_EQ(call.x, expected.x);
            EXPECT_EQ(call.next_input.bytes(), expected.next_input.bytes());
            EXPECT_EQ(call.pictures, expected.pictures);
          }
        });
      }
    }
  }
  omp_set_num_threads(threads);
}
#endif

TEST(ReverseStep, DrawsTheseBitsEverywhere) {
  const std::pair<Outside, std::uint64_t> hashes[] = {{Outside::nothing, 0xaaf922e5fefc740eu},
                                                      {Outside::undisturbed, 0x7e410d6e126e0dbfu},
                                                      {Outside::known, 0x23036dcec7c99444u}};
  for (const auto& [outside, hash] : hashes) {
    Call call(DType::f32, 3, 1501, 3, outside);
    DDPMTS_RUN_KERNEL(test::fastest_isa(), reverse_step, call.args);
    EXPECT_EQ(test::hash_of(call.x.data(), call.x.size() * sizeof(float)), hash) << static_cast<int>(outside);
  }
}

TEST(ReverseStep, NextInputAndPicturesAreOptional) {
  test::for_each_isa([](CpuIsa isa) {
    Call with(DType::bf16, 2, 31, 3, Outside::known), without(DType::bf16, 2, 31, 3, Outside::known);
    without.args.next_input = nullptr;
    without.args.pictures = nullptr;
    DDPMTS_RUN_KERNEL(isa, reverse_step, with.args);
    DDPMTS_RUN_KERNEL(isa, reverse_step, without.args);
    EXPECT_EQ(with.x, without.x);
  });
}

/// ᾱ of the linear schedule, arXiv 2006.11239 §4: β from 1e-4 to 0.02 in 1000 steps.
std::vector<double> linear_alphas_cumprod() {
  std::vector<double> table;
  double product = 1.0;
  for (int t = 0; t < 1000; ++t) {
    product *= 1.0 - (1e-4 + (0.02 - 1e-4) * t / 999.0);
    table.push_back(product);
  }
  return table;
}

/// x_t and ε̂ such that x̂_0 lies within ±0.9 and nothing is clamped.
void set_inputs(Call& call, double alpha) {
  const Array<float> x_0 = random_floats(static_cast<std::int64_t>(call.x_t.size()), 8, -0.9f, 0.9f);
  for (std::size_t i = 0; i < call.x_t.size(); ++i) {
    const double x = std::sqrt(alpha) * static_cast<double>(x_0[i]) +
                     std::sqrt(1.0 - alpha) * static_cast<double>(call.prediction[i]);
    call.x[i] = call.x_t[i] = static_cast<float>(x);
  }
}

TEST(ReverseStep, AncestralSamplingIsOneSetOfCoefficients) {
  const std::vector<double> table = linear_alphas_cumprod();
  test::for_each_isa([&](CpuIsa isa) {
    for (const std::size_t t : {1, 50, 400, 700}) {
      const double bar = table[t], bar_prev = table[t - 1], alpha = bar / bar_prev, beta = 1.0 - alpha;
      const double sigma = std::sqrt((1.0 - bar_prev) / (1.0 - bar) * beta);
      Call call(DType::f32, 1, 50, 3, Outside::nothing);
      set_inputs(call, bar);
      ReverseStepCoefficients& k = call.coefficients[0];
      k.x_0_from_x = static_cast<float>(1.0 / std::sqrt(bar));
      k.x_0_from_prediction = static_cast<float>(std::sqrt(1.0 / bar - 1.0));
      k.from_x_0 = static_cast<float>(std::sqrt(bar_prev) * beta / (1.0 - bar));         // eq. 7
      k.from_x = static_cast<float>(std::sqrt(alpha) * (1.0 - bar_prev) / (1.0 - bar));  // eq. 7
      k.sigma_disturbed = static_cast<float>(sigma);
      DDPMTS_RUN_KERNEL(isa, reverse_step, call.args);
      for (std::int64_t e = 0; e < call.count; ++e) {
        const std::size_t at = static_cast<std::size_t>(e);
        const double x = static_cast<double>(call.x_t[at]),
                     epsilon = static_cast<double>(call.prediction[at]);
        const double z = static_cast<double>(call.noise(0, e));
        const double expected =
            (x - beta / std::sqrt(1.0 - bar) * epsilon) / std::sqrt(alpha) + sigma * z;  // eq. 11
        ASSERT_NEAR(call.x[at], expected, 3e-6) << t << " " << at;
      }
    }
  });
}

TEST(ReverseStep, DdimIsAnotherSet) {
  const std::vector<double> table = linear_alphas_cumprod();
  test::for_each_isa([&](CpuIsa isa) {
    for (const double eta : {0.0, 0.4, 1.0}) {
      for (const auto& [t, t_prev] : {std::pair{800, 780}, {400, 200}, {20, 0}}) {
        const double bar = table[static_cast<std::size_t>(t)],
                     bar_prev = table[static_cast<std::size_t>(t_prev)];
        const double sigma =
            eta * std::sqrt((1.0 - bar_prev) / (1.0 - bar)) * std::sqrt(1.0 - bar / bar_prev);  // eq. 16
        const double direction = std::sqrt(1.0 - bar_prev - sigma * sigma);
        Call call(DType::f32, 1, 50, 3, Outside::nothing);
        set_inputs(call, bar);
        ReverseStepCoefficients& k = call.coefficients[0];
        k.x_0_from_x = static_cast<float>(1.0 / std::sqrt(bar));
        k.x_0_from_prediction = static_cast<float>(std::sqrt(1.0 / bar - 1.0));
        // ε̂ written as (x_t − √ᾱ·x̂_0)/√(1 − ᾱ).
        k.from_x = static_cast<float>(direction / std::sqrt(1.0 - bar));
        k.from_x_0 =
            static_cast<float>(std::sqrt(bar_prev) - direction * std::sqrt(bar) / std::sqrt(1.0 - bar));
        k.sigma_disturbed = static_cast<float>(sigma);
        DDPMTS_RUN_KERNEL(isa, reverse_step, call.args);
        for (std::int64_t e = 0; e < call.count; ++e) {
          const std::size_t at = static_cast<std::size_t>(e);
          const double x = static_cast<double>(call.x_t[at]),
                       epsilon = static_cast<double>(call.prediction[at]);
          const double x_0 = (x - std::sqrt(1.0 - bar) * epsilon) / std::sqrt(bar);  // eq. 9
          const double expected = std::sqrt(bar_prev) * x_0 + direction * epsilon +
                                  sigma * static_cast<double>(call.noise(0, e));  // eq. 12
          ASSERT_NEAR(call.x[at], expected, 1e-5) << t << " " << at;
        }
      }
    }
  });
}

TEST(ReverseStep, PredictedPicturesAreClamped) {
  test::for_each_isa([](CpuIsa isa) {
    Call call(DType::f32, 1, 9, 3, Outside::nothing);
    call.coefficients[0] = ReverseStepCoefficients{};
    call.coefficients[0].x_0_from_x = 100.0f;
    DDPMTS_RUN_KERNEL(isa, reverse_step, call.args);
    for (std::size_t i = 0; i < 27; ++i) {
      const bool up = call.x_t[i] > 0.0f;
      ASSERT_EQ(call.x[i], up ? 1.0f : -1.0f);
      ASSERT_EQ(call.pictures[i], up ? 255 : 0);
    }
  });
}

TEST(ReverseStep, LevelsRoundAndClamp) {
  // Through the known picture, with σ = 0: x is what is put in. Halfway cases, beyond both ends, NaN.
  const std::vector<float> values{-1.0f, 1.0f,   -1.5f,    3.0f,      1e30f,   -1e30f,       0.0f,
                                  0.4f,  -0.25f, 0.00391f, -0.00393f, 0.9961f, std::nanf("")};
  const std::vector<int> levels{0, 255, 0, 255, 255, 0, 128, 179, 96, 128, 127, 255, 0};
  test::for_each_isa([&](CpuIsa isa) {
    Call call(DType::f32, 1, 13, 1, Outside::known);
    for (std::size_t i = 0; i < values.size(); ++i) {
      call.known.set(i, values[i]);
      call.mask[i] = 0;
    }
    call.coefficients[0].known_scale = 1.0f;
    call.coefficients[0].known_sigma = 0.0f;
    DDPMTS_RUN_KERNEL(isa, reverse_step, call.args);
    for (std::size_t i = 0; i < values.size(); ++i) EXPECT_EQ(call.pictures[i], levels[i]) << values[i];
    EXPECT_TRUE(std::isnan(call.x[12]));
  });
}

TEST(ReverseStep, NanIsNotClampedAway) {
  test::for_each_isa([](CpuIsa isa) {
    Call call(DType::bf16, 1, 20, 1, Outside::undisturbed);
    call.prediction.set(3, std::nanf(""));
    call.prediction.set(19, std::nanf(""));
    DDPMTS_RUN_KERNEL(isa, reverse_step, call.args);
    for (std::size_t i = 0; i < 20; ++i) {
      EXPECT_EQ(std::isnan(call.x[i]), i == 3 || i == 19) << i;
      EXPECT_EQ(std::isnan(call.next_input[i]), i == 3 || i == 19) << i;
    }
  });
}

TEST(ReverseStep, WithoutNoiseNothingIsDrawn) {
  test::for_each_isa([](CpuIsa isa) {
    Call first(DType::f32, 1, 40, 3, Outside::known), second(DType::f32, 1, 40, 3, Outside::known);
    for (Call* call : {&first, &second}) {
      call->coefficients[0].sigma = call->coefficients[0].sigma_disturbed =
          call->coefficients[0].known_sigma = 0.0f;
    }
    second.args.seed = 999;
    DDPMTS_RUN_KERNEL(isa, reverse_step, first.args);
    DDPMTS_RUN_KERNEL(isa, reverse_step, second.args);
    EXPECT_EQ(first.x, second.x);
    for (std::int64_t e = 0; e < first.count; ++e) {
      ASSERT_NEAR(first.x[static_cast<std::size_t>(e)], expected_value(first, 0, e), 1e-6) << e;
    }
  });
}

TEST(ReverseStep, RefusesWrongArguments) {
  for (int wrong = 0; wrong < 6; ++wrong) {
    Call call(DType::f32, 1, 4, 3, Outside::known);
    if (wrong == 0) call.args.type = DType::u8;
    if (wrong == 1) call.args.n = -1;
    if (wrong == 2) call.args.pixels = 0;
    if (wrong == 3) call.args.channels = 0;
    if (wrong == 4) call.args.mask = nullptr;
    if (wrong == 5) call.args.pixels = std::int64_t{1} << 34;
    EXPECT_THROW(DDPMTS_RUN_KERNEL(CpuIsa::baseline, reverse_step, call.args), std::invalid_argument)
        << wrong;
  }
}

}  // namespace
}  // namespace ddpmts::kernels
