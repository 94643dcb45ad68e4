#include "engine/parameter.h"

#include "kernels/elementwise.h"

namespace ddpmts {

Parameter::Parameter(std::string name, const Shape& shape, bool trainable, Device device)
    : name_(std::move(name)), value_(Tensor::zeros(shape, DType::f32, device)), trainable_(trainable) {}

const Tensor& Parameter::compute(DType type) {
  if (type == DType::f32) return value_;
  if (type != DType::bf16) throw_error<ShapeError>("parameter {} has no {} form", name_, name_of(type));
  if (!low_precision_) {
    const LastingMemory kept;
    low_precision_ = value_.cast(DType::bf16);
  }
  return low_precision_;
}

Tensor& Parameter::grad() {
  if (!grad_) grad_ = Tensor::empty(shape(), DType::f32, value_.device());
  return grad_;
}

Tensor Parameter::grad_target() {
  return has_grad_ ? Tensor::empty(shape(), DType::f32, value_.device()) : grad();
}

void Parameter::commit_grad(const Tensor& target) {
  if (!target.is_same(grad_)) {
    kernels::AddArgs args;
    args.count = grad_.count();
    args.a = grad_.raw();
    args.b = target.raw();
    args.out = grad_.raw();
    DDPMTS_LAUNCH(grad_.device(), add, args);
  }
  has_grad_ = true;
}

void Parameter::changed() {
  ++version_;
  if (!low_precision_) return;
  kernels::CastArgs args;
  args.count = value_.count();
  args.src = value_.raw();
  args.dst = low_precision_.raw();
  DDPMTS_LAUNCH(value_.device(), cast, args);
}

}  // namespace ddpmts
