// The primitives that the program asks oneDNN for. Everything that differs between oneDNN 2.x (operation descriptors) and 3.x
// is in onednn_plans.cpp.
#pragma once

#include "engine/cpu/onednn.h"
#include "engine/primitive_shapes.h"

namespace ddpmts::cpu {

/// [n, c, h, w] with the channels last, or in another layout.
dnnl::memory::desc activation_desc(std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w, DType type,
                                   dnnl::memory::format_tag layout = dnnl::memory::format_tag::nhwc);
dnnl::memory::desc weight_desc(const ConvShape& shape, DType type, dnnl::memory::format_tag layout);
dnnl::memory::desc bias_desc(std::int64_t channels);  ///< f32

struct ConvPlanOptions {
  ConvPass pass = ConvPass::forward;
  bool bias = false;        ///< forward: added; backward_weights: its gradient too
  bool accumulate = false;  ///< forward: adds to what the result holds
  bool relu = false;        ///< forward, last
  bool operator==(const ConvPlanOptions&) const = default;
};

/// Throw dnnl::error for what oneDNN does not have. activations: `any` leaves their layout to oneDNN.
Plan make_conv_plan(const ConvShape& shape, const ConvPlanOptions& options,
                    dnnl::memory::format_tag activations = dnnl::memory::format_tag::nhwc);
/// training: the forward pass fills the workspace that the backward pass needs.
Plan make_pool_plan(const PoolShape& shape, bool training, bool backward);
/// a [m, k] · b [k, n] (+ bias [1, n]) → c [m, n], or added to c.
Plan make_matmul_plan(const dnnl::memory::desc& a, const dnnl::memory::desc& b,
                      const dnnl::memory::desc& bias, const dnnl::memory::desc& c, bool accumulate);

}  // namespace ddpmts::cpu
