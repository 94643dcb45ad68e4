// The cuDNN graphs of the three passes of a convolution.
//
// Layout: activations NHWC and weights KRSC, told to cuDNN as dimensions in its N, C, H, W order with our strides.
// The sum is f32 in every pass; in a forward graph with an epilogue it stays virtual, so that bias, residual and
// ReLU are applied before the one rounding to the element type.
//
// cudnn-frontend calls cuDNN's functions directly; they are bound late, in cudnn_symbols.cpp.
#include "engine/cuda/conv_graph.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wpedantic"
#include <cudnn_frontend.h>
#pragma GCC diagnostic pop

#include <unordered_map>
#include <utility>

namespace ddpmts::cuda {
namespace {

namespace fe = cudnn_frontend;
using TensorPtr = std::shared_ptr<fe::graph::Tensor_attributes>;

enum Uid : std::int64_t { kX = 1, kW, kDy, kBias, kResidual, kOut };

fe::DataType_t data_type(DType type) {
  return type == DType::bf16 ? fe::DataType_t::BFLOAT16 : fe::DataType_t::FLOAT;
}

// [a, h, w, b] in memory, as cuDNN's (a, b, h, w).
fe::graph::Tensor_attributes channels_last(const char* name, Uid uid, std::int64_t a, std::int64_t h,
                                           std::int64_t w, std::int64_t b, DType type) {
  return fe::graph::Tensor_attributes()
      .set_name(name)
      .set_uid(uid)
      .set_dim({a, b, h, w})
      .set_stride({h * w * b, 1, w * b, b})
      .set_data_type(data_type(type));
}

template <class Attributes>
Attributes geometry(const ConvShape& s) {
  return Attributes()
      .set_padding({s.padding, s.padding})
      .set_stride({s.stride, s.stride})
      .set_dilation({s.dilation, s.dilation});
}

fe::graph::Pointwise_attributes pointwise(fe::PointwiseMode_t mode) {
  return fe::graph::Pointwise_attributes().set_mode(mode).set_compute_data_type(fe::DataType_t::FLOAT);
}

void describe(fe::graph::Graph& graph, const ConvPlanKey& key) {
  const ConvShape& s = key.shape;
  const std::int64_t p = s.out_h(), q = s.out_w();
  graph.set_io_data_type(data_type(s.type))
      .set_intermediate_data_type(fe::DataType_t::FLOAT)
      .set_compute_data_type(fe::DataType_t::FLOAT);
  const auto x = [&] { return graph.tensor(channels_last("x", kX, s.n, s.h, s.w, s.c, s.type)); };
  const auto w = [&] { return graph.tensor(channels_last("w", kW, s.k, s.r, s.s, s.c, s.type)); };
  const auto dy = [&] { return graph.tensor(channels_last("dy", kDy, s.n, p, q, s.k, s.type)); };

  TensorPtr out;
  fe::graph::Tensor_attributes layout;
  // No engine writes a gradient of bf16 products as f32 by itself, but several do with an identity behind it.
  const auto in_result_type = [&](const TensorPtr& gradient) {
    if (key.result == s.type) return gradient;
    gradient->set_dim(layout.get_dim()).set_stride(layout.get_stride());
    return graph.pointwise(gradient, pointwise(fe::PointwiseMode_t::IDENTITY));
  };
  switch (key.pass) {
    case ConvPass::forward: {
      layout = channels_last("y", kOut, s.n, p, q, s.k, key.result);
      out = graph.conv_fprop(x(), w(), geometry<fe::graph::Conv_fprop_attributes>(s));
      // Residual before bias: the order in which cuDNN's compiled fusions take them.
      if (key.residual) {
        const TensorPtr residual = graph.tensor(channels_last("residual", kResidual, s.n, p, q, s.k, s.type));
        out = graph.pointwise(out, residual, pointwise(fe::PointwiseMode_t::ADD));
      }
      if (key.bias) {
        const TensorPtr bias = graph.tensor(channels_last("bias", kBias, 1, 1, 1, s.k, DType::f32));
        out = graph.pointwise(out, bias, pointwise(fe::PointwiseMode_t::ADD));
      }
      if (key.relu) out = graph.pointwise(out, pointwise(fe::PointwiseMode_t::RELU_FWD));
      break;
    }
    case ConvPass::backward_data:
      layout = channels_last("dx", kOut, s.n, s.h, s.w, s.c, key.result);
      out = graph.conv_dgrad(dy(), w(), geometry<fe::graph::Conv_dgrad_attributes>(s));
      out = in_result_type(out);
      break;
    case ConvPass::backward_weights:
      layout = channels_last("dw", kOut, s.k, s.r, s.s, s.c, key.result);
      out = graph.conv_wgrad(dy(), x(), geometry<fe::graph::Conv_wgrad_attributes>(s));
      out = in_result_type(out);
      break;
  }
  out->set_output(true)
      .set_uid(kOut)
      .set_dim(layout.get_dim())
      .set_stride(layout.get_stride())
      .set_data_type(layout.get_data_type());
}

// Engines whose arithmetic is not what the key asks for.
std::vector<fe::NumericalNote_t> excluded_notes(const ConvPlanKey& key) {
  std::vector<fe::NumericalNote_t> notes;
  if (key.deterministic) notes.push_back(fe::NumericalNote_t::NONDETERMINISTIC);
  if (key.shape.type == DType::f32) {
    // The reference: f32 products, f32 sums, no transforms that cost digits.
    notes.insert(notes.end(), {fe::NumericalNote_t::REDUCED_PRECISION_REDUCTION, fe::NumericalNote_t::FFT,
                               fe::NumericalNote_t::WINOGRAD});
    if (!key.tf32) {
      notes.insert(notes.end(), {fe::NumericalNote_t::TENSOR_CORE, fe::NumericalNote_t::DOWN_CONVERT_INPUTS});
    }
  } else {
    notes.push_back(fe::NumericalNote_t::REDUCED_PRECISION_REDUCTION);
  }
  return notes;
}

bool says_unsupported(const fe::error_t& error) {
  return error.code == fe::error_code_t::GRAPH_NOT_SUPPORTED ||
         error.code == fe::error_code_t::GRAPH_EXECUTION_PLAN_CREATION_FAILED ||
         error.code == fe::error_code_t::HEURISTIC_QUERY_FAILED ||
         error.code == fe::error_code_t::CUDNN_BACKEND_API_FAILED;
}

[[noreturn]] void throw_device_error(const ConvPlanKey& key, const char* call, const fe::error_t& error) {
  throw_error<DeviceError>("cuDNN's {} failed on cuda:{} for the convolution {}: {}", call, key.device,
                           text(key), error.err_msg);
}

}  // namespace

struct ConvGraph::Parts {
  ConvPlanKey key;
  fe::graph::Graph graph;
  std::int64_t chosen = -1;
};

ConvGraph::ConvGraph(const ConvPlanKey& key, const GraphTarget& target) : parts_(std::make_unique<Parts>()) {
  parts_->key = key;
  fe::graph::Graph& graph = parts_->graph;
  describe(graph, key);
  if (!target.described_device.empty()) {
    auto properties = std::make_shared<fe::DeviceProperties>();
    const std::string& json = target.described_device;
    if (const auto error = properties->deserialize({json.begin(), json.end()}); error.is_bad()) {
      throw_device_error(key, "device description", error);
    }
    graph.set_device_properties(properties);
  }
  // A graph that is not well formed is a mistake here; one that cuDNN does not take is not.
  if (const auto error = graph.validate(); error.is_bad()) throw_device_error(key, "graph validation", error);
  const auto lowered =
      target.handle != nullptr ? graph.build_operation_graph(target.handle) : graph.build_operation_graph();
  const auto listed =
      lowered.is_good()
          ? graph.create_execution_plans({fe::HeurMode_t::A, fe::HeurMode_t::B, fe::HeurMode_t::FALLBACK})
          : lowered;
  if (says_unsupported(listed)) throw NotSupported(listed.err_msg);
  if (listed.is_bad()) throw_device_error(key, "heuristics", listed);
  graph.deselect_numeric_notes(excluded_notes(key)).deselect_workspace_greater_than(key.workspace_limit);
}

ConvGraph::~ConvGraph() = default;
ConvGraph::ConvGraph(ConvGraph&&) noexcept = default;
ConvGraph& ConvGraph::operator=(ConvGraph&&) noexcept = default;

std::int64_t ConvGraph::count() const { return parts_->graph.get_execution_plan_count(); }

std::string ConvGraph::name(std::int64_t candidate) const {
  std::string name;
  if (const auto error = parts_->graph.get_plan_name_at_index(candidate, name); error.is_bad()) {
    throw_device_error(parts_->key, "plan name", error);
  }
  return name;
}

bool ConvGraph::build(std::int64_t candidate) {
  return parts_->graph.build_plan_at_index(candidate).is_good();
}

void ConvGraph::build_first() {
  for (std::int64_t candidate = 0; candidate < count(); ++candidate) {
    if (!build(candidate)) continue;
    choose(candidate);
    return;
  }
  throw NotSupported("no engine is left under these settings");
}

void ConvGraph::choose(std::int64_t candidate) { parts_->chosen = candidate; }

std::size_t ConvGraph::workspace_bytes() const {
  std::int64_t bytes = 0;
  if (const auto error = parts_->graph.get_workspace_size_plan_at_index(parts_->chosen, bytes);
      error.is_bad()) {
    throw_device_error(parts_->key, "workspace query", error);
  }
  return static_cast<std::size_t>(bytes);
}

void ConvGraph::execute(cudnnContext* handle, const ConvPointers& pointers, void* workspace) const {
  std::unordered_map<std::int64_t, void*> pack;
  const auto add = [&pack](Uid uid, const void* data) {
    if (data != nullptr) pack.emplace(uid, const_cast<void*>(data));
  };
  add(kX, pointers.x);
  add(kW, pointers.w);
  add(kDy, pointers.dy);
  add(kBias, pointers.bias);
  add(kResidual, pointers.residual);
  add(kOut, pointers.out);
  const auto error = parts_->graph.execute_plan_at_index(handle, pack, workspace, parts_->chosen);
  if (error.is_bad()) throw_device_error(parts_->key, "execution", error);
}

}  // namespace ddpmts::cuda
