#include "engine/cpu/onednn_plans.h"

namespace ddpmts::cpu {
namespace {

using dnnl::memory;

dnnl::primitive_attr plain_attributes() {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attributes;
}

void append_relu(dnnl::post_ops& operations) {
#if DNNL_VERSION_MAJOR >= 3
  operations.append_eltwise(dnnl::algorithm::eltwise_relu, 0.0f, 0.0f);
#else
  operations.append_eltwise(1.0f, dnnl::algorithm::eltwise_relu, 0.0f, 0.0f);
#endif
}

#if DNNL_VERSION_MAJOR >= 3
// oneDNN 3: the primitive's description takes the engine and everything that an operation descriptor held.
template <class Primitive, class... Arguments>
typename Primitive::primitive_desc describe_primitive(const dnnl::primitive_attr& attributes,
                                                      const Arguments&... arguments) {
  return {onednn_engine(), arguments..., attributes};
}
template <class Primitive, class Hint, class... Arguments>
typename Primitive::primitive_desc describe_backward(const dnnl::primitive_attr& attributes,
                                                     const Hint& forward, const Arguments&... arguments) {
  return {onednn_engine(), arguments..., forward, attributes};
}
#else
template <class Primitive, class... Arguments>
typename Primitive::primitive_desc describe_primitive(const dnnl::primitive_attr& attributes,
                                                      const Arguments&... arguments) {
  return {typename Primitive::desc(arguments...), attributes, onednn_engine()};
}
template <class Primitive, class Hint, class... Arguments>
typename Primitive::primitive_desc describe_backward(const dnnl::primitive_attr& attributes,
                                                     const Hint& forward, const Arguments&... arguments) {
  return {typename Primitive::desc(arguments...), attributes, onednn_engine(), forward};
}
#endif

}  // namespace

memory::desc activation_desc(std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w, DType type,
                             memory::format_tag layout) {
  return {{n, c, h, w}, data_type(type), layout};
}

memory::desc weight_desc(const ConvShape& s, DType type, memory::format_tag layout) {
  return {{s.k, s.c, s.r, s.s}, data_type(type), layout};
}

memory::desc bias_desc(std::int64_t channels) {
  return {{channels}, memory::data_type::f32, memory::format_tag::a};
}

Plan make_conv_plan(const ConvShape& s, const ConvPlanOptions& options, memory::format_tag activations) {
  using dnnl::convolution_backward_data, dnnl::convolution_backward_weights, dnnl::convolution_forward;
  const auto algorithm = dnnl::algorithm::convolution_direct;
  const auto x = activation_desc(s.n, s.c, s.h, s.w, s.type, activations);
  const auto y = activation_desc(s.n, s.k, s.out_h(), s.out_w(), s.type, activations);
  const auto w = weight_desc(s, s.type, memory::format_tag::any);
  const memory::desc bias = options.bias ? bias_desc(s.k) : memory::desc();
  const memory::dims strides{s.stride, s.stride};
  const memory::dims dilations{s.dilation - 1, s.dilation - 1};
  const memory::dims padding{s.padding, s.padding};

  const dnnl::primitive_attr attributes = plain_attributes();
  dnnl::primitive_attr forward_attributes = plain_attributes();
  if (options.pass == ConvPass::forward) {
    dnnl::post_ops operations;
    if (options.accumulate) operations.append_sum(1.0f);
    if (options.relu) append_relu(operations);
    forward_attributes.set_post_ops(operations);
  }
  // The kernel for inference with a bias and an epilogue; the backward passes ask for the training one as a hint.
  const auto kind = options.pass == ConvPass::forward ? dnnl::prop_kind::forward_inference
                                                      : dnnl::prop_kind::forward_training;
  const auto forward = describe_primitive<convolution_forward>(forward_attributes, kind, algorithm, x, w,
                                                               bias, y, strides, dilations, padding, padding);
  switch (options.pass) {
    case ConvPass::forward:
      return {convolution_forward(forward), forward.weights_desc(), forward.scratchpad_desc(), {},
              forward.src_desc(),           forward.dst_desc()};
    case ConvPass::backward_data: {
      const auto backward = describe_backward<convolution_backward_data>(
          attributes, forward, algorithm, x, w, y, strides, dilations, padding, padding);
      return {convolution_backward_data(backward),
              backward.weights_desc(),
              backward.scratchpad_desc(),
              {},
              backward.diff_src_desc(),
              backward.diff_dst_desc()};
    }
    case ConvPass::backward_weights:
      break;
  }
  const auto dw = weight_desc(s, DType::f32, memory::format_tag::any);
  const auto backward = describe_backward<convolution_backward_weights>(
      attributes, forward, algorithm, x, dw, bias, y, strides, dilations, padding, padding);
  return {convolution_backward_weights(backward),
          backward.diff_weights_desc(),
          backward.scratchpad_desc(),
          {},
          backward.src_desc(),
          backward.diff_dst_desc()};
}

Plan make_pool_plan(const PoolShape& s, bool training, bool backward) {
  using dnnl::pooling_backward, dnnl::pooling_forward;
  const auto algorithm = s.kind == PoolKind::max       ? dnnl::algorithm::pooling_max
                         : s.kind == PoolKind::average ? dnnl::algorithm::pooling_avg_exclude_padding
                                                       : dnnl::algorithm::pooling_avg_include_padding;
  const auto x = activation_desc(s.n, s.c, s.h, s.w, s.type);
  const auto y = activation_desc(s.n, s.c, s.out_h(), s.out_w(), s.type);
  const memory::dims strides{s.stride, s.stride};
  const memory::dims window{s.window_h, s.window_w};
  // What the last window lacks on the right and below, given the rounded-down output size.
  const memory::dims begin{s.padding, s.padding};
  const memory::dims end{(s.out_h() - 1) * s.stride + s.window_h - s.h - s.padding,
                         (s.out_w() - 1) * s.stride + s.window_w - s.w - s.padding};
  const dnnl::primitive_attr attributes = plain_attributes();
  const auto kind =
      training || backward ? dnnl::prop_kind::forward_training : dnnl::prop_kind::forward_inference;
#if DNNL_VERSION_MAJOR >= 3
  const memory::dims dilations{0, 0};
  const auto forward = describe_primitive<pooling_forward>(attributes, kind, algorithm, x, y, strides, window,
                                                           dilations, begin, end);
#else
  const auto forward =
      describe_primitive<pooling_forward>(attributes, kind, algorithm, x, y, strides, window, begin, end);
#endif
  if (!backward) return {pooling_forward(forward), {}, forward.scratchpad_desc(), forward.workspace_desc()};
#if DNNL_VERSION_MAJOR >= 3
  const auto gradient = describe_backward<pooling_backward>(attributes, forward, algorithm, x, y, strides,
                                                            window, dilations, begin, end);
#else
  const auto gradient =
      describe_backward<pooling_backward>(attributes, forward, algorithm, x, y, strides, window, begin, end);
#endif
  return {pooling_backward(gradient), {}, gradient.scratchpad_desc(), forward.workspace_desc()};
}

Plan make_matmul_plan(const memory::desc& a, const memory::desc& b, const memory::desc& bias,
                      const memory::desc& c, bool accumulate) {
  dnnl::primitive_attr attributes = plain_attributes();
  if (accumulate) {
    dnnl::post_ops operations;
    operations.append_sum(1.0f);
    attributes.set_post_ops(operations);
  }
  const auto desc = describe_primitive<dnnl::matmul>(attributes, a, b, bias, c);
  return {dnnl::matmul(desc), {}, desc.scratchpad_desc(), {}};
}

}  // namespace ddpmts::cpu
