// Convolution and pooling by oneDNN (onednn_plans.h), but for convolutions that Winograd's algorithm does faster (winograd.h).
//
// Activations stay NHWC, where oneDNN 2.6 picks its AMX kernels. Weights are packed from KRSC into the layout
// that a kernel asks for (packed_weights.h).
#include "engine/cpu/primitives.h"

#include <omp.h>

#include <algorithm>
#include <cstring>

#include "engine/cpu/onednn_plans.h"
#include "engine/cpu/packed_weights.h"
#include "engine/cpu/winograd.h"
#include "kernels/launch.h"
#include "kernels/max_pool.h"

namespace ddpmts::cpu {
namespace {

using dnnl::memory;

std::string text(const ConvShape& s) {
  return fmt::format("convolution {}x{}x{}x{} {} -> {} channels, {}x{}, stride {}, padding {}, dilation {}",
                     s.n, s.h, s.w, s.c, name_of(s.type), s.k, s.r, s.s, s.stride, s.padding, s.dilation);
}

struct ConvKey {
  ConvShape shape;
  ConvPlanOptions options;
  bool operator==(const ConvKey&) const = default;
};

struct ConvKeyHash {
  std::size_t operator()(const ConvKey& key) const {
    const ConvShape& s = key.shape;
    const ConvPlanOptions& o = key.options;
    std::size_t seed = static_cast<std::size_t>(o.pass);
    for (const std::int64_t v :
         {s.n, s.h, s.w, s.c, s.k, s.r, s.s, s.stride, s.padding, s.dilation,
          static_cast<std::int64_t>(s.type), static_cast<std::int64_t>(o.bias),
          static_cast<std::int64_t>(o.accumulate), static_cast<std::int64_t>(o.relu)}) {
      hash_combine(seed, v);
    }
    return seed;
  }
};

const Plan& conv_plan(const ConvKey& key) {
  thread_local PlanCache<ConvKey, ConvKeyHash> cache;
  return cache.get(key, [&] {
    return checked([&] { return text(key.shape); }, [&] { return make_conv_plan(key.shape, key.options); });
  });
}

const void* onednn_weight(const ConvShape& shape, Parameter& weight, const memory::desc& wanted) {
  return packed_weight(weight, {PackedForm::Kind::onednn, wanted}, wanted.get_size(), [&](void* packed) {
    const auto plain = weight_desc(shape, shape.type, memory::format_tag::ohwi);
    reorder(wrap(plain, weight.compute(shape.type).raw()), wrap(wanted, packed));
  });
}

}  // namespace

void conv_forward(const ConvShape& s, const void* x, Parameter& weight, const ConvEpilogue& epilogue,
                  void* y) {
  if (uses_winograd(s, ConvPass::forward)) {
    winograd_forward(s, static_cast<const float*>(x), weight, epilogue, static_cast<float*>(y));
    return;
  }
  const ConvPlanOptions options{ConvPass::forward, epilogue.bias != nullptr, epilogue.residual != nullptr,
                                epilogue.relu};
  if (options.accumulate && epilogue.residual != y) {  // oneDNN adds to what the result holds
    std::memcpy(y, epilogue.residual,
                static_cast<std::size_t>(s.n * s.out_h() * s.out_w() * s.k) * size_of(s.type));
  }
  const Plan& plan = conv_plan({s, options});
  std::unordered_map<int, memory> args{
      {DNNL_ARG_SRC, wrap(plan.x, x)},
      {DNNL_ARG_WEIGHTS, wrap(plan.weights, onednn_weight(s, weight, plan.weights))},
      {DNNL_ARG_DST, wrap(plan.y, y)}};
  if (options.bias) args.emplace(DNNL_ARG_BIAS, wrap(bias_desc(s.k), epilogue.bias));
  checked([&] { return text(s); }, [&] { execute(plan, std::move(args)); });
}

void conv_backward_data(const ConvShape& s, const void* dy, Parameter& weight, void* dx) {
  if (uses_winograd(s, ConvPass::backward_data)) {
    winograd_backward_data(s, static_cast<const float*>(dy), weight, static_cast<float*>(dx));
    return;
  }
  const Plan& plan = conv_plan({s, {ConvPass::backward_data}});
  checked([&] { return text(s); },
          [&] {
            execute(plan, {{DNNL_ARG_DIFF_DST, wrap(plan.y, dy)},
                           {DNNL_ARG_WEIGHTS, wrap(plan.weights, onednn_weight(s, weight, plan.weights))},
                           {DNNL_ARG_DIFF_SRC, wrap(plan.x, dx)}});
          });
}

namespace {

// True where the filter's line `tap` of one axis lies on padding wherever the filter stands.
bool is_on_padding(const ConvShape& s, std::int64_t tap, std::int64_t size, std::int64_t out_size) {
  for (std::int64_t out = 0; out < out_size; ++out) {
    const std::int64_t in = out * s.stride - s.padding + tap * s.dilation;
    if (in >= 0 && in < size) return false;
  }
  return true;
}

// On maps smaller than the filter some taps see nothing but padding. Their gradient is 0; oneDNN 2.6.3 leaves there what its
// memory held before, in bf16 with stride 2 on a map of one pixel.
void zero_taps_on_padding(const ConvShape& s, float* dw) {
  for (std::int64_t r = 0; r < s.r; ++r) {
    const bool row = is_on_padding(s, r, s.h, s.out_h());
    for (std::int64_t t = 0; t < s.s; ++t) {
      if (!row && !is_on_padding(s, t, s.w, s.out_w())) continue;
      for (std::int64_t k = 0; k < s.k; ++k) std::fill_n(dw + ((k * s.r + r) * s.s + t) * s.c, s.c, 0.0f);
    }
  }
}

}  // namespace

void conv_backward_weights(const ConvShape& s, const void* x, const void* dy, float* dw, float* dbias) {
  const Plan& plan = conv_plan({s, {ConvPass::backward_weights, dbias != nullptr}});
  const Buffer packed({}, plan.weights.get_size());
  std::unordered_map<int, memory> args{{DNNL_ARG_SRC, wrap(plan.x, x)},
                                       {DNNL_ARG_DIFF_DST, wrap(plan.y, dy)},
                                       {DNNL_ARG_DIFF_WEIGHTS, wrap(plan.weights, packed.data())}};
  if (dbias != nullptr) args.emplace(DNNL_ARG_DIFF_BIAS, wrap(bias_desc(s.k), dbias));
  checked([&] { return text(s); },
          [&] {
            execute(plan, std::move(args));
            reorder(wrap(plan.weights, packed.data()),
                    wrap(weight_desc(s, DType::f32, memory::format_tag::ohwi), dw));
          });
  zero_taps_on_padding(s, dw);
}

namespace {

struct PoolKey {
  PoolShape shape;
  bool training = false;
  bool backward = false;
  bool operator==(const PoolKey&) const = default;
};

struct PoolKeyHash {
  std::size_t operator()(const PoolKey& key) const {
    const PoolShape& s = key.shape;
    std::size_t seed = static_cast<std::size_t>(s.kind);
    for (const std::int64_t v :
         {s.n, s.h, s.w, s.c, s.window_h, s.window_w, s.stride, s.padding, static_cast<std::int64_t>(s.type),
          static_cast<std::int64_t>(key.training), static_cast<std::int64_t>(key.backward)}) {
      hash_combine(seed, v);
    }
    return seed;
  }
};

std::string text(const PoolShape& s) {
  return fmt::format("pooling {}x{} of {}x{}x{}x{} {}", s.window_h, s.window_w, s.n, s.h, s.w, s.c,
                     name_of(s.type));
}

const Plan& pool_plan(const PoolKey& key) {
  thread_local PlanCache<PoolKey, PoolKeyHash> cache;
  return cache.get(key, [&] {
    return checked([&] { return text(key.shape); },
                   [&] { return make_pool_plan(key.shape, key.training, key.backward); });
  });
}

}  // namespace

std::size_t pool_workspace_bytes(const PoolShape& s) {
  return s.kind == PoolKind::max ? pool_plan({s, true, false}).workspace.get_size() : 0;
}

void pool_forward(const PoolShape& s, const void* x, void* y, void* workspace) {
  if (s.kind == PoolKind::max && workspace == nullptr) {  // oneDNN 2.6's takes twice as long
    kernels::cpu::max_pool({s.type, s.n, s.h, s.w, s.c, s.window_h, s.window_w, s.stride, s.padding,
                            s.out_h(), s.out_w(), x, y});
    return;
  }
  const Plan& plan = pool_plan({s, workspace != nullptr, false});
  std::unordered_map<int, memory> args{
      {DNNL_ARG_SRC, wrap(activation_desc(s.n, s.c, s.h, s.w, s.type), x)},
      {DNNL_ARG_DST, wrap(activation_desc(s.n, s.c, s.out_h(), s.out_w(), s.type), y)}};
  if (workspace != nullptr) args.emplace(DNNL_ARG_WORKSPACE, wrap(plan.workspace, workspace));
  checked([&] { return text(s); }, [&] { execute(plan, std::move(args)); });
}

void pool_backward(const PoolShape& s, const void* dy, const void* workspace, void* dx) {
  const Plan& plan = pool_plan({s, true, true});
  std::unordered_map<int, memory> args{
      {DNNL_ARG_DIFF_DST, wrap(activation_desc(s.n, s.c, s.out_h(), s.out_w(), s.type), dy)},
      {DNNL_ARG_DIFF_SRC, wrap(activation_desc(s.n, s.c, s.h, s.w, s.type), dx)}};
  if (workspace != nullptr) args.emplace(DNNL_ARG_WORKSPACE, wrap(plan.workspace, workspace));
  checked([&] { return text(s); }, [&] { execute(plan, std::move(args)); });
}

bool has_fast_bf16() {
  const dnnl::cpu_isa isa = dnnl::get_effective_cpu_isa();
  return isa == dnnl::cpu_isa::avx512_core_bf16 || isa == dnnl::cpu_isa::avx512_core_amx;
}

std::string describe() {
  const dnnl_version_t* version = dnnl_version();
  const char* isa = "without AVX-512 bf16";
  if (dnnl::get_effective_cpu_isa() == dnnl::cpu_isa::avx512_core_bf16) isa = "with AVX512_BF16";
  if (dnnl::get_effective_cpu_isa() == dnnl::cpu_isa::avx512_core_amx) isa = "with AMX";
  return fmt::format("{} threads, kernels for {}, oneDNN {}.{}.{} {}", omp_get_max_threads(),
                     kernels::name_of(kernels::cpu_isa()), version->major, version->minor, version->patch,
                     isa);
}

}  // namespace ddpmts::cpu
