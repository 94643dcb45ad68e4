#include "engine/tensor.h"

#include <algorithm>

#include "kernels/elementwise.h"

namespace ddpmts {

Shape::Shape(std::span<const std::int64_t> extents) : rank_(static_cast<int>(extents.size())) {
  if (rank_ > kMaxRank)
    throw_error<ShapeError>("a tensor has at most {} dimensions, not {}", kMaxRank, rank_);
  for (std::size_t i = 0; i < extents.size(); ++i) {
    if (extents[i] < 0) throw_error<ShapeError>("a tensor extent cannot be {}", extents[i]);
    extents_[i] = extents[i];
  }
}

Shape::Shape(std::initializer_list<std::int64_t> extents)
    : Shape(std::span<const std::int64_t>(extents.begin(), extents.size())) {}

std::int64_t Shape::count() const {
  std::int64_t product = 1;
  for (const std::int64_t extent : extents()) {
    if (__builtin_mul_overflow(product, extent, &product)) {
      throw_error<ShapeError>("a tensor of shape {} has too many elements", text());
    }
  }
  return product;
}

std::string Shape::text() const { return fmt::format("[{}]", fmt::join(extents(), ", ")); }

Tensor Tensor::empty(const Shape& shape, DType type, Device device) {
  auto impl = std::make_shared<Impl>();
  impl->shape = shape;
  impl->count = shape.count();
  impl->type = type;
  std::int64_t bytes = 0;
  if (__builtin_mul_overflow(impl->count, static_cast<std::int64_t>(size_of(type)), &bytes)) {
    throw_error<ShapeError>("a tensor of shape {} has too many elements", shape.text());
  }
  impl->buffer = Buffer(device, static_cast<std::size_t>(bytes));
  return Tensor(std::move(impl));
}

Tensor Tensor::zeros(const Shape& shape, DType type, Device device) {
  Tensor tensor = empty(shape, type, device);
  fill_zero(tensor.raw(), device, tensor.bytes());
  return tensor;
}

std::vector<float> Tensor::to_floats() const {
  if (type() == DType::bf16) return cast(DType::f32).to_host<float>();
  return to_host<float>();
}

float Tensor::item() const {
  if (count() != 1) throw_error<ShapeError>("item() of a tensor of shape {}", shape().text());
  return to_floats()[0];
}

Tensor Tensor::cast(DType target) const {
  if (target == type()) return *this;
  for (const DType t : {type(), target}) {
    if (t != DType::f32 && t != DType::bf16) {
      throw_error<ShapeError>("cast goes between f32 and bf16, not from {} to {}", name_of(type()),
                              name_of(target));
    }
  }
  Tensor result = empty(shape(), target, device());
  kernels::CastArgs args;
  args.count = count();
  args.src_type = type();
  args.dst_type = target;
  args.src = raw();
  args.dst = result.raw();
  DDPMTS_LAUNCH(device(), cast, args);
  return result;
}

Tensor Tensor::to(Device target) const {
  if (target == device()) return *this;
  Tensor result = empty(shape(), type(), target);
  copy_bytes(result.raw(), target, raw(), device(), bytes());
  return result;
}

Tensor Tensor::clone() const {
  Tensor result = empty(shape(), type(), device());
  result.copy_from(*this);
  return result;
}

Tensor Tensor::slice(std::int64_t first, std::int64_t entries) const {
  if (shape().rank() < 1 || first < 0 || entries < 0 || first + entries > dim(0)) {
    throw_error<ShapeError>("slice: entries {} to {} of {}", first, first + entries, shape().text());
  }
  std::vector<std::int64_t> extents(shape().extents().begin(), shape().extents().end());
  extents[0] = entries;
  const Tensor result = empty(Shape(extents), type(), device());
  const std::size_t entry = dim(0) == 0 ? 0 : bytes() / static_cast<std::size_t>(dim(0));
  copy_bytes(result.raw(), device(),
             static_cast<const std::byte*>(raw()) + static_cast<std::size_t>(first) * entry, device(),
             result.bytes());
  return result;
}

void Tensor::copy_from(const Tensor& source) {
  if (source.shape() != shape() || source.type() != type()) {
    throw_error<ShapeError>("copy of {} {} into {} {}", name_of(source.type()), source.shape().text(),
                            name_of(type()), shape().text());
  }
  copy_bytes(raw(), device(), source.raw(), source.device(), bytes());
}

Tensor::Autograd& Tensor::autograd() const {
  if (!impl_->autograd) impl_->autograd = std::make_unique<Autograd>();
  return *impl_->autograd;
}

void Tensor::set_needs_grad() { autograd().needs_grad = true; }

Tensor Tensor::grad() const { return impl_->autograd ? Tensor(impl_->autograd->grad) : Tensor(); }

void Tensor::set_grad(Tensor gradient) const { autograd().grad = std::move(gradient.impl_); }

}  // namespace ddpmts
