// The sampler: its chain against plain double-precision formulas, its random numbers, where it starts and what it keeps.
#include "models/sampler.h"

#include "tests/models/diffusion_test.h"

namespace ddpmts::test {
namespace {

constexpr std::int64_t kSide = 16;
constexpr std::size_t kCount = kSide * kSide * 3;  // values of a picture

class SamplerTest : public TapeTest {
 protected:
  SamplerTest() : network_(tiny_unet(), 1, Device{}) {}

  Sampler sampler(const SamplerConfig& config, DType type = DType::f32) const {
    return {network_, NoiseSchedule(), config, type};
  }
  std::vector<std::uint8_t> draw(const SamplerConfig& config, const SampleBatch& batch,
                                 DType type = DType::f32) const {
    return sampler(config, type).sample(batch).to_host<std::uint8_t>();
  }

  UNet network_;
};

SampleBatch pictures_of(std::vector<std::uint64_t> indices) {
  SampleBatch batch;
  batch.indices = std::move(indices);
  return batch;
}

std::vector<std::uint8_t> slice(const std::vector<std::uint8_t>& all, std::size_t picture) {
  const auto first = all.begin() + static_cast<std::ptrdiff_t>(picture * kCount);
  return {first, first + kCount};
}

/// ε that the sampler draws for picture `index` before its reverse step i − 1, or for its start (i = 0).
Doubles noise_of(std::uint64_t seed, std::uint64_t index, std::uint64_t i) {
  const std::vector<float> none{0.0f}, all{1.0f};
  const DiffusionTables tables{Tensor::from_host<float>({1}, none), Tensor::from_host<float>({1}, all)};
  return doubles(forward_diffusion(Tensor::zeros({1, kSide, kSide, 3}, DType::f32), timesteps({0}), tables,
                                   seed, std::uint64_t{1} << 63 | index << 16 | i)
                     .target);
}

int nearest_level(double x) { return static_cast<int>(std::clamp(std::round((x + 1) * 127.5), 0.0, 255.0)); }

// A new network predicts no noise at all: the chain can be computed by hand. A level may fall on the other side of a tie.
TEST_F(SamplerTest, ChainFollowsThePlainFormulas) {
  SamplerConfig config;
  config.seed = 9;
  config.s_low = config.s_high = 0.2;
  config.delta = 0.03;
  const ReverseSchedule s = NoiseSchedule().respaced(20);
  const std::vector<std::uint8_t> drawn = draw(config, pictures_of({5}));
  Doubles x = noise_of(9, 5, 0);
  for (std::size_t i = 20; i-- > 0;) {
    const double a = s.alphas_cumprod[i], before = s.alphas_cumprod_before(i), beta = s.beta(i);
    const Doubles z = noise_of(9, 5, i + 1);
    for (std::size_t k = 0; k < x.size(); ++k) {
      const double x_0 = std::clamp(x[k] / std::sqrt(a), -1.0, 1.0);
      const double variance = 1.2 * s.posterior_variance(i) + 0.0009;
      x[k] = std::sqrt(before) * beta / (1 - a) * x_0 + std::sqrt(1 - beta) * (1 - before) / (1 - a) * x[k] +
             (i == 0 ? 0.0 : std::sqrt(variance) * z[k]);
    }
  }
  ASSERT_EQ(drawn.size(), x.size());
  for (std::size_t k = 0; k < x.size(); ++k) ASSERT_NEAR(drawn[k], nearest_level(x[k]), 1) << k;
}

TEST_F(SamplerTest, PictureDependsOnSeedAndIndexAlone) {
  make_up_weights(network_);
  for (const DType type : {DType::f32, DType::bf16}) {
    if (type == DType::bf16 && !has_fast_bf16(Device{})) continue;
    SamplerConfig config;
    config.steps = 4;
    config.seed = 3;
    config.s_low = 0.1;
    config.s_high = 0.2;
    const std::vector<std::uint8_t> all = draw(config, pictures_of({0, 1, 2, 3}), type);
    EXPECT_EQ(draw(config, pictures_of({2}), type), slice(all, 2));
    const std::vector<std::uint8_t> mixed = draw(config, pictures_of({3, 40, 1}), type);
    EXPECT_EQ(slice(mixed, 0), slice(all, 3));
    EXPECT_EQ(slice(mixed, 2), slice(all, 1));
    EXPECT_NE(slice(all, 0), slice(all, 1));
    config.seed = 4;
    EXPECT_NE(draw(config, pictures_of({2}), type), slice(all, 2));
  }
}

TEST_F(SamplerTest, StartsFromAPicture) {
  make_up_weights(network_);
  SampleBatch batch = pictures_of({7, 8});
  batch.pictures = part_pictures(2, kSide, 1);
  SamplerConfig config;
  config.start_timestep = 120;
  EXPECT_EQ(sampler(config).steps(), 3);  // 100, 50, 0
  const std::vector<std::uint8_t> before = batch.pictures.to_host<std::uint8_t>();
  const auto distance = [&](std::int64_t start) {
    SamplerConfig from = config;
    from.steps = 100;
    from.start_timestep = start;
    const std::vector<std::uint8_t> after = draw(from, batch);
    double sum = 0;
    for (std::size_t k = 0; k < after.size(); ++k) sum += std::abs(static_cast<double>(after[k]) - before[k]);
    return sum / static_cast<double>(after.size());
  };
  const double near = distance(0), far = distance(400);
  EXPECT_LT(near, 3.0);  // σ of timestep 0 is 0.01, more than one level
  EXPECT_GT(near, 0.0);
  EXPECT_GT(far, 5 * near);
}

TEST_F(SamplerTest, KeepsWhatLiesOutsideOfTheMask) {
  make_up_weights(network_);
  SampleBatch batch = pictures_of({7});
  batch.pictures = part_pictures(1, kSide, 1);
  std::vector<std::uint8_t> mask(kSide * kSide);
  for (std::size_t p = 0; p < mask.size(); ++p) mask[p] = p / kSide >= 4 && p / kSide < 9 && p % kSide > 7;
  batch.mask = Tensor::from_host<std::uint8_t>({1, kSide, kSide}, mask);
  batch.keep_outside = true;
  SamplerConfig config;
  const std::vector<std::uint8_t> before = batch.pictures.to_host<std::uint8_t>();
  for (const DType type : {DType::f32, DType::bf16}) {
    if (type == DType::bf16 && !has_fast_bf16(Device{})) continue;
    const std::vector<std::uint8_t> after = draw(config, batch, type);
    std::size_t changed = 0;
    for (std::size_t k = 0; k < after.size(); ++k) {
      // bf16 holds a level to half a unit.
      if (mask[k / 3] == 0) {
        ASSERT_NEAR(after[k], before[k], type == DType::bf16 ? 1 : 0) << k;
      } else {
        changed += after[k] != before[k] ? 1 : 0;
      }
    }
    EXPECT_GT(changed, 50u);
  }
}

TEST_F(SamplerTest, DisturbsInsideOfTheMaskAlone) {
  // A new network predicts nothing and so leaves each pixel to itself.
  SampleBatch batch = pictures_of({7});
  std::vector<std::uint8_t> mask(kSide * kSide);
  for (std::size_t p = 0; p < mask.size(); ++p) mask[p] = p % 3 == 0;
  SamplerConfig calm, disturbed;
  disturbed.delta = 0.2;
  const std::vector<std::uint8_t> without = draw(calm, batch), everywhere = draw(disturbed, batch);
  batch.mask = Tensor::from_host<std::uint8_t>({1, kSide, kSide}, mask);
  const std::vector<std::uint8_t> inside = draw(disturbed, batch);
  for (std::size_t k = 0; k < kCount; ++k)
    ASSERT_EQ(inside[k], mask[k / 3] == 1 ? everywhere[k] : without[k]) << k;
  EXPECT_NE(everywhere, without);
}

TEST_F(SamplerTest, DrawsSWithinItsRange) {
  SamplerConfig config;
  config.s_low = config.s_high = 5.0;
  const std::vector<std::uint8_t> strong = draw(config, pictures_of({1}));
  config.s_low = config.s_high = 0.0;
  const std::vector<std::uint8_t> calm = draw(config, pictures_of({1}));
  config.s_high = 5.0;
  const std::vector<std::uint8_t> drawn = draw(config, pictures_of({1}));
  EXPECT_NE(drawn, calm);
  EXPECT_NE(drawn, strong);
}

TEST_F(SamplerTest, ReportsEveryStep) {
  SamplerConfig config;
  config.steps = 5;
  std::vector<std::int64_t> done;
  sampler(config).sample(pictures_of({1}), [&](std::int64_t step) { done.push_back(step); });
  EXPECT_EQ(done, (std::vector<std::int64_t>{1, 2, 3, 4, 5}));
}

TEST_F(SamplerTest, SteadyStateAsksTheSystemForNothing) {
  SamplerConfig config;
  config.steps = 4;
  const Sampler s = sampler(config);
  s.sample(pictures_of({1, 2}));
  const std::size_t warm = memory_stats(Device{}).system_allocations;
  s.sample(pictures_of({3, 4}));
  EXPECT_EQ(memory_stats(Device{}).system_allocations, warm);
}

TEST_F(SamplerTest, SaysWhatDoesNotFit) {
  const auto refused = [&](auto change, const std::vector<std::string>& parts) {
    SamplerConfig config;
    change(config);
    expect_error<Error>([&] { sampler(config); }, parts);
  };
  refused([](SamplerConfig& c) { c.steps = 999; }, {"999 of 1000"});
  refused([](SamplerConfig& c) { c.s_low = 0.3; }, {"s is 0.3 to 0"});
  refused([](SamplerConfig& c) { c.delta = -1; }, {"delta is -1"});
  refused([](SamplerConfig& c) { c.step.eta = 2; }, {"eta is 2"});
  refused([](SamplerConfig& c) { c.start_timestep = 1000; }, {"timestep 1000 of 1000"});
  SamplerConfig config;
  SampleBatch batch = pictures_of({});
  expect_error<ShapeError>([&] { draw(config, batch); }, {"0 pictures"});
  batch.indices = {std::uint64_t{1} << 47};
  expect_error<ShapeError>([&] { draw(config, batch); }, {"below 2^47"});
  batch.indices = {1};
  batch.keep_outside = true;
  expect_error<ShapeError>([&] { draw(config, batch); }, {"needs pictures and a mask"});
  batch.pictures = Tensor::zeros({1, 8, 8, 3}, DType::u8);
  expect_error<ShapeError>([&] { draw(config, batch); }, {"pictures", "[1, 16, 16, 3]", "[1, 8, 8, 3]"});
  batch = pictures_of({1});
  config.start_timestep = 300;
  expect_error<ShapeError>([&] { draw(config, batch); }, {"timestep 300", "needs pictures"});
  UNetConfig six = tiny_unet();
  six.out_channels = 6;
  const UNet learns_variance(six, 1, Device{});
  expect_error<Error>([&] { Sampler(learns_variance, NoiseSchedule(), {}, DType::f32); }, {"gives 6"});
}

}  // namespace
}  // namespace ddpmts::test
