// One piece of work for a profiler that waits to be told.
#pragma once

#include <functional>
#include <string>

#include "engine/device.h"

namespace ddpmts {

/// Runs work() once between cudaProfilerStart and cudaProfilerStop, in an NVTX range of that name, with the device idle before
/// and after: what `nsys profile --capture-range=cudaProfilerApi` and `ncu --profile-from-start off` record. On the CPU it
/// runs work() and nothing else. Throws DeviceError where the device cannot be used, and whatever work() throws, with the
/// recording stopped.
void profiled(Device device, const std::string& name, const std::function<void()>& work);

namespace cuda {
void profiled(int device, const std::string& name, const std::function<void()>& work);
}  // namespace cuda

}  // namespace ddpmts
