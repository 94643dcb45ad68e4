#include "bench/cases/onednn_conv.h"

#include <memory>
#include <unordered_map>
#include <vector>

#include "engine/cpu/onednn_plans.h"

namespace ddpmts::bench {
namespace {

using dnnl::memory;

// A primitive with everything that it reads and writes.
struct PlacedConv {
  cpu::Plan plan;
  std::vector<Buffer> buffers;
  std::unordered_map<int, memory> arguments;

  // Memory for an argument; values: what it holds at first, laid out as `plain`, or null for zeros.
  void place(int argument, const memory::desc& layout, const memory::desc& plain, const void* values) {
    const Buffer& buffer = buffers.emplace_back(Device{}, layout.get_size());
    fill_zero(buffer.data(), {}, layout.get_size());
    const memory placed = cpu::wrap(layout, buffer.data());
    if (values != nullptr) cpu::reorder(cpu::wrap(plain, values), placed);
    arguments.emplace(argument, placed);
  }
  void run() const {
    plan.primitive.execute(cpu::onednn_stream(), arguments);
    cpu::onednn_stream().wait();
  }
  Tensor result(int argument, const Tensor& like, DType type, const memory::desc& plain) const {
    const Tensor values = Tensor::empty(like.shape(), type, {});
    cpu::reorder(arguments.at(argument), cpu::wrap(plain, values.raw()));
    return values;
  }
};

}  // namespace

OnednnConv onednn_conv(const ConvShape& s, ConvPass pass, bool relu, const ConvTensors& tensors) {
  const bool is_forward = pass == ConvPass::forward;
  const auto conv = std::make_shared<PlacedConv>();
  conv->plan = cpu::make_conv_plan(
      s, {.pass = pass, .bias = pass != ConvPass::backward_data, .relu = is_forward && relu},
      memory::format_tag::any);
  const cpu::Plan& plan = conv->plan;
  const memory::desc x = cpu::activation_desc(s.n, s.c, s.h, s.w, s.type);
  const memory::desc y = cpu::activation_desc(s.n, s.k, s.out_h(), s.out_w(), s.type);
  const memory::desc w = cpu::weight_desc(s, s.type, memory::format_tag::ohwi);
  const memory::desc dw = cpu::weight_desc(s, DType::f32, memory::format_tag::ohwi);
  const memory::desc bias = cpu::bias_desc(s.k);
  conv->place(DNNL_ARG_SCRATCHPAD, plan.scratch, plan.scratch, nullptr);
  const std::function<void()> run = [conv] { conv->run(); };
  switch (pass) {
    case ConvPass::forward:
      conv->place(DNNL_ARG_SRC, plan.x, x, tensors.x.raw());
      conv->place(DNNL_ARG_WEIGHTS, plan.weights, w, tensors.w.raw());
      conv->place(DNNL_ARG_BIAS, bias, bias, tensors.bias.raw());
      conv->place(DNNL_ARG_DST, plan.y, y, nullptr);
      return {run, [=] { return conv->result(DNNL_ARG_DST, tensors.y, s.type, y); }};
    case ConvPass::backward_data:
      conv->place(DNNL_ARG_DIFF_DST, plan.y, y, tensors.y.raw());
      conv->place(DNNL_ARG_WEIGHTS, plan.weights, w, tensors.w.raw());
      conv->place(DNNL_ARG_DIFF_SRC, plan.x, x, nullptr);
      return {run, [=] { return conv->result(DNNL_ARG_DIFF_SRC, tensors.x, s.type, x); }};
    case ConvPass::backward_weights:
      break;
  }
  conv->place(DNNL_ARG_SRC, plan.x, x, tensors.x.raw());
  conv->place(DNNL_ARG_DIFF_DST, plan.y, y, tensors.y.raw());
  conv->place(DNNL_ARG_DIFF_WEIGHTS, plan.weights, dw, nullptr);
  conv->place(DNNL_ARG_DIFF_BIAS, bias, bias, nullptr);
  return {run, [=] { return conv->result(DNNL_ARG_DIFF_WEIGHTS, tensors.w, DType::f32, dw); }};
}

}  // namespace ddpmts::bench
