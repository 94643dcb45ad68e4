// Pooling by our own kernels (pool_kernels.cu says why).
#include "engine/cuda/context.h"
#include "engine/cuda/device_kernels.h"
#include "engine/cuda/primitives.h"
#include "engine/memory.h"

namespace ddpmts::cuda {
namespace {

bool covers_map(const PoolShape& s) {
  return s.padding == 0 && s.window_h == s.h && s.window_w == s.w && s.out_h() == 1 && s.out_w() == 1;
}

}  // namespace

std::size_t pool_workspace_bytes(const PoolShape& s) {
  if (s.kind != PoolKind::max) return 0;
  return static_cast<std::size_t>(s.n * s.out_h() * s.out_w() * s.c) * pool_index_bytes(s);
}

void pool_forward(int device, const PoolShape& s, const void* x, void* y, void* workspace) {
  const ProfilerRange range("pool_forward");
  const kernels::Stream on = kernel_stream(device);
  if (s.kind == PoolKind::max) return max_pool_forward(s, x, y, workspace, on);
  if (!covers_map(s)) return average_pool_forward(s, x, y, on);
  RowSumsArgs args;
  args.type = args.dst_type = s.type;
  args.groups = s.n;
  args.rows = s.h * s.w;
  args.channels = s.c;
  args.scale = 1.0f / static_cast<float>(args.rows);
  args.src = x;
  args.dst = y;
  const Buffer partials(
      {DeviceType::cuda, device},
      static_cast<std::size_t>(row_sum_slices(args) * args.groups * args.channels) * sizeof(float));
  args.partials = static_cast<float*>(partials.data());
  row_sums(args, on);
}

void pool_backward(int device, const PoolShape& s, const void* dy, const void* workspace, void* dx) {
  const ProfilerRange range("pool_backward");
  const kernels::Stream on = kernel_stream(device);
  s.kind == PoolKind::max ? max_pool_backward(s, dy, workspace, dx, on)
                          : average_pool_backward(s, dy, dx, on);
}

}  // namespace ddpmts::cuda
