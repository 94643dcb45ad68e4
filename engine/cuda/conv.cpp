// The three passes of a convolution: channels are padded here, a plan is taken, workspace is found.
//
// Tensor cores want 16-byte rows of channels: 8 bf16, 4 f32. Input, weight, gradient and bias are widened with zeros
// where a count is not such a multiple (the RGB stem, one-channel outputs), and results narrowed, here and nowhere else.
// A widened weight is kept with its parameter until that changes.
#include <list>
#include <mutex>

#include "engine/cuda/context.h"
#include "engine/cuda/conv_product.h"
#include "engine/cuda/device_kernels.h"
#include "engine/cuda/plan_cache.h"
#include "engine/cuda/primitives.h"
#include "engine/memory.h"
#include "engine/settings.h"

namespace ddpmts::cuda {
namespace {

std::int64_t widened(std::int64_t channels, DType type) {
  const std::int64_t step = static_cast<std::int64_t>(16 / size_of(type));
  return (channels + step - 1) / step * step;
}

ConvShape widened(ConvShape shape) {
  shape.c = widened(shape.c, shape.type);
  shape.k = widened(shape.k, shape.type);
  return shape;
}

Buffer buffer(int device, std::int64_t elements, DType type) {
  return {{DeviceType::cuda, device}, static_cast<std::size_t>(elements) * size_of(type)};
}

// An array of rows as the library sees it: widened into memory of its own where it must be.
class Widened {
 public:
  Widened(int device, DType type, std::int64_t rows, std::int64_t columns, std::int64_t wide,
          const void* data)
      : data_(data) {
    if (columns == wide || data == nullptr) return;
    wide_ = buffer(device, rows * wide, type);
    copy_rows({size_of(type), rows, columns, rows, wide, data, wide_.data()}, kernel_stream(device));
    data_ = wide_.data();
  }
  const void* data() const { return data_; }

 private:
  Buffer wide_;
  const void* data_;
};

// A result that is computed wide and narrowed by finish(), or written in place.
class Narrowed {
 public:
  Narrowed(int device, DType type, std::int64_t rows, std::int64_t columns, std::int64_t wide, void* data)
      : device_(device), type_(type), rows_(rows), columns_(columns), wide_columns_(wide), data_(data) {
    if (columns != wide) wide_ = buffer(device, rows * wide, type);
  }
  void* target() const { return wide_.data() != nullptr ? wide_.data() : data_; }
  void finish() const {
    if (wide_.data() == nullptr) return;
    copy_rows({size_of(type_), rows_, wide_columns_, rows_, columns_, wide_.data(), data_},
              kernel_stream(device_));
  }

 private:
  int device_;
  DType type_;
  std::int64_t rows_, columns_, wide_columns_;
  void* data_;
  Buffer wide_;
};

// A weight widened to [k', r, s, c'], per element type.
struct WidenedWeights : PackedWeights {
  struct Entry {
    DType type = DType::f32;
    Buffer data;
    std::int64_t version = 0;
  };
  std::list<Entry> entries;
  std::mutex mutex;  // several threads may inspect with one network
};

const void* weight_data(int device, const ConvShape& s, const ConvShape& wide, Parameter& weight) {
  static std::mutex creation;
  WidenedWeights* packed = nullptr;
  {
    const std::lock_guard lock(creation);
    if (!weight.packed) weight.packed = std::make_unique<WidenedWeights>();
    packed = static_cast<WidenedWeights*>(weight.packed.get());
  }
  const std::lock_guard lock(packed->mutex);
  const void* plain = weight.compute(s.type).raw();
  if (s.c == wide.c && s.k == wide.k) return plain;
  WidenedWeights::Entry* entry = nullptr;
  for (auto& candidate : packed->entries) {
    if (candidate.type == s.type) entry = &candidate;
  }
  if (entry == nullptr) {
    entry = &packed->entries.emplace_back(s.type, buffer(device, wide.k * s.r * s.s * wide.c, s.type), 0);
  }
  if (entry->version != weight.version()) {
    copy_rows({size_of(s.type), s.k * s.r * s.s, s.c, wide.k * s.r * s.s, wide.c, plain, entry->data.data()},
              kernel_stream(device));
    entry->version = weight.version();
  }
  return entry->data.data();
}

ConvPlanKey plan_key(int device, const ConvShape& shape, ConvPass pass, DType result) {
  const EngineSettings& settings = engine_settings();
  ConvPlanKey key;
  key.device = device;
  key.shape = shape;
  key.pass = pass;
  key.result = result;
  key.tf32 = settings.tf32 && shape.type == DType::f32;
  key.deterministic = settings.deterministic;
  key.autotune = settings.autotune && !settings.deterministic;
  key.workspace_limit = settings.workspace_limit;
  return key;
}

void run(const ConvPlan& plan, int device, const ConvPointers& pointers) {
  const Buffer workspace({DeviceType::cuda, device}, plan.graph->workspace_bytes());
  plan.graph->execute(cudnn_handle(device), pointers, workspace.data());
}

std::int64_t outputs(const ConvShape& s) { return s.n * s.out_h() * s.out_w(); }

// The forward pass on widened arrays.
void forward(const ConvPlanKey& key, const ConvPointers& pointers) {
  const ConvPlan& plan = conv_plan(key, pointers);
  if (plan.way == ConvWay::fused) return run(plan, key.device, pointers);

  const ConvShape& s = key.shape;
  const Buffer sum = buffer(key.device, outputs(s) * s.k, DType::f32);
  if (plan.way == ConvWay::unfused) {
    ConvPointers plain;
    plain.x = pointers.x;
    plain.w = pointers.w;
    plain.out = sum.data();
    run(plan, key.device, plain);
  } else {
    conv_product_forward(key, pointers.x, pointers.w, static_cast<float*>(sum.data()));
  }
  epilogue({s.type, outputs(s), s.k, static_cast<const float*>(sum.data()),
            static_cast<const float*>(pointers.bias), pointers.residual, key.relu, pointers.out},
           kernel_stream(key.device));
}

}  // namespace

void conv_forward(int device, const ConvShape& s, const void* x, Parameter& weight,
                  const ConvEpilogue& epilogue, void* y) {
  const ProfilerRange range("conv_forward");
  require_arithmetic(device, s.type);
  const ConvShape wide = widened(s);
  const std::int64_t rows = outputs(s);
  const Widened wide_x(device, s.type, s.n * s.h * s.w, s.c, wide.c, x);
  const Widened wide_bias(device, DType::f32, 1, s.k, wide.k, epilogue.bias);
  const Widened wide_residual(device, s.type, rows, s.k, wide.k, epilogue.residual);
  const Narrowed result(device, s.type, rows, s.k, wide.k, y);

  // A graph may not write what it reads.
  Buffer apart;
  const void* residual = wide_residual.data();
  if (residual != nullptr && residual == result.target()) {
    apart = buffer(device, rows * wide.k, s.type);
    copy(device, apart.data(), true, residual, true, apart.bytes());
    residual = apart.data();
  }

  ConvPlanKey key = plan_key(device, wide, ConvPass::forward, s.type);
  key.bias = epilogue.bias != nullptr;
  key.residual = residual != nullptr;
  key.relu = epilogue.relu;
  ConvPointers pointers;
  pointers.x = wide_x.data();
  pointers.w = weight_data(device, s, wide, weight);
  pointers.bias = wide_bias.data();
  pointers.residual = residual;
  pointers.out = result.target();
  forward(key, pointers);
  result.finish();
}

void conv_backward_data(int device, const ConvShape& s, const void* dy, Parameter& weight, void* dx) {
  const ProfilerRange range("conv_backward_data");
  require_arithmetic(device, s.type);
  const ConvShape wide = widened(s);
  const std::int64_t rows = s.n * s.h * s.w;
  const Widened wide_dy(device, s.type, outputs(s), s.k, wide.k, dy);
  const Narrowed result(device, s.type, rows, s.c, wide.c, dx);
  const ConvPlanKey key = plan_key(device, wide, ConvPass::backward_data, s.type);
  ConvPointers pointers;
  pointers.dy = wide_dy.data();
  pointers.w = weight_data(device, s, wide, weight);
  pointers.out = result.target();
  const ConvPlan& plan = conv_plan(key, pointers);
  if (plan.way == ConvWay::fused) {
    run(plan, device, pointers);
  } else {
    conv_product_backward_data(key, pointers.dy, pointers.w, pointers.out);
  }
  result.finish();
}

void conv_backward_weights(int device, const ConvShape& s, const void* x, const void* dy, float* dw,
                           float* dbias) {
  const ProfilerRange range("conv_backward_weights");
  require_arithmetic(device, s.type);
  const ConvShape wide = widened(s);
  const Widened wide_x(device, s.type, s.n * s.h * s.w, s.c, wide.c, x);
  const Widened wide_dy(device, s.type, outputs(s), s.k, wide.k, dy);
  const ConvPlanKey key = plan_key(device, wide, ConvPass::backward_weights, DType::f32);

  // dw is [k, r·s·c]: filters are widened along with channels.
  const bool in_place = wide.c == s.c && wide.k == s.k;
  const Buffer wide_dw = in_place ? Buffer() : buffer(device, wide.k * s.r * s.s * wide.c, DType::f32);
  ConvPointers pointers;
  pointers.x = wide_x.data();
  pointers.dy = wide_dy.data();
  pointers.out = in_place ? dw : wide_dw.data();
  const ConvPlan& plan = conv_plan(key, pointers);
  if (plan.way == ConvWay::fused) {
    run(plan, device, pointers);
  } else {
    conv_product_backward_weights(key, pointers.x, pointers.dy, static_cast<float*>(pointers.out));
  }
  if (!in_place) {
    copy_rows({sizeof(float), wide.k * s.r * s.s, wide.c, s.k * s.r * s.s, s.c, wide_dw.data(), dw},
              kernel_stream(device));
  }

  if (dbias == nullptr) return;
  RowSumsArgs sums;
  sums.type = s.type;
  sums.rows = outputs(s);
  sums.channels = s.k;
  sums.src = dy;
  sums.dst = dbias;
  const Buffer partials = buffer(device, row_sum_slices(sums) * s.k, DType::f32);
  sums.partials = static_cast<float*>(partials.data());
  row_sums(sums, kernel_stream(device));
}

}  // namespace ddpmts::cuda
