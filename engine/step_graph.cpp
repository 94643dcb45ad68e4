#include "engine/step_graph.h"

#include "engine/primitive_trace.h"
#include "engine/settings.h"
#include "engine/time_trace.h"

namespace ddpmts {

StepGraph::StepGraph(Device device, ParameterList changed) : device_(device), changed_(std::move(changed)) {}

void StepGraph::run(const std::vector<std::int64_t>& key, const std::function<void()>& work) {
  if (!device_.is_cuda() || !engine_settings().graphs || TimeTrace::on() || PrimitiveTrace::on())
    return work();
  if (key != key_) {
    forget();
    key_ = key;
  }
  if (graph_) return replay();
  if (thread_ != std::this_thread::get_id()) {
    plain_runs_ = 0;
    thread_ = std::this_thread::get_id();
  }
  if (plain_runs_ < kPlainRuns) {
    work();
    ++plain_runs_;
    return;
  }
  capture(work);
  graph_->replay();
  ++replays_;
}

void StepGraph::replay() {
  graph_->replay();
  ++replays_;
  for (const ParameterPtr& parameter : changed_) parameter->changed_with_copy();
}

void StepGraph::capture(const std::function<void()>& work) {
  for (const ParameterPtr& parameter : changed_) parameter->changed_with_copy();
  try {
    GraphCapture capture(device_);
    work();
    graph_ = capture.finish();
  } catch (const std::exception& e) {
    plain_runs_ = 0;
    throw_error<DeviceError>("{}: a step could not be captured as a CUDA graph: {}; --no-graph does without",
                             device_.name(), e.what());
  }
  ++captures_;
}

void StepGraph::forget() {
  graph_.reset();
  plain_runs_ = 0;
}

}  // namespace ddpmts
