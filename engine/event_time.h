// How long a GPU itself is at work.
#pragma once

#include <functional>

namespace ddpmts::cuda {

/// Seconds between two events in the device's stream, one before and one after what work() enqueues there: the GPU's own time,
/// without the host's waiting for the end, with gaps where the GPU waited for the host. Returns when the work is done. Throws
/// DeviceError where the device cannot be used.
double event_seconds(int device, const std::function<void()>& work);

}  // namespace ddpmts::cuda
