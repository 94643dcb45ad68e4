// The caching allocator: alignment, accounting, and a training step that asks the system for nothing.
#include "engine/memory.h"

#include "engine/ops.h"
#include "engine/optimizer.h"
#include "tests/engine/engine_test.h"

namespace ddpmts::test {
namespace {

const Device kDevice;

class Memory : public TapeTest {
 protected:
  Memory() { release_cached_memory(kDevice); }
};

TEST_F(Memory, IsAligned) {
  for (const std::size_t bytes : {std::size_t{1}, std::size_t{3}, std::size_t{513}, std::size_t{5} << 20}) {
    const Buffer buffer(kDevice, bytes);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer.data()) % 64, 0u) << bytes;
    EXPECT_EQ(buffer.bytes(), bytes);
  }
  EXPECT_EQ(Buffer(kDevice, 0).data(), nullptr);
}

TEST_F(Memory, CountsWhatIsInUseAndTheHighestOfIt) {
  const MemoryStats before = memory_stats(kDevice);
  reset_peak_memory(kDevice);
  {
    const Buffer a(kDevice, 1000);
    EXPECT_EQ(memory_stats(kDevice).in_use - before.in_use, 1024u);
    const Buffer b(kDevice, 512);
    EXPECT_EQ(memory_stats(kDevice).in_use - before.in_use, 1536u);
  }
  EXPECT_EQ(memory_stats(kDevice).in_use, before.in_use);
  EXPECT_EQ(memory_stats(kDevice).peak, before.in_use + 1536);
  reset_peak_memory(kDevice);
  EXPECT_EQ(memory_stats(kDevice).peak, before.in_use);
}

TEST_F(Memory, IsUsedAgainUntilReleased) {
  const MemoryStats start = memory_stats(kDevice);
  void* first = nullptr;
  {
    const Buffer buffer(kDevice, 3 << 20);
    first = buffer.data();
  }
  EXPECT_EQ(memory_stats(kDevice).reserved - start.reserved, std::size_t{3} << 20);
  {
    // Rounding makes a slightly smaller block fit the cached one.
    const Buffer buffer(kDevice, (3 << 20) - 1000);
    EXPECT_EQ(buffer.data(), first);
  }
  EXPECT_EQ(memory_stats(kDevice).system_allocations, start.system_allocations + 1);
  release_cached_memory(kDevice);
  EXPECT_EQ(memory_stats(kDevice).reserved, start.reserved);
  const Buffer buffer(kDevice, 3 << 20);
  EXPECT_EQ(memory_stats(kDevice).system_allocations, start.system_allocations + 2);
}

TEST_F(Memory, RoundingWastesLessThanAnEighth) {
  for (std::size_t bytes = 1; bytes < (std::size_t{1} << 25); bytes += bytes / 3 + 77) {
    const std::size_t before = memory_stats(kDevice).in_use;
    const Buffer buffer(kDevice, bytes);
    const std::size_t taken = memory_stats(kDevice).in_use - before;
    EXPECT_GE(taken, bytes);
    EXPECT_LE(taken, bytes <= (1 << 20) ? bytes + 511 : bytes + bytes / 8) << bytes;
  }
}

TEST_F(Memory, MovesGiveUpTheirBlock) {
  Buffer a(kDevice, 1000);
  const void* data = a.data();
  Buffer b(std::move(a));
  EXPECT_EQ(b.data(), data);
  EXPECT_EQ(a.data(), nullptr);
  const std::size_t before = memory_stats(kDevice).in_use;
  b = Buffer(kDevice, 100);
  EXPECT_EQ(before - memory_stats(kDevice).in_use, 512u) << "the first block was given back";
  a = std::move(b);
  EXPECT_EQ(a.bytes(), 100u);
}

TEST_F(Memory, SaysWhatCannotBeHad) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "AddressSanitizer ends the program on an allocation of this size";
#endif
  const MemoryStats before = memory_stats(kDevice);
  expect_error<DeviceError>([] { Tensor::empty({std::int64_t{1} << 55}, DType::f32); },
                            {"out of memory", "cpu", "137438953472.0 MiB", "--batch"});
  EXPECT_EQ(memory_stats(kDevice).in_use, before.in_use);
  EXPECT_EQ(memory_stats(kDevice).reserved, before.reserved);
}

class MemoryOnPlacement : public EngineTest {};
DDPMTS_ON_EVERY_PLACEMENT(MemoryOnPlacement);

// A small network with every operation that a detector's training step has. What the first step makes to stay
// (gradients, packed weights) sits in blocks that the second step's activations must replace; then it is over.
TEST_P(MemoryOnPlacement, IdenticalStepsSoonAskTheSystemForNothing) {
  const Placement& where = GetParam();
  const Placement f32{device(), DType::f32};
  const ParameterList weights{random_parameter("stem", {8, 7, 7, 3}, where, 1, -0.1f, 0.1f),
                              random_parameter("conv", {8, 3, 3, 8}, where, 2, -0.1f, 0.1f),
                              random_parameter("head", {1, 1, 1, 8}, where, 3),
                              random_parameter("head_bias", {1}, f32, 4)};
  const BatchNormParameters norm{
      random_parameter("gamma", {8}, f32, 5, 0.5f, 1.5f), random_parameter("beta", {8}, f32, 6),
      random_parameter("mean", {8}, f32, 7, 0, 0, false), random_parameter("var", {8}, f32, 8, 1, 1, false)};
  ParameterList trained = weights;
  trained.insert(trained.end(), {norm.weight, norm.bias});
  OptimizerConfig config;
  config.average_decay = 0.99f;
  config.max_grad_norm = 1.0f;
  Optimizer optimizer(trained, config);
  const Tensor pictures = random_tensor({2, 36, 28, 3}, where, 9);
  const Tensor teacher = random_tensor({2, 9, 7, 8}, where, 10);
  const std::vector<std::uint8_t> ones(2 * 9 * 7, 1);
  const Tensor mask = Tensor::from_host<std::uint8_t>({2, 9, 7}, ones, device());

  const auto step = [&] {
    const Tensor h = max_pool_3x3_stride2(conv2d(pictures, weights[0], nullptr, {2, 3, 1}));
    const Tensor student =
        batch_norm(conv2d(h, weights[1], nullptr, {1, 1, 1}), norm, h, true, BatchNormMode::training);
    const FeaturePair features{{teacher}, {student}};
    const Tensor context = resize_bilinear(global_average_pool(student), 9, 7);
    const Tensor joined = concat_resized({feature_product(features), context}, 9, 7);
    const Tensor logits = conv2d(resize_bilinear(context, 9, 7), weights[2], weights[3], {});
    const LossTerm terms[] = {
        {cosine_loss(features), 1.0f},
        {segmentation_loss(logits, mask).total, 2.0f},
        {cosine_loss({{Tensor::zeros(joined.shape(), joined.type())}, {joined}}), 0.1f}};
    backward(terms);
    EXPECT_TRUE(optimizer.step(1e-3f).finite);
  };
  step();
  step();
  const MemoryStats before = memory_stats(device());
  reset_peak_memory(device());
  for (int i = 0; i < 4; ++i) step();
  const MemoryStats after = memory_stats(device());
  EXPECT_EQ(after.system_allocations, before.system_allocations);
  EXPECT_EQ(after.reserved, before.reserved);
  EXPECT_EQ(after.in_use, before.in_use) << "a step leaves nothing behind";
  EXPECT_GT(after.peak, after.in_use);
  EXPECT_LE(after.peak, after.reserved);
}

}  // namespace
}  // namespace ddpmts::test
