#include "kernels/time_embedding.h"

#include <limits>
#include <stdexcept>

#include "tests/kernels/kernel_test.h"

namespace ddpmts::kernels {
namespace {

using test::Array;
using test::Buffer;
using test::random_floats;

TEST(TimeEmbedding, MatchesThePlainTwin) {
  const Array<std::int32_t> timesteps{0, 1, 2, 17, 499, 999, 1000, 3999, 4000, -5};
  const std::int64_t n = static_cast<std::int64_t>(timesteps.size());
  for (const std::int64_t channels : {2, 6, 64, 130}) {
    for (const DType type : {DType::f32, DType::bf16}) {
      test::for_each_isa([&](CpuIsa isa) {
        Buffer y(type, n * channels);
        const TimeEmbeddingArgs args{type, n, channels, timesteps.data(), y.data()};
        DDPMTS_RUN_KERNEL(isa, time_embedding, args);
        const std::size_t half = static_cast<std::size_t>(channels / 2);
        for (std::size_t k = 0; k < timesteps.size(); ++k) {
          for (std::size_t i = 0; i < half; ++i) {
            const double frequency =
                std::exp(-std::log(10000.0) * static_cast<double>(i) / static_cast<double>(half));
            const double angle = static_cast<double>(timesteps[k]) * frequency;
            const double room = type == DType::bf16 ? 0x1p-9 : 3e-7;
            ASSERT_NEAR(y[2 * k * half + i], std::cos(angle), room) << timesteps[k] << " " << i;
            ASSERT_NEAR(y[2 * k * half + half + i], std::sin(angle), room) << timesteps[k] << " " << i;
          }
        }
        EXPECT_TRUE(y.guard_is_intact());
      });
    }
  }
}

TEST(TimeEmbedding, RefusesWrongArguments) {
  const Array<std::int32_t> timestep{3};
  Buffer y(DType::f32, 8);
  const auto refuses = [](const TimeEmbeddingArgs& args) {
    EXPECT_THROW(DDPMTS_RUN_KERNEL(CpuIsa::baseline, time_embedding, args), std::invalid_argument);
  };
  refuses({DType::f32, 1, 7, timestep.data(), y.data()});
  refuses({DType::f32, 1, 0, timestep.data(), y.data()});
  refuses({DType::f32, -1, 8, timestep.data(), y.data()});
  refuses({DType::u8, 1, 8, timestep.data(), y.data()});
}

SiluArgs silu_args(const Buffer& x, const Buffer& dy, Buffer& y, Buffer& dx) {
  return SiluArgs{x.type(), static_cast<std::int64_t>(x.count()), x.data(), y.data(), dy.data(), dx.data()};
}

TEST(Silu, MatchesThePlainTwin) {
  for (const std::int64_t count : {0, 1, 3, 15, 16, 17, 65, 1000, 40003}) {
    for (const float range : {4.0f, 80.0f}) {
      for (const DType type : {DType::f32, DType::bf16}) {
        const Buffer x(type, random_floats(count, 1, -range, range)), dy(type, random_floats(count, 2));
        test::for_each_isa([&](CpuIsa isa) {
          Buffer y(type, count), dx(type, count);
          DDPMTS_RUN_KERNEL(isa, silu_forward, silu_args(x, dy, y, dx));
          DDPMTS_RUN_KERNEL(isa, silu_backward, silu_args(x, dy, y, dx));
          for (std::size_t i = 0; i < x.count(); ++i) {
            const double w = static_cast<double>(x[i]);
            const double sigmoid = 1.0 / (1.0 + std::exp(-w));
            const double slope = sigmoid * (1.0 + w * (1.0 - sigmoid)) * static_cast<double>(dy[i]);
            const double room = type == DType::bf16 ? 0x1p-8 + 0x1p-13 : 1e-6 + 1e-7 * std::abs(w);
            ASSERT_NEAR(y[i], w * sigmoid, std::abs(w * sigmoid) * room + 1e-37) << w;
            // The slope crosses zero at −1.28: there the terms that cancel count.
            ASSERT_NEAR(dx[i], slope, (std::abs(slope) + sigmoid * (1.0 + std::abs(w))) * room + 1e-37) << w;
          }
          EXPECT_TRUE(y.guard_is_intact());
          EXPECT_TRUE(dx.guard_is_intact());
        });
      }
    }
  }
}

TEST(Silu, LimitsAndNan) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const DType type : {DType::f32, DType::bf16}) {
    const Buffer x(type, std::vector<float>{-1e4f, -100.0f, 0.0f, 100.0f, 1e4f, infinity, std::nanf("")});
    const Buffer dy(type, std::vector<float>(7, 1.0f));
    test::for_each_isa([&](CpuIsa isa) {
      Buffer y(type, 7), dx(type, 7);
      DDPMTS_RUN_KERNEL(isa, silu_forward, silu_args(x, dy, y, dx));
      DDPMTS_RUN_KERNEL(isa, silu_backward, silu_args(x, dy, y, dx));
      for (const std::size_t i : {0, 1, 2}) EXPECT_NEAR(y[i], 0.0f, 1e-30f) << i;
      for (const std::size_t i : {0, 1}) EXPECT_NEAR(dx[i], 0.0f, 1e-30f) << i;
      EXPECT_NEAR(dx[2], 0.5f, 1e-4f);
      for (const std::size_t i : {3, 4, 5}) EXPECT_EQ(y[i], x[i]) << i;
      for (const std::size_t i : {3, 4}) EXPECT_NEAR(dx[i], 1.0f, 1e-6f) << i;
      EXPECT_TRUE(std::isnan(y[6]));
      EXPECT_TRUE(std::isnan(dx[6]));
    });
  }
}

TEST(Silu, RefusesWrongArguments) {
  Buffer b(DType::f32, 4);
  SiluArgs args = silu_args(b, b, b, b);
  args.type = DType::i32;
  EXPECT_THROW(DDPMTS_RUN_KERNEL(CpuIsa::baseline, silu_forward, args), std::invalid_argument);
  EXPECT_THROW(DDPMTS_RUN_KERNEL(CpuIsa::baseline, silu_backward, args), std::invalid_argument);
  args.type = DType::f32;
  args.count = -1;
  EXPECT_THROW(DDPMTS_RUN_KERNEL(CpuIsa::baseline, silu_forward, args), std::invalid_argument);
}

}  // namespace
}  // namespace ddpmts::kernels
