// Streams and library handles.
//
// All work on a device goes to one stream, whichever thread enqueues it: a block that one thread gives back to the
// allocator can be handed to another at once, because whatever still reads it comes earlier in the same stream. Handles
// are a thread's own, as cuDNN asks.
#pragma once

#include <cuda_runtime_api.h>

#include "engine/primitives.h"

struct cudnnContext;

namespace ddpmts::cuda {

/// The device's stream, made at first use (non-blocking); for a thread that captures a graph, the stream it captures on. Makes
/// the device the calling thread's current one. Throws DeviceError with the whole reason where it cannot be used (availability.h).
cudaStream_t stream(int device);
inline kernels::Stream kernel_stream(int device) { return {stream(device)}; }

/// Leads stream() of the device that the calling thread is on to `to`; null: back to the device's own. For graph.cpp alone.
void redirect_stream(cudaStream_t to);
/// Whether the calling thread captures a graph.
bool capturing();
/// Throws DeviceError that names `what` while the calling thread captures a graph: it needs the host at every run.
void require_not_capturing(const char* what);

/// The calling thread's cuDNN handle, on stream(device).
cudnnContext* cudnn_handle(int device);

/// Compute capability of a usable device, 10·major + minor.
int compute_capability(int device);

/// Throws DeviceError, with the remedy, where `type` is bf16 and the GPU has no bf16 arithmetic (before sm_80).
void require_arithmetic(int device, DType type);

/// A range in the profiler's timeline, as long as it lives.
class ProfilerRange {
 public:
  explicit ProfilerRange(const char* name);
  ~ProfilerRange();
  ProfilerRange(const ProfilerRange&) = delete;
  ProfilerRange& operator=(const ProfilerRange&) = delete;
};

}  // namespace ddpmts::cuda
