// The CUDA device of a build without CUDA: every call says so.
#include "engine/cuda/primitives.h"

#include "engine/event_time.h"
#include "engine/graph_capture.h"
#include "engine/memory.h"
#include "engine/profile.h"

namespace ddpmts::cuda {
namespace {

[[noreturn]] void absent() {
  throw_error<DeviceError>(
      "this program was built without CUDA; use --device cpu, or build it where nvcc is installed");
}

}  // namespace

const bool kInThisBuild = false;

void conv_forward(int, const ConvShape&, const void*, Parameter&, const ConvEpilogue&, void*) { absent(); }
void conv_backward_data(int, const ConvShape&, const void*, Parameter&, void*) { absent(); }
void conv_backward_weights(int, const ConvShape&, const void*, const void*, float*, float*) { absent(); }
void matmul(int, const MatmulShape&, const void*, const void*, const float*, void*) { absent(); }
std::size_t attention_saved_bytes(const AttentionShape&) { absent(); }
void attention_forward(int, const AttentionShape&, const void*, void*, void*) { absent(); }
void attention_backward(int, const AttentionShape&, const void*, const void*, const void*, const void*,
                        void*) {
  absent();
}
std::size_t pool_workspace_bytes(const PoolShape&) { absent(); }
void pool_forward(int, const PoolShape&, const void*, void*, void*) { absent(); }
void pool_backward(int, const PoolShape&, const void*, const void*, void*) { absent(); }
void require(int) { absent(); }
void synchronize(int) { absent(); }
double event_seconds(int, const std::function<void()>&) { absent(); }
void profiled(int, const std::string&, const std::function<void()>&) { absent(); }
std::vector<std::string> report() { return {"not in this build"}; }
bool has_fast_bf16(int) { absent(); }
std::string describe(int) { absent(); }
kernels::Stream current_stream(int) { absent(); }

void* allocate(int, std::size_t) { absent(); }
void release(int, void*) { absent(); }
void copy(int, void*, bool, const void*, bool, std::size_t) { absent(); }
MemoryInfo memory_info(int) { absent(); }
void zero(int, void*, std::size_t) { absent(); }
void* allocate_pinned(int, std::size_t) { absent(); }
void release_pinned(int, void*) noexcept {}  // there is none
void copy_pinned(int, void*, const void*, std::size_t, bool) { absent(); }

void begin_capture(int) { absent(); }
void* end_capture(int) { absent(); }
void abandon_capture(int) noexcept {}  // there is none
void replay(int, void*) { absent(); }
void destroy_graph(int, void*) noexcept {}  // there is none

}  // namespace ddpmts::cuda
