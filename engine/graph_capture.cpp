#include "engine/graph_capture.h"

#include <utility>

#include "engine/error.h"

namespace ddpmts {

CapturedGraph::~CapturedGraph() { cuda::destroy_graph(device_.index, graph_); }

void CapturedGraph::replay() const { cuda::replay(device_.index, graph_); }

GraphCapture::GraphCapture(Device device) : device_(device), memory_(std::make_unique<GraphMemory>(device)) {
  if (!device.is_cuda()) throw_error<DeviceError>("{}: only a GPU's work can be captured", device.name());
  cuda::begin_capture(device.index);
  scope_ = std::make_unique<GraphMemory::Scope>(*memory_);
}

GraphCapture::~GraphCapture() {
  if (!scope_) return;
  scope_.reset();
  cuda::abandon_capture(device_.index);
}

std::unique_ptr<CapturedGraph> GraphCapture::finish() {
  scope_.reset();
  void* graph = cuda::end_capture(device_.index);
  return std::make_unique<CapturedGraph>(device_, std::move(memory_), graph);
}

}  // namespace ddpmts
