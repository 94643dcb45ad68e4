// CUDA graphs (engine/graph_capture.h).
//
// A thread captures on a stream of its own, to which stream(device) leads it meanwhile: nothing that another thread
// enqueues on the device's stream can get among it. The stream runs nothing itself; replays go to the device's stream and
// take their turn there.
//
// The capture's mode is "thread local": a call of this thread that would have to run at once (a synchronisation, a copy
// from pageable memory, cudaMalloc) is refused by CUDA and ends the capture with an error, instead of being left out of the
// graph. The one exception is the allocator, which asks to be let through (memory.cpp): memory is there at once, captured or
// not.
#include <mutex>

#include "engine/cuda/check.h"
#include "engine/cuda/context.h"
#include "engine/error.h"
#include "engine/graph_capture.h"

namespace ddpmts::cuda {
namespace {

// Streams to capture on, that no thread captures on now.
class IdleStreams {
 public:
  cudaStream_t take(int device) {
    const std::lock_guard lock(mutex_);
    std::vector<cudaStream_t>& idle = idle_[device];
    if (idle.empty()) {
      cudaStream_t made = nullptr;
      DDPMTS_CUDA_CHECK(cudaStreamCreateWithFlags(&made, cudaStreamNonBlocking));
      return made;
    }
    const cudaStream_t taken = idle.back();
    idle.pop_back();
    return taken;
  }
  void give_back(int device, cudaStream_t stream) {
    const std::lock_guard lock(mutex_);
    idle_[device].push_back(stream);
  }

 private:
  std::mutex mutex_;
  std::unordered_map<int, std::vector<cudaStream_t>> idle_;
};

// Never destroyed: the driver may be gone by then.
IdleStreams& idle_streams() {
  static auto* streams = new IdleStreams;
  return *streams;
}

// What this thread captured, or null; from here on the device's stream is its own again.
cudaError_t leave_capture(int device, cudaGraph_t* graph) {
  const cudaStream_t on = stream(device);
  redirect_stream(nullptr);
  const cudaError_t error = cudaStreamEndCapture(on, graph);
  idle_streams().give_back(device, on);
  return error;
}

cudaGraphExec_t executable(void* graph) { return static_cast<cudaGraphExec_t>(graph); }

}  // namespace

void begin_capture(int device) {
  stream(device);
  if (capturing()) throw_error<DeviceError>("cuda:{}: this thread is capturing a graph already", device);
  const cudaStream_t on = idle_streams().take(device);
  try {
    DDPMTS_CUDA_CHECK(cudaStreamBeginCapture(on, cudaStreamCaptureModeThreadLocal));
  } catch (...) {
    idle_streams().give_back(device, on);
    throw;
  }
  redirect_stream(on);
}

void* end_capture(int device) {
  cudaGraph_t graph = nullptr;
  check(leave_capture(device, &graph), "cudaStreamEndCapture", __FILE__, __LINE__);
  cudaGraphExec_t made = nullptr;
  const cudaError_t error = cudaGraphInstantiate(&made, graph, 0);
  DDPMTS_CUDA_REPORT(cudaGraphDestroy(graph));
  check(error, "cudaGraphInstantiate", __FILE__, __LINE__);
  const cudaError_t uploaded = cudaGraphUpload(made, stream(device));
  if (uploaded != cudaSuccess) DDPMTS_CUDA_REPORT(cudaGraphExecDestroy(made));
  check(uploaded, "cudaGraphUpload", __FILE__, __LINE__);
  return made;
}

void abandon_capture(int device) noexcept {
  cudaGraph_t graph = nullptr;
  // The error says again why the capture failed, which is being thrown already.
  if (leave_capture(device, &graph) != cudaSuccess) cudaGetLastError();
  if (graph != nullptr) DDPMTS_CUDA_REPORT(cudaGraphDestroy(graph));
}

void replay(int device, void* graph) {
  DDPMTS_CUDA_CHECK(cudaGraphLaunch(executable(graph), stream(device)));
}

// A graph that is still being run is freed when that is over.
void destroy_graph(int, void* graph) noexcept { DDPMTS_CUDA_REPORT(cudaGraphExecDestroy(executable(graph))); }

}  // namespace ddpmts::cuda
