#include "engine/autograd.h"

#include <utility>

#include "kernels/elementwise.h"

namespace ddpmts {
namespace {

struct Node {
  Tensor output;
  BackwardFunction backward;
};

thread_local std::vector<Node> tape;
thread_local bool recording = true;

}  // namespace

bool grad_enabled() { return recording; }

NoGrad::NoGrad() : previous_(std::exchange(recording, false)) {}
NoGrad::~NoGrad() { recording = previous_; }

void record(Tensor output, BackwardFunction backward) {
  output.set_needs_grad();
  tape.push_back({std::move(output), std::move(backward)});
}

void add_grad(const Tensor& tensor, Tensor gradient) {
  if (!tensor.needs_grad()) return;
  const Tensor existing = tensor.grad();
  if (!existing) {
    tensor.set_grad(std::move(gradient));
    return;
  }
  // A gradient handed to two inputs is shared, so the sum gets memory of its own.
  Tensor sum = Tensor::empty(tensor.shape(), tensor.type(), tensor.device());
  kernels::AddArgs args;
  args.type = tensor.type();
  args.count = tensor.count();
  args.a = existing.raw();
  args.b = gradient.raw();
  args.out = sum.raw();
  DDPMTS_LAUNCH(tensor.device(), add, args);
  tensor.set_grad(std::move(sum));
}

void backward(std::span<const LossTerm> terms) {
  for (const LossTerm& term : terms) {
    if (term.value.count() != 1 || term.value.type() != DType::f32 || !term.value.needs_grad()) {
      throw_error<ShapeError>("backward() needs single f32 values that depend on a parameter");
    }
  }
  for (const LossTerm& term : terms) {
    const Tensor weight = Tensor::empty(term.value.shape(), DType::f32, term.value.device());
    const kernels::FillValuesArgs args{1, term.weight, weight.data<float>()};
    DDPMTS_LAUNCH(weight.device(), fill_values, args);
    add_grad(term.value, weight);
  }
  while (!tape.empty()) {
    const Node node = std::move(tape.back());
    tape.pop_back();
    const Tensor gradient = node.output.grad();
    if (gradient) {
      node.output.set_grad(Tensor());
      node.backward(gradient);
    }
  }
}

void clear_tape() { tape.clear(); }

}  // namespace ddpmts
