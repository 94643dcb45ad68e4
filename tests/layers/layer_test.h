// What the layers' tests share: a network with made-up weights and statistics, and ConvNorm in double precision.
#pragma once

#include "layers/conv_norm.h"
#include "tests/engine/gradient_check.h"
#include "tests/engine/reference.h"

namespace ddpmts::test {

/// A double-precision NHWC map.
struct DoubleMap {
  std::int64_t n = 1, h = 1, w = 1, c = 1;
  std::vector<double> values;
};

inline DoubleMap double_map(const Tensor& x) { return {x.dim(0), x.dim(1), x.dim(2), x.dim(3), doubles(x)}; }

/// Gives every parameter plausible values, as after some training: small filters, statistics away from 0 and 1.
inline void make_up_training(const ParameterList& parameters, DType type = DType::f32) {
  std::uint64_t step = 500;
  for (const ParameterPtr& p : parameters) {
    const std::int64_t count = p->shape().count();
    if (p->shape().rank() > 1) {
      const float bound = std::sqrt(6.0f / static_cast<float>(count / p->shape()[0]));
      set_values(*p, random_floats(count, ++step, -bound, bound));
    } else if (p->name().ends_with("running_var") || p->name().ends_with("weight")) {
      set_values(*p, random_floats(count, ++step, 0.5f, 1.5f));
    } else {
      set_values(*p, random_floats(count, ++step, -0.5f, 0.5f));
    }
    if (type == DType::bf16 && p->shape().rank() > 1) p->keep_low_precision();
  }
}

/// Moves every ReLU's input away from its kink, where a finite difference would be wrong: the norms' biases are 4,
/// and −4 for each third channel, and what is added to them stays smaller.
inline void avoid_kinks(const ParameterList& parameters) {
  for (const ParameterPtr& p : parameters) {
    const auto count = static_cast<std::size_t>(p->shape().count());
    if (p->shape().rank() != 1 || !p->trainable()) continue;
    std::vector<float> values = random_floats(p->shape().count(), 600, 0.4f, 0.8f);
    if (p->name().ends_with("bias")) {
      for (std::size_t i = 0; i < count; ++i) values[i] = i % 3 == 2 ? -4.0f : 4.0f;
    }
    set_values(*p, values);
  }
}

/// relu?(norm(conv(x)) + residual) by the running statistics.
inline DoubleMap conv_norm_reference(const ConvNorm& unit, const DoubleMap& x, bool relu,
                                     const DoubleMap* residual = nullptr) {
  const Shape& w = unit.weight()->shape();
  const ConvOptions& o = unit.options();
  const ConvShape s{x.n, x.h, x.w, x.c, w[0], w[1], w[2], o.stride, o.padding, o.dilation};
  const BatchNormParameters& norm = unit.norm();
  DoubleMap y{x.n, s.out_h(), s.out_w(), s.k,
              normalize(conv_reference(s, x.values, doubles(unit.weight()->value())),
                        doubles(norm.running_mean->value()), doubles(norm.running_var->value()),
                        doubles(norm.weight->value()), doubles(norm.bias->value()))};
  if (residual != nullptr) {
    for (std::size_t i = 0; i < y.values.size(); ++i) y.values[i] += residual->values[i];
  }
  if (relu) y.values = rectified(std::move(y.values));
  return y;
}

/// Leaves for check_gradients: x and everything that is trained.
inline std::vector<Leaf> leaves_of(const Tensor& x, const ParameterList& parameters) {
  std::vector<Leaf> leaves{leaf("x", x)};
  for (const ParameterPtr& p : parameters) {
    if (p->trainable()) leaves.push_back(leaf(p));
  }
  return leaves;
}

/// Through several layers in bf16, each rounds what it hands on.
inline double deep_tolerance(DType type) { return type == DType::bf16 ? 0x1p-5 : 2e-5; }

}  // namespace ddpmts::test
