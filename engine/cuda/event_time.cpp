#include "engine/event_time.h"

#include "engine/cuda/check.h"
#include "engine/cuda/context.h"

namespace ddpmts::cuda {
namespace {

class Event {
 public:
  Event() { DDPMTS_CUDA_CHECK(cudaEventCreate(&event_)); }
  ~Event() { DDPMTS_CUDA_REPORT(cudaEventDestroy(event_)); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  cudaEvent_t get() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

}  // namespace

double event_seconds(int device, const std::function<void()>& work) {
  const cudaStream_t on = stream(device);
  const Event start, end;
  DDPMTS_CUDA_CHECK(cudaEventRecord(start.get(), on));
  work();
  DDPMTS_CUDA_CHECK(cudaEventRecord(end.get(), on));
  DDPMTS_CUDA_CHECK(cudaEventSynchronize(end.get()));
  float milliseconds = 0.0f;
  DDPMTS_CUDA_CHECK(cudaEventElapsedTime(&milliseconds, start.get(), end.get()));
  return 1e-3 * static_cast<double>(milliseconds);
}

}  // namespace ddpmts::cuda
