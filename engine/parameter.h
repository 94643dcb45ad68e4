// A trainable or running tensor with its name, its bf16 copy and its gradient.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/tensor.h"

namespace ddpmts {

/// Library-specific copies of a weight (oneDNN's blocked layouts), made on first use and remade when the
/// weight changes.
struct PackedWeights {
  virtual ~PackedWeights() = default;
};

/// One named tensor of a model. `value` is f32 and the truth; in bf16 training `compute` is its rounded copy,
/// which convolutions read and the optimiser rewrites.
class Parameter {
 public:
  Parameter(std::string name, const Shape& shape, bool trainable, Device device);

  const std::string& name() const { return name_; }
  const Shape& shape() const { return value_.shape(); }
  bool trainable() const { return trainable_; }
  bool decays() const { return shape().rank() > 1; }  ///< weight decay leaves biases and norms alone

  Tensor& value() { return value_; }
  const Tensor& value() const { return value_; }
  /// The weight in the type that activations have. The bf16 copy is made when first asked for, then kept up to date.
  const Tensor& compute(DType type);
  bool has_low_precision() const { return static_cast<bool>(low_precision_); }
  /// Makes the bf16 copy now instead of at its first use.
  void keep_low_precision() { compute(DType::bf16); }
  Tensor& low_precision() { return low_precision_; }

  /// Gradient buffer [shape] f32, allocated at first use; meaningful when has_grad().
  Tensor& grad();
  bool has_grad() const { return has_grad_; }
  void clear_grad() { has_grad_ = false; }
  /// Where an operation writes this parameter's gradient: the buffer itself the first time after clear_grad,
  /// else a temporary that commit_grad adds.
  Tensor grad_target();
  void commit_grad(const Tensor& target);

  /// Changes whenever the value does; packed copies compare it.
  std::int64_t version() const { return version_; }
  /// To be called after writing to value(): renews the bf16 copy and the version.
  void changed();
  /// To be called after a pass that wrote value() and the bf16 copy together (the optimiser).
  void changed_with_copy() { ++version_; }

  std::unique_ptr<PackedWeights> packed;  ///< owned cache of the device's primitives

 private:
  std::string name_;
  Tensor value_;
  Tensor low_precision_;
  Tensor grad_;
  bool trainable_;
  bool has_grad_ = false;
  std::int64_t version_ = 1;
};

using ParameterPtr = std::shared_ptr<Parameter>;
using ParameterList = std::vector<ParameterPtr>;

}  // namespace ddpmts
