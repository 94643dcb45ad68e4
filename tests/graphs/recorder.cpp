// A stand-in for a GPU, to test graphs where there is none: what is enqueued runs at once on the CPU, by the CPU's kernels;
// what is captured is written down with its arguments as they are at that moment, and a replay runs that. So a replay is
// right only where everything that changes from step to step lies in memory, and where nothing else uses that memory.
// Linked before the engine's own engine/cuda or engine/no_cuda, whose functions it defines.
#include <cstring>
#include <vector>

#include "engine/cpu/primitives.h"
#include "engine/cuda/primitives.h"
#include "engine/error.h"
#include "engine/event_time.h"
#include "engine/graph_capture.h"
#include "engine/no_cuda/every_kernel.h"
#include "engine/profile.h"

namespace ddpmts::recorder {
namespace {

using Work = std::function<void()>;

thread_local std::unique_ptr<std::vector<Work>> recording;

void enqueue(Work work) { recording ? recording->push_back(std::move(work)) : work(); }

void require_no_recording(const char* what) {
  if (recording) throw_error<DeviceError>("cuda:0: {} is no part of a captured step", what);
}

}  // namespace
}  // namespace ddpmts::recorder

namespace ddpmts::kernels::cuda {

#define DDPMTS_RECORDED(name, Args)                          \
  void name(const Args& args, Stream) {                      \
    recorder::enqueue([args] { kernels::cpu::name(args); }); \
  }
DDPMTS_EVERY_KERNEL(DDPMTS_RECORDED)

}  // namespace ddpmts::kernels::cuda

namespace ddpmts::cuda {

using recorder::enqueue;

const bool kInThisBuild = true;

void conv_forward(int, const ConvShape& shape, const void* x, Parameter& weight, const ConvEpilogue& epilogue,
                  void* y) {
  enqueue([=, &weight] { cpu::conv_forward(shape, x, weight, epilogue, y); });
}
void conv_backward_data(int, const ConvShape& shape, const void* dy, Parameter& weight, void* dx) {
  enqueue([=, &weight] { cpu::conv_backward_data(shape, dy, weight, dx); });
}
void conv_backward_weights(int, const ConvShape& shape, const void* x, const void* dy, float* dw,
                           float* dbias) {
  enqueue([=] { cpu::conv_backward_weights(shape, x, dy, dw, dbias); });
}
void matmul(int, const MatmulShape& shape, const void* a, const void* b, const float* bias, void* c) {
  enqueue([=] { cpu::matmul(shape, a, b, bias, c); });
}
std::size_t attention_saved_bytes(const AttentionShape& shape) { return cpu::attention_saved_bytes(shape); }
void attention_forward(int, const AttentionShape& shape, const void* qkv, void* out, void* saved) {
  enqueue([=] { cpu::attention_forward(shape, qkv, out, saved); });
}
void attention_backward(int, const AttentionShape& shape, const void* qkv, const void* out, const void* saved,
                        const void* dout, void* dqkv) {
  enqueue([=] { cpu::attention_backward(shape, qkv, out, saved, dout, dqkv); });
}
std::size_t pool_workspace_bytes(const PoolShape& shape) { return cpu::pool_workspace_bytes(shape); }
void pool_forward(int, const PoolShape& shape, const void* x, void* y, void* workspace) {
  enqueue([=] { cpu::pool_forward(shape, x, y, workspace); });
}
void pool_backward(int, const PoolShape& shape, const void* dy, const void* workspace, void* dx) {
  enqueue([=] { cpu::pool_backward(shape, dy, workspace, dx); });
}

void require(int) {}
void synchronize(int) { recorder::require_no_recording("waiting for the device"); }
double event_seconds(int, const std::function<void()>&) { throw_error("the recorder keeps no time"); }
void profiled(int, const std::string&, const std::function<void()>& work) { work(); }
std::vector<std::string> report() { return {"a recorder"}; }
bool has_fast_bf16(int) { return cpu::has_fast_bf16(); }
std::string describe(int) { return "a recorder"; }
kernels::Stream current_stream(int) { return {}; }

// Memory that nobody wrote is no number, in f32 as in bf16.
void* allocate(int, std::size_t bytes) {
  void* data = cpu::allocate(bytes);
  if (data != nullptr) std::memset(data, 0xff, bytes);
  return data;
}
void release(int, void* data) { cpu::release(data); }
MemoryInfo memory_info(int) { return {}; }
void* allocate_pinned(int, std::size_t bytes) { return cpu::allocate(bytes); }
void release_pinned(int, void* data) noexcept { cpu::release(data); }
void copy(int, void* dst, bool dst_is_device, const void* src, bool src_is_device, std::size_t bytes) {
  if (!dst_is_device) recorder::require_no_recording("a copy of results to the host");
  if (!src_is_device) recorder::require_no_recording("a copy of host values to the device");
  enqueue([=] { std::memcpy(dst, src, bytes); });
}
void copy_pinned(int, void* dst, const void* src, std::size_t bytes, bool) {
  enqueue([=] { std::memcpy(dst, src, bytes); });
}
void zero(int, void* dst, std::size_t bytes) {
  enqueue([=] { std::memset(dst, 0, bytes); });
}

void begin_capture(int) {
  if (recorder::recording) throw_error<DeviceError>("cuda:0: this thread is capturing a graph already");
  recorder::recording = std::make_unique<std::vector<recorder::Work>>();
}
void* end_capture(int) { return recorder::recording.release(); }
void abandon_capture(int) noexcept { recorder::recording.reset(); }
void replay(int, void* graph) {
  for (const recorder::Work& work : *static_cast<std::vector<recorder::Work>*>(graph)) enqueue(work);
}
void destroy_graph(int, void* graph) noexcept { delete static_cast<std::vector<recorder::Work>*>(graph); }

}  // namespace ddpmts::cuda
