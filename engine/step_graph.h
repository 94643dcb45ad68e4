// A step that is done again and again: run as it is the first times, then captured as a graph and replayed.
//
// A replay repeats the device's work and nothing else: the same kernels with the same arguments at the same addresses. So
// whatever changes from one step to the next must lie in memory that the step reads when it runs: an ExchangeBlock that the
// host fills before each step. And what a step does on the host besides enqueueing (counters, draws, reading losses) stands
// around run(), not in it.
#pragma once

#include <functional>
#include <thread>

#include "engine/graph_capture.h"
#include "engine/parameter.h"

namespace ddpmts {

class StepGraph {
 public:
  /// Times that a step is run as it is before it is captured: the first makes what lasts (plans, packed weights, bf16
  /// copies), the second leaves the allocator's cache as every later step finds it.
  static constexpr int kPlainRuns = 2;

  /// changed: the parameters that a step changes. Their versions advance with every replay, and before the capture, so
  /// that copies which are made from them are made anew within the graph.
  explicit StepGraph(Device device, ParameterList changed = {});

  /// Runs work(), or replays what it did. On the CPU, where engine_settings().graphs is off, and while a trace watches
  /// single kernels, it always runs it. `key`: what the step depends on beside memory that it reads (shapes, stages, versions
  /// of what is frozen): when it is another than before, the graph is dropped and work() starts over. Enqueues; does not wait.
  /// Throws what work() throws; DeviceError, with the reason and with how to do without, where it cannot be captured.
  void run(const std::vector<std::int64_t>& key, const std::function<void()>& work);
  /// Drops the graph: something that it uses goes away.
  void forget();

  bool captured() const { return graph_ != nullptr; }
  std::int64_t captures() const { return captures_; }  ///< so far
  std::int64_t replays() const { return replays_; }

 private:
  void capture(const std::function<void()>& work);
  void replay();

  Device device_;
  ParameterList changed_;
  std::vector<std::int64_t> key_;
  std::thread::id thread_;  // that did the plain runs: plans and scratch memory are a thread's own
  int plain_runs_ = 0;
  std::unique_ptr<CapturedGraph> graph_;
  std::int64_t captures_ = 0, replays_ = 0;
};

}  // namespace ddpmts
