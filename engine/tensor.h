// Tensor: a shape, an element type and a block of device memory. NHWC for pictures and features, KRSC for
// convolution weights, always contiguous: no strides, no views.
#pragma once

#include <array>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/error.h"
#include "engine/launch.h"
#include "engine/memory.h"

namespace ddpmts {

/// Up to four extents, outermost first.
class Shape {
 public:
  static constexpr int kMaxRank = 4;

  Shape() = default;
  Shape(std::initializer_list<std::int64_t> extents);
  explicit Shape(std::span<const std::int64_t> extents);

  int rank() const { return rank_; }
  std::int64_t operator[](int i) const { return extents_[static_cast<std::size_t>(i)]; }
  std::int64_t count() const;
  std::span<const std::int64_t> extents() const { return {extents_.data(), static_cast<std::size_t>(rank_)}; }
  bool operator==(const Shape&) const = default;
  std::string text() const;  ///< "[8, 64, 64, 256]"

 private:
  std::array<std::int64_t, kMaxRank> extents_{};
  int rank_ = 0;
};

/// A handle: copies share the memory. An empty handle (`!tensor`) stands for "none".
class Tensor {
 public:
  Tensor() = default;

  /// Uninitialised memory. Throws ShapeError on a negative extent, DeviceError when there is no memory.
  static Tensor empty(const Shape& shape, DType type, Device device = {});
  static Tensor zeros(const Shape& shape, DType type, Device device = {});
  /// Copies host values; T is float, bf16, std::uint8_t or std::int32_t and decides the element type.
  template <class T>
  static Tensor from_host(const Shape& shape, std::span<const T> values, Device device = {});

  explicit operator bool() const { return impl_ != nullptr; }
  const Shape& shape() const { return impl_->shape; }
  std::int64_t dim(int i) const { return impl_->shape[i]; }
  std::int64_t count() const { return impl_->count; }
  DType type() const { return impl_->type; }
  Device device() const { return impl_->buffer.device(); }
  std::size_t bytes() const { return impl_->buffer.bytes(); }

  void* raw() const { return impl_->buffer.data(); }
  /// Typed pointer; throws ShapeError when T is not the element type.
  template <class T>
  T* data() const;

  /// The values on the host; bf16 is widened to float.
  std::vector<float> to_floats() const;
  template <class T>
  std::vector<T> to_host() const;
  /// The value of a one-element f32 tensor.
  float item() const;

  /// A new tensor of the other element type (f32 ↔ bf16); the same handle when nothing changes.
  Tensor cast(DType type) const;
  Tensor to(Device device) const;
  Tensor clone() const;
  /// Entries [first, first + count) of the outermost axis, copied. Throws ShapeError where there are none such.
  Tensor slice(std::int64_t first, std::int64_t count) const;
  void copy_from(const Tensor& source);  ///< same shape and type

  // --- autograd (engine/autograd.h) ---
  bool needs_grad() const { return impl_ && impl_->autograd && impl_->autograd->needs_grad; }
  void set_needs_grad();
  /// Gradient accumulated by backward() since the last set_grad(Tensor()); empty when none reached this tensor.
  Tensor grad() const;
  void set_grad(Tensor gradient) const;
  bool is_same(const Tensor& other) const { return impl_ == other.impl_; }
  /// True when no other handle shares the memory: an operation may then reuse it.
  bool is_sole_owner() const { return impl_.use_count() == 1; }

 private:
  struct Impl;
  struct Autograd {
    bool needs_grad = false;
    std::shared_ptr<Impl> grad;
  };
  struct Impl {
    Shape shape;
    std::int64_t count = 0;
    DType type = DType::f32;
    Buffer buffer;
    std::unique_ptr<Autograd> autograd;
  };
  explicit Tensor(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
  Autograd& autograd() const;

  std::shared_ptr<Impl> impl_;
};

template <class T>
constexpr DType dtype_of();
template <>
constexpr DType dtype_of<float>() {
  return DType::f32;
}
template <>
constexpr DType dtype_of<bf16>() {
  return DType::bf16;
}
template <>
constexpr DType dtype_of<std::uint8_t>() {
  return DType::u8;
}
template <>
constexpr DType dtype_of<std::int32_t>() {
  return DType::i32;
}

template <class T>
T* Tensor::data() const {
  if (dtype_of<T>() != type()) {
    throw_error<ShapeError>("a {} tensor {} was read as {}", name_of(type()), shape().text(),
                            name_of(dtype_of<T>()));
  }
  return static_cast<T*>(raw());
}

template <class T>
Tensor Tensor::from_host(const Shape& shape, std::span<const T> values, Device device) {
  if (static_cast<std::int64_t>(values.size()) != shape.count()) {
    throw_error<ShapeError>("{} values for a tensor of shape {}", values.size(), shape.text());
  }
  Tensor tensor = empty(shape, dtype_of<T>(), device);
  copy_bytes(tensor.raw(), device, values.data(), Device{}, values.size_bytes());
  return tensor;
}

template <class T>
std::vector<T> Tensor::to_host() const {
  std::vector<T> values(static_cast<std::size_t>(count()));
  copy_bytes(values.data(), Device{}, data<T>(), device(), bytes());
  return values;
}

}  // namespace ddpmts
