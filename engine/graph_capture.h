// Device work that is captured instead of run, and then run as often as wanted with one call: CUDA graphs.
#pragma once

#include "engine/memory.h"

namespace ddpmts {

/// What was captured, with the memory that it uses.
class CapturedGraph {
 public:
  CapturedGraph(Device device, std::unique_ptr<GraphMemory> memory, void* graph)
      : device_(device), memory_(std::move(memory)), graph_(graph) {}
  ~CapturedGraph();
  CapturedGraph(const CapturedGraph&) = delete;
  CapturedGraph& operator=(const CapturedGraph&) = delete;

  /// Enqueues all of it on the device's stream.
  void replay() const;
  std::size_t bytes() const { return memory_->bytes(); }

 private:
  Device device_;
  std::unique_ptr<GraphMemory> memory_;
  void* graph_;
};

/// While it lives, what this thread enqueues on the device is captured, not run, and what it allocates there belongs to the
/// graph. Other threads go on as before. Waiting for the device, and copies that host code must take part in, throw
/// DeviceError. Without finish() what was captured is dropped, and the stream is as it was.
class GraphCapture {
 public:
  /// Throws DeviceError where `device` is no GPU, or this thread captures already.
  explicit GraphCapture(Device device);
  ~GraphCapture();
  GraphCapture(const GraphCapture&) = delete;
  GraphCapture& operator=(const GraphCapture&) = delete;

  std::unique_ptr<CapturedGraph> finish();

 private:
  Device device_;
  std::unique_ptr<GraphMemory> memory_;
  std::unique_ptr<GraphMemory::Scope> scope_;
};

/// What a device does for the two above (engine/cuda/graph.cpp; without a GPU, for tests, tests/graphs/recorder.cpp).
namespace cuda {
void begin_capture(int device);
/// The captured work, ready to be run. The capture is over also where this throws.
void* end_capture(int device);
void abandon_capture(int device) noexcept;
void replay(int device, void* graph);
void destroy_graph(int device, void* graph) noexcept;
}  // namespace cuda

}  // namespace ddpmts
