// When a step is run, captured, replayed, captured anew; what a capture that fails leaves behind.
#include "engine/step_graph.h"

#include <thread>

#include "engine/exchange_block.h"
#include "engine/primitive_trace.h"
#include "engine/time_trace.h"
#include "kernels/elementwise.h"
#include "tests/graphs/graph_test.h"

namespace ddpmts::test {
namespace {

/// total += what the host has put into `amount`, through two tensors that are made on the way.
class Counter {
 public:
  std::function<void()> work() {
    return [this] {
      ++calls;
      amount.send();
      const Tensor copy = Tensor::empty({kCount}, DType::f32, kGpu);
      copy_bytes(copy.raw(), kGpu, amount.on_device<float>(), kGpu, copy.bytes());
      const Tensor sum = Tensor::empty({kCount}, DType::f32, kGpu);
      add(total, copy, sum);
      total.copy_from(sum);
    };
  }
  void add_of(float value) {
    for (float& each : amount.host<float>()) each = value;
  }
  std::vector<float> totals() const { return total.to_floats(); }

  static constexpr std::int64_t kCount = 1000;
  int calls = 0;
  ExchangeBlock amount{kGpu, kCount * sizeof(float)};
  Tensor total = Tensor::zeros({kCount}, DType::f32, kGpu);

 private:
  static void add(const Tensor& a, const Tensor& b, const Tensor& out) {
    kernels::AddArgs args;
    args.count = kCount;
    args.a = a.raw();
    args.b = b.raw();
    args.out = out.raw();
    DDPMTS_LAUNCH(kGpu, add, args);
  }
};

std::vector<float> all(float value) { return std::vector<float>(Counter::kCount, value); }

class StepGraphs : public ::testing::Test {
 protected:
  Graphs on_{true};
  Counter counter_;
};

TEST_F(StepGraphs, RunsTwiceThenReplaysWhatTheThirdTimeEnqueued) {
  StepGraph graph(kGpu);
  float expected = 0;
  for (int i = 1; i <= 6; ++i) {
    counter_.add_of(static_cast<float>(i));
    expected += static_cast<float>(i);
    graph.run({7}, counter_.work());
    spoil_free_memory();
    EXPECT_EQ(counter_.totals(), all(expected)) << i;
    EXPECT_EQ(graph.captured(), i > StepGraph::kPlainRuns);
    EXPECT_EQ(counter_.calls, std::min(i, StepGraph::kPlainRuns + 1));
    EXPECT_EQ(graph.replays(), std::max(0, i - StepGraph::kPlainRuns));
  }
  EXPECT_EQ(graph.captures(), 1);
}

TEST_F(StepGraphs, AnotherKeyStartsOver) {
  StepGraph graph(kGpu);
  counter_.add_of(1);
  const auto run = [&](std::int64_t key, int times) {
    for (int i = 0; i < times; ++i) graph.run({key}, counter_.work());
  };
  run(1, 4);
  EXPECT_TRUE(graph.captured());
  run(2, 1);
  EXPECT_FALSE(graph.captured());
  run(2, 3);
  EXPECT_EQ(graph.captures(), 2);
  run(1, 2);
  EXPECT_FALSE(graph.captured());
  graph.forget();
  run(1, 2);
  EXPECT_FALSE(graph.captured());
  EXPECT_EQ(counter_.totals(), all(12));
}

TEST_F(StepGraphs, WithoutGraphsEveryStepIsRun) {
  const Graphs off(false);
  StepGraph graph(kGpu);
  for (int i = 0; i < 5; ++i) graph.run({1}, counter_.work());
  EXPECT_EQ(counter_.calls, 5);
  EXPECT_FALSE(graph.captured());
}

TEST_F(StepGraphs, OnTheCpuEveryStepIsRun) {
  StepGraph graph{Device{}};
  int calls = 0;
  for (int i = 0; i < 5; ++i) graph.run({1}, [&] { ++calls; });
  EXPECT_EQ(calls, 5);
  expect_error<DeviceError>([] { GraphCapture{Device{}}; }, {"cpu", "only a GPU"});
}

TEST_F(StepGraphs, ATraceSeesEveryKernel) {
  StepGraph graph(kGpu);
  for (int i = 0; i < 4; ++i) graph.run({1}, counter_.work());
  const int calls = counter_.calls;
  {
    const TimeTrace trace;
    graph.run({1}, counter_.work());
    ASSERT_EQ(trace.parts().size(), 1u);
    EXPECT_STREQ(trace.parts()[0].name, "add");
  }
  {
    const PrimitiveTrace trace;
    graph.run({1}, counter_.work());
  }
  EXPECT_EQ(counter_.calls, calls + 2);
  graph.run({1}, counter_.work());
  EXPECT_EQ(counter_.calls, calls + 2) << "the graph is still there";
}

TEST_F(StepGraphs, ReplaysAdvanceTheVersionsOfWhatTheStepChanges) {
  const ParameterPtr parameter = std::make_shared<Parameter>("weight", Shape{3}, true, kGpu);
  StepGraph graph(kGpu, {parameter});
  for (int i = 0; i < StepGraph::kPlainRuns; ++i) graph.run({1}, counter_.work());
  const std::int64_t before = parameter->version();
  std::int64_t inside = 0;
  graph.run({1}, [&] {
    inside = parameter->version();
    counter_.work()();
  });
  EXPECT_GT(inside, before) << "copies of it are made anew within the graph";
  for (int i = 0; i < 3; ++i) {
    const std::int64_t last = parameter->version();
    graph.run({1}, counter_.work());
    EXPECT_GT(parameter->version(), last);
  }
}

TEST_F(StepGraphs, WhatNeedsTheHostIsRefusedByNameAndTheNextStepsRun) {
  const auto copy_in = [this] {
    counter_.work()();
    static_cast<void>(Tensor::from_host<float>({1}, std::vector<float>{1.0f}, kGpu));
  };
  const auto copy_out = [this] {
    counter_.work()();
    static_cast<void>(counter_.total.to_floats());
  };
  const auto wait = [this] {
    counter_.work()();
    synchronize(kGpu);
  };
  const auto last = [this] {
    counter_.work()();
    const LastingMemory kept;
    static_cast<void>(Tensor::empty({5}, DType::f32, kGpu));
  };
  const auto nested = [this] {
    counter_.work()();
    const GraphCapture second(kGpu);
  };
  const std::pair<std::function<void()>, const char*> cases[] = {
      {copy_in, "a copy of host values to the device"},
      {copy_out, "a copy of results to the host"},
      {wait, "waiting for the device"},
      {last, "that are to last"},
      {nested, "capturing a graph already"}};
  counter_.add_of(1);
  for (const auto& [work, reason] : cases) {
    SCOPED_TRACE(reason);
    StepGraph graph(kGpu);
    const std::vector<float> before = counter_.totals();
    for (int i = 0; i < StepGraph::kPlainRuns; ++i) graph.run({1}, counter_.work());
    expect_error<DeviceError>([&] { graph.run({1}, work); }, {"cuda:0", reason, "--no-graph"});
    EXPECT_FALSE(graph.captured());
    EXPECT_EQ(counter_.totals(), all(before[0] + 2)) << "what was captured must not have run";
    for (int i = 0; i < 4; ++i) graph.run({1}, counter_.work());
    EXPECT_TRUE(graph.captured());
    EXPECT_EQ(counter_.totals(), all(before[0] + 6));
  }
}

TEST_F(StepGraphs, ErrorsOfTheStepItselfAreTold) {
  StepGraph graph(kGpu);
  expect_error<ShapeError>([&] { graph.run({1}, [] { throw_error<ShapeError>("too small"); }); },
                           {"too small"});
  for (int i = 0; i < StepGraph::kPlainRuns; ++i) graph.run({1}, counter_.work());
  expect_error<DeviceError>([&] { graph.run({1}, [] { throw_error<ShapeError>("too large"); }); },
                            {"could not be captured", "too large"});
}

TEST_F(StepGraphs, MemoryOfAGraphIsKeptForItAndGivenBack) {
  release_cached_memory(kGpu);
  const std::size_t before = memory_stats(kGpu).in_use;
  {
    StepGraph graph(kGpu);
    for (int i = 0; i < 4; ++i) graph.run({1}, counter_.work());
    EXPECT_GE(memory_stats(kGpu).in_use, before + 2 * Counter::kCount * sizeof(float));
    const std::size_t asked = memory_stats(kGpu).system_allocations;
    for (int i = 0; i < 4; ++i) graph.run({1}, counter_.work());
    EXPECT_EQ(memory_stats(kGpu).system_allocations, asked);
  }
  EXPECT_EQ(memory_stats(kGpu).in_use, before);
}

TEST_F(StepGraphs, ATensorMayOutliveTheGraphThatMadeIt) {
  Tensor kept;
  {
    StepGraph graph(kGpu);
    for (int i = 0; i < 4; ++i) {
      graph.run({1}, [&] {
        counter_.work()();
        kept = counter_.total.clone();
      });
    }
    EXPECT_EQ(kept.to_floats(), counter_.totals());
  }
  const std::vector<float> values = kept.to_floats();
  spoil_free_memory();
  EXPECT_EQ(kept.to_floats(), values);
}

// A captured kernel reads a tensor that the step then lets go: nobody else may get its memory.
TEST_F(StepGraphs, WhatAStepReadsAndReleasesStaysWithTheGraph) {
  Tensor source = Tensor::from_host<float>({Counter::kCount}, all(3), kGpu);
  const Tensor target = Tensor::zeros({Counter::kCount}, DType::f32, kGpu);
  GraphCapture capture(kGpu);
  Tensor(target).copy_from(source);
  source = Tensor();
  const auto graph = capture.finish();
  EXPECT_GE(graph->bytes(), Counter::kCount * sizeof(float));
  spoil_free_memory();
  EXPECT_EQ(target.to_floats(), all(0));
  graph->replay();
  EXPECT_EQ(target.to_floats(), all(3));
}

TEST_F(StepGraphs, AnotherThreadWarmsUpForItself) {
  StepGraph graph(kGpu);
  counter_.add_of(1);
  graph.run({1}, counter_.work());
  graph.run({1}, counter_.work());
  std::thread([&] {
    const Graphs on(true);
    graph.run({1}, counter_.work());
    EXPECT_FALSE(graph.captured());
    graph.run({1}, counter_.work());
    graph.run({1}, counter_.work());
    EXPECT_TRUE(graph.captured());
  }).join();
  graph.run({1}, counter_.work());
  EXPECT_EQ(counter_.calls, 5);
  EXPECT_EQ(counter_.totals(), all(6));
}

// While one thread captures, another's work runs and is no part of the graph.
TEST_F(StepGraphs, OtherThreadsGoOnDuringACapture) {
  const Tensor other = Tensor::zeros({4}, DType::f32, kGpu);
  StepGraph graph(kGpu);
  counter_.add_of(1);
  graph.run({1}, counter_.work());
  graph.run({1}, counter_.work());
  graph.run({1}, [&] {
    counter_.work()();
    std::thread([&] {
      Tensor(other).copy_from(Tensor::from_host<float>({4}, std::vector<float>{1, 2, 3, 4}, kGpu));
      EXPECT_EQ(other.to_floats(), (std::vector<float>{1, 2, 3, 4}));
    }).join();
  });
  Tensor(other).copy_from(Tensor::zeros({4}, DType::f32, kGpu));
  graph.run({1}, counter_.work());
  EXPECT_EQ(other.to_floats(), std::vector<float>(4));
  EXPECT_EQ(counter_.totals(), all(4));
}

TEST(ExchangeBlocks, CarryValuesBothWays) {
  for (const Device device : {Device{}, kGpu}) {
    ExchangeBlock block(device, 3 * sizeof(float));
    ASSERT_EQ(block.host<float>().size(), 3u);
    EXPECT_EQ(block.host<float>()[2], 0.0f);
    block.host<float>()[1] = 5.0f;
    block.send();
    const Tensor copy = Tensor::empty({3}, DType::f32, device);
    copy_bytes(copy.raw(), device, block.on_device<float>(), device, copy.bytes());
    EXPECT_EQ(copy.to_floats(), (std::vector<float>{0, 5, 0}));
    const kernels::FillValuesArgs fill{3, 7.0f, block.on_device<float>()};
    DDPMTS_LAUNCH(device, fill_values, fill);
    block.fetch();
    ExchangeBlock moved = std::move(block);
    synchronize(device);
    for (const float value : moved.host<float>()) EXPECT_EQ(value, 7.0f);
    EXPECT_EQ(ExchangeBlock().bytes(), 0u);
  }
}

}  // namespace
}  // namespace ddpmts::test
