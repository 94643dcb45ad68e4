// One piece of work for a profiler that waits for the CUDA runtime's word.
#include "engine/profile.h"

#include <cuda_profiler_api.h>

#include "engine/cuda/check.h"
#include "engine/cuda/context.h"
#include "engine/cuda/primitives.h"

namespace ddpmts::cuda {
namespace {

// What a profiler records, as long as it lives.
class Recording {
 public:
  Recording() { DDPMTS_CUDA_CHECK(cudaProfilerStart()); }
  ~Recording() { DDPMTS_CUDA_REPORT(cudaProfilerStop()); }
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;
};

}  // namespace

void profiled(int device, const std::string& name, const std::function<void()>& work) {
  synchronize(device);
  const Recording recording;
  const ProfilerRange range(name.c_str());
  work();
  synchronize(device);
}

}  // namespace ddpmts::cuda
