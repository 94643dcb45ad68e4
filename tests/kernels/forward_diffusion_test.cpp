#include "kernels/forward_diffusion.h"

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

#if DDPMTS_CPU_TESTS
/// Box and Muller in double, from the same two words.
std::pair<double, double> exact_pair(std::uint32_t radius_bits, std::uint32_t angle_bits) {
  const double u = static_cast<double>(static_cast<float>(radius_bits) + 1.0f) * 0x1p-32;
  const double radius = std::sqrt(-2.0 * std::log(u));
  const double angle = 2.0 * 3.14159265358979323846 * static_cast<double>(angle_bits) * 0x1p-32;
  return {radius * std::cos(angle), radius * std::sin(angle)};
}

TEST(DiffusionMath, GaussiansMatchTheExactFormula) {
  const Philox random{3, RandomStream::drawing, 4};
  double worst = 0.0;
  const auto check = [&](const Uint4& bits) {
    const Float4 g = gaussians(bits);
    const auto [x, y] = exact_pair(bits.x, bits.y);
    const auto [z, w] = exact_pair(bits.z, bits.w);
    for (const auto& [actual, exact] : {std::pair{g.x, x}, {g.y, y}, {g.z, z}, {g.w, w}}) {
      worst = std::max(worst, std::abs(static_cast<double>(actual) - exact));
      EXPECT_LE(std::abs(actual), 6.67f);
    }
  };
  for (std::uint32_t block = 0; block < 500000; ++block) check(random.bits(block));
  EXPECT_LE(worst, 1e-6);
  // The ends and the seams: the rarest radii, u near 1, √½, the corners of the quarter turns.
  const std::uint32_t radii[] = {0u,          1u,          2u,          255u,        0x00ffffffu,
                                 0x7fffffffu, 0x80000000u, 0xb504f332u, 0xb504f334u, 0xb504f380u,
                                 0xffffff00u, 0xffffff80u, 0xfffffffeu, 0xffffffffu};
  const std::uint32_t angles[] = {0u,          1u,          0x1fffffffu, 0x20000000u, 0x20000001u,
                                  0x40000000u, 0x5fffffffu, 0x60000000u, 0x80000000u, 0x9fffffffu,
                                  0xa0000000u, 0xc0000000u, 0xdfffffffu, 0xe0000000u, 0xffffffffu};
  for (const std::uint32_t radius : radii) {
    for (const std::uint32_t angle : angles) check(Uint4{radius, angle, radius ^ 0x55u, angle ^ 0x55u});
  }
  EXPECT_LE(worst, 1.5e-6);
}
#endif

/// Buffers of one call; timesteps and tables are made here.
struct Call {
  Call(DType type, std::int64_t n, std::int64_t count)
      : x_0(type, random_floats(n * count, 1)), x_t(type, n * count) {
    for (int t = 0; t < 10; ++t) {
      signal.push_back(std::sqrt(1.0f - 0.1f * static_cast<float>(t)));
      spread.push_back(std::sqrt(0.1f * static_cast<float>(t)));
    }
    for (std::int64_t i = 0; i < n; ++i) timesteps.push_back(static_cast<std::int32_t>((7 * i + 3) % 10));
    noise.assign(static_cast<std::size_t>(n * count + 1), -77.0f);
    args = ForwardDiffusionArgs{type,          n,    count, x_0.data(), timesteps.data(), 10, signal.data(),
                                spread.data(), 1234, 50,    x_t.data(), noise.data()};
  }
  Call(const Call&) = delete;
  Buffer x_0, x_t;
  Array<float> signal, spread, noise;
  Array<std::int32_t> timesteps;
  ForwardDiffusionArgs args;
};

const std::pair<std::int64_t, std::int64_t> kShapes[] = {
    {1, 1}, {2, 3}, {3, 5}, {1, 64}, {2, 65}, {3, 1023}, {2, 1025}, {1, 2051}, {5, 3 * 17 * 19}};

// v = sqrt(ᾱ)·ε − sqrt(1 − ᾱ)·x_0, with the ε that the same arguments draw otherwise.
TEST(ForwardDiffusion, VelocityIsTheOtherTarget) {
  for (const auto& [n, count] : kShapes) {
    for (const DType type : {DType::f32, DType::bf16}) {
      test::for_each_isa([&, n = n, count = count](CpuIsa isa) {
        Call noise(type, n, count), velocity(type, n, count);
        velocity.args.velocity = true;
        DDPMTS_RUN_KERNEL(isa, forward_diffusion, noise.args);
        DDPMTS_RUN_KERNEL(isa, forward_diffusion, velocity.args);
        for (std::int64_t i = 0; i < n * count; ++i) {
          const auto at = static_cast<std::size_t>(i);
          const auto t = static_cast<std::size_t>(noise.timesteps[static_cast<std::size_t>(i / count)]);
          EXPECT_EQ(noise.x_t[at], velocity.x_t[at]);
          const double expected =
              static_cast<double>(noise.signal[t]) * static_cast<double>(noise.noise[at]) -
              static_cast<double>(noise.spread[t]) * static_cast<double>(noise.x_0[at]);
          ASSERT_NEAR(velocity.noise[at], expected, 1e-6) << at;
        }
      });
    }
  }
}

TEST(ForwardDiffusion, MatchesThePlainTwin) {
  for (const auto& [n, count] : kShapes) {
    for (const DType type : {DType::f32, DType::bf16}) {
      SCOPED_TRACE(::testing::Message() << n << "x" << count << " " << name_of(type));
      test::for_each_isa([&, n = n, count = count](CpuIsa isa) {
        Call call(type, n, count);
        DDPMTS_RUN_KERNEL(isa, forward_diffusion, call.args);
        for (std::int64_t i = 0; i < n; ++i) {
          const Philox random{1234, RandomStream::diffusion, 50 + static_cast<std::uint64_t>(i)};
          const std::size_t t = static_cast<std::size_t>(call.timesteps[static_cast<std::size_t>(i)]);
          for (std::int64_t e = 0; e < count; ++e) {
            const Float4 four = gaussians(random.bits(static_cast<std::uint32_t>(e / 4)));
            const float lanes[] = {four.x, four.y, four.z, four.w};
            const std::size_t at = static_cast<std::size_t>(i * count + e);
            ASSERT_NEAR(call.noise[at], lanes[e % 4], 2e-6f) << at;  // this file may fuse multiplications
            const double expected = static_cast<double>(call.signal[t]) * static_cast<double>(call.x_0[at]) +
                                    static_cast<double>(call.spread[t]) * static_cast<double>(call.noise[at]);
            ASSERT_NEAR(call.x_t[at], expected,
                        (type == DType::bf16 ? 0x1p-8 : 1e-6) * (1.0 + std::abs(expected)));
          }
        }
        EXPECT_TRUE(call.x_t.guard_is_intact());
        EXPECT_EQ(call.noise.back(), -77.0f);
      });
    }
  }
}

#if DDPMTS_CPU_TESTS
TEST(ForwardDiffusion, SameBitsOnEveryInstructionSetAndThreadCount) {
  const int threads = omp_get_max_threads();
  for (const auto& [n, count] : kShapes) {
    for (const DType type : {DType::f32, DType::bf16}) {
      Call expected(type, n, count);
      DDPMTS_RUN_KERNEL(CpuIsa::baseline, forward_diffusion, expected.args);
      test::for_each_isa([&, n = n, count = count](CpuIsa isa) {
        for (const int thread_count : {1, 3}) {
          omp_set_num_threads(thread_count);
          Call call(type, n, count);
          DDPMTS_RUN_KERNEL(isa, forward_diffusion, call.args);
          EXPECT_EQ(call.x_t.bytes(), expected.x_t.bytes());
          EXPECT_EQ(call.noise, expected.noise);
          Call without(type, n, count);
          without.args.target = nullptr;
          DDPMTS_RUN_KERNEL(isa, forward_diffusion, without.args);
          EXPECT_EQ(without.x_t.bytes(), expected.x_t.bytes());
        }
      });
    }
  }
  omp_set_num_threads(threads);
}
#endif

TEST(ForwardDiffusion, DrawsTheseBitsEverywhere) {
  const struct {
    DType type;
    bool velocity;
    std::uint64_t hash;
  } draws[] = {{DType::f32, false, 0xa01bc5e26d2fe7e6u},
               {DType::bf16, false, 0xb9ae7beff598a43bu},
               {DType::f32, true, 0xb5b278a116e432ccu},
               {DType::bf16, true, 0x22e1e25f4da2754au}};
  for (const auto& [type, velocity, hash] : draws) {
    Call call(type, 3, 2051);
    call.args.velocity = velocity;
    DDPMTS_RUN_KERNEL(test::fastest_isa(), forward_diffusion, call.args);
    const std::uint64_t of_target = test::hash_of(call.noise.data(), call.noise.size() * sizeof(float));
    EXPECT_EQ(test::hash_of(call.x_t.data(), 3 * 2051 * size_of(type)) ^ of_target, hash)
        << name_of(type) << (velocity ? " velocity" : " noise");
  }
}

TEST(ForwardDiffusion, ReadsTheOffsetOfItsSamplesWhenItRuns) {
  Array<std::uint64_t> offset(1);
  for (const std::uint64_t samples : {9ULL, 1ULL << 40}) {
    test::for_each_isa([&](CpuIsa isa) {
      Call expected(DType::f32, 2, 77), actual(DType::f32, 2, 77);
      expected.args.first_sample = 3 + samples;
      actual.args.first_sample = 3;
      offset[0] = samples;
      actual.args.sample_offset = offset.data();
      DDPMTS_RUN_KERNEL(isa, forward_diffusion, expected.args);
      DDPMTS_RUN_KERNEL(isa, forward_diffusion, actual.args);
      EXPECT_EQ(actual.x_t.bytes(), expected.x_t.bytes()) << samples;
      EXPECT_EQ(actual.noise, expected.noise) << samples;
    });
  }
}

TEST(ForwardDiffusion, APictureDrawsTheSameInAnyBatch) {
  Call batch(DType::f32, 5, 77), alone(DType::f32, 1, 77);
  alone.args.first_sample = batch.args.first_sample + 3;
  DDPMTS_RUN_KERNEL(CpuIsa::baseline, forward_diffusion, batch.args);
  DDPMTS_RUN_KERNEL(CpuIsa::baseline, forward_diffusion, alone.args);
  for (std::size_t e = 0; e < 77; ++e) EXPECT_EQ(alone.noise[e], batch.noise[3 * 77 + e]);
}

#if DDPMTS_CPU_TESTS
struct Moments {
  double mean = 0.0, variance = 0.0, skewness = 0.0, kurtosis = 0.0;
};

Moments moments_of(const std::vector<float>& values, std::size_t count) {
  Moments m;
  const double share = 1.0 / static_cast<double>(count);
  for (std::size_t i = 0; i < count; ++i) m.mean += share * static_cast<double>(values[i]);
  for (std::size_t i = 0; i < count; ++i) {
    const double d = static_cast<double>(values[i]) - m.mean;
    m.variance += share * d * d;
    m.skewness += share * d * d * d;
    m.kurtosis += share * d * d * d * d;
  }
  m.kurtosis /= m.variance * m.variance;
  return m;
}

TEST(ForwardDiffusion, NoiseIsStandardNormal) {
  constexpr std::int64_t kCount = 1 << 19;
  Call call(DType::f32, 2, kCount);  // two pictures: more than 10^6 values
  DDPMTS_RUN_KERNEL(CpuIsa::baseline, forward_diffusion, call.args);
  const Moments m = moments_of(call.noise, 2 * kCount);
  EXPECT_NEAR(m.mean, 0.0, 4e-3);  // standard errors 1e-3, 1.4e-3, 2.4e-3, 4.8e-3: four of them
  EXPECT_NEAR(m.variance, 1.0, 6e-3);
  EXPECT_NEAR(m.skewness, 0.0, 1e-2);
  EXPECT_NEAR(m.kurtosis, 3.0, 2e-2);
  // The share beyond 1, 2, 3 and 4 standard deviations.
  for (const auto& [limit, share] :
       {std::pair{1.0f, 0.317311}, {2.0f, 0.0455003}, {3.0f, 0.0026998}, {4.0f, 6.33425e-5}}) {
    double beyond = 0.0;
    for (std::size_t i = 0; i < 2 * kCount; ++i) beyond += std::abs(call.noise[i]) > limit ? 1.0 : 0.0;
    EXPECT_NEAR(beyond / (2.0 * kCount), share, 4.5 * std::sqrt(share / (2.0 * kCount))) << limit;
  }
}

TEST(ForwardDiffusion, NoiseIsUncorrelated) {
  constexpr std::int64_t kCount = 1 << 20;
  Call call(DType::f32, 2, kCount);
  DDPMTS_RUN_KERNEL(CpuIsa::baseline, forward_diffusion, call.args);
  // Neighbours (the two of a pair, pairs of a block, blocks), values as far apart as vectors and chunks are, and
  // two pictures; of the values, and of their squares, which the two of a pair share a radius in.
  for (const std::int64_t lag : {1, 2, 3, 4, 5, 8, 16, 32, 64, 1024}) {
    double product = 0.0, squares = 0.0;
    for (std::int64_t i = 0; i + lag < kCount; ++i) {
      const double a = static_cast<double>(call.noise[static_cast<std::size_t>(i)]);
      const double b = static_cast<double>(call.noise[static_cast<std::size_t>(i + lag)]);
      product += a * b;
      squares += (a * a - 1.0) * (b * b - 1.0) / 2.0;
    }
    EXPECT_NEAR(product / kCount, 0.0, 4.5e-3) << lag;
    EXPECT_NEAR(squares / kCount, 0.0, 6e-3) << lag;
  }
  double between = 0.0;
  for (std::size_t i = 0; i < kCount; ++i) {
    between += static_cast<double>(call.noise[i]) * static_cast<double>(call.noise[i + kCount]);
  }
  EXPECT_NEAR(between / kCount, 0.0, 4.5e-3);
}
#endif

TEST(ForwardDiffusion, RefusesWrongArguments) {
  // Timesteps lie in memory of the device: only a CPU can look at them beforehand.
  for (int wrong = 0; wrong < (DDPMTS_CPU_TESTS ? 6 : 4); ++wrong) {
    Call call(DType::f32, 2, 5);
    if (wrong == 0) call.args.type = DType::u8;
    if (wrong == 1) call.args.count = -1;
    if (wrong == 2) call.args.count = (std::int64_t{1} << 34) + 1;
    if (wrong == 3) call.args.n = -1;
    if (wrong == 4) call.timesteps[1] = 10;
    if (wrong == 5) call.timesteps[1] = -1;
    EXPECT_THROW(DDPMTS_RUN_KERNEL(CpuIsa::baseline, forward_diffusion, call.args), std::invalid_argument)
        << wrong;
  }
}

}  // namespace
}  // namespace ddpmts::kernels
