#include "engine/ops.h"

#include "engine/primitives.h"
#include "kernels/batch_norm.h"
#include "kernels/resize_bilinear.h"

namespace ddpmts {
namespace {

void require_rank(const char* operation, const Tensor& x, int rank) {
  if (x.shape().rank() != rank) {
    throw_error<ShapeError>("{}: expected {} dimensions, found {}", operation, rank, x.shape().text());
  }
}

void require_float(const char* operation, const Tensor& x) {
  if (x.type() != DType::f32 && x.type() != DType::bf16) {
    throw_error<ShapeError>("{}: takes f32 or bf16, not {}", operation, name_of(x.type()));
  }
}

ConvShape conv_shape(const Tensor& x, const Shape& weight, const ConvOptions& options) {
  require_rank("conv2d", x, 4);
  require_float("conv2d", x);
  if (options.stride < 1 || options.padding < 0 || options.dilation < 1) {
    throw_error<ShapeError>("conv2d: stride {}, padding {}, dilation {}", options.stride, options.padding,
                            options.dilation);
  }
  const ConvShape shape{x.dim(0),  x.dim(1),       x.dim(2),        x.dim(3),         weight[0], weight[1],
                        weight[2], options.stride, options.padding, options.dilation, x.type()};
  if (weight.rank() != 4 || weight[3] != x.dim(3)) {
    throw_error<ShapeError>("conv2d: input {} does not fit a weight {} (out, height, width, in)",
                            x.shape().text(), weight.text());
  }
  if (shape.h + 2 * shape.padding <= shape.dilation * (shape.r - 1) ||
      shape.w + 2 * shape.padding <= shape.dilation * (shape.s - 1)) {
    throw_error<ShapeError>("conv2d: input {} is smaller than the filter {}", x.shape().text(),
                            weight.text());
  }
  return shape;
}

void require_bias(const char* operation, const Tensor& bias, const Shape& weight) {
  if (bias.shape() != Shape{weight[0]}) {
    throw_error<ShapeError>("{}: bias {} for a weight {}", operation, bias.shape().text(), weight.text());
  }
}

bool is_trained(const ParameterPtr& parameter) { return parameter && parameter->trainable(); }

bool wants_grad(const Tensor& x, const ParameterPtr& weight, const ParameterPtr& bias) {
  return grad_enabled() && (x.needs_grad() || is_trained(weight) || is_trained(bias));
}

}  // namespace

namespace {

void add_weight_gradients(const ConvShape& shape, const Tensor& x, const Tensor& dy,
                          const ParameterPtr& weight, const ParameterPtr& bias) {
  if (!is_trained(weight) && !is_trained(bias)) return;
  const Device device = x.device();
  Tensor dw = is_trained(weight) ? weight->grad_target() : Tensor::empty(weight->shape(), DType::f32, device);
  Tensor dbias = is_trained(bias) ? bias->grad_target() : Tensor();
  conv_backward_weights(device, shape, x.raw(), dy.raw(), dw.data<float>(),
                        dbias ? dbias.data<float>() : nullptr);
  if (is_trained(weight)) weight->commit_grad(dw);
  if (dbias) bias->commit_grad(dbias);
}

// conv2d into y. The residual may be y itself: then its node on the tape lies below the one recorded here, and the gradient
// is handed on from one to the other.
Tensor convolve(const Tensor& x, const ParameterPtr& weight, const ParameterPtr& bias, const ConvShape& shape,
                const Tensor& residual, Tensor y) {
  const Device device = x.device();
  ConvEpilogue epilogue;
  if (bias) epilogue.bias = bias->value().data<float>();
  if (residual) epilogue.residual = residual.raw();
  conv_forward(device, shape, x.raw(), *weight, epilogue, y.raw());
  const bool residual_needs_grad = residual.needs_grad();
  if (!wants_grad(x, weight, bias) && !(grad_enabled() && residual_needs_grad)) return y;

  const Tensor gradient_of_residual = residual_needs_grad ? residual : Tensor();
  record(y, [x, weight, bias, shape, gradient_of_residual, device](const Tensor& dy) {
    add_weight_gradients(shape, x, dy, weight, bias);
    if (x.needs_grad()) {
      Tensor dx = Tensor::empty(x.shape(), x.type(), device);
      conv_backward_data(device, shape, dy.raw(), *weight, dx.raw());
      add_grad(x, std::move(dx));
    }
    if (gradient_of_residual) add_grad(gradient_of_residual, dy);
  });
  return y;
}

Shape output_of(const ConvShape& shape) { return {shape.n, shape.out_h(), shape.out_w(), shape.k}; }

void require_residual(const char* operation, const Tensor& residual, const ConvShape& shape) {
  if (residual.shape() != output_of(shape) || residual.type() != shape.type) {
    throw_error<ShapeError>("{}: residual {} for an output {}", operation, residual.shape().text(),
                            output_of(shape).text());
  }
}

}  // namespace

Tensor conv2d(const Tensor& x, const ParameterPtr& weight, const ParameterPtr& bias,
              const ConvOptions& options, const Tensor& residual) {
  const ConvShape shape = conv_shape(x, weight->shape(), options);
  if (bias) require_bias("conv2d", bias->value(), weight->shape());
  if (residual) require_residual("conv2d", residual, shape);
  return convolve(x, weight, bias, shape, residual, Tensor::empty(output_of(shape), x.type(), x.device()));
}

Tensor conv2d_onto(const Tensor& residual, const Tensor& x, const ParameterPtr& weight,
                   const ParameterPtr& bias, const ConvOptions& options) {
  const ConvShape shape = conv_shape(x, weight->shape(), options);
  if (bias) require_bias("conv2d_onto", bias->value(), weight->shape());
  require_residual("conv2d_onto", residual, shape);
  if (residual.is_same(x)) throw_error<ShapeError>("conv2d_onto: the input cannot be written over");
  // A GPU's convolution may not write what it reads: there the sum gets memory of its own.
  Tensor y = x.device().is_cuda() ? Tensor::empty(residual.shape(), x.type(), x.device()) : residual;
  return convolve(x, weight, bias, shape, residual, std::move(y));
}

Tensor conv2d_fused(const Tensor& x, Parameter& weight, const Tensor& bias, const ConvOptions& options,
                    const Tensor& residual, bool relu) {
  const ConvShape shape = conv_shape(x, weight.shape(), options);
  if (bias) require_bias("conv2d_fused", bias, weight.shape());
  if (residual) require_residual("conv2d_fused", residual, shape);
  // On the CPU the sum is added to a residual in its place, unless others hold that or it is the input too.
  const bool in_place = residual && !x.device().is_cuda() && residual.is_sole_owner() && !residual.is_same(x);
  Tensor y = in_place ? residual : Tensor::empty(output_of(shape), x.type(), x.device());
  const ConvEpilogue epilogue{bias ? bias.data<float>() : nullptr, residual ? residual.raw() : nullptr, relu};
  conv_forward(x.device(), shape, x.raw(), weight, epilogue, y.raw());
  return y;
}

Tensor batch_norm(const Tensor& x, const BatchNormParameters& p, const Tensor& residual, bool relu,
                  BatchNormMode mode, float epsilon) {
  require_rank("batch_norm", x, 4);
  require_float("batch_norm", x);
  const std::int64_t channels = x.dim(3);
  for (const ParameterPtr& parameter : {p.weight, p.bias, p.running_mean, p.running_var}) {
    if (parameter->shape() != Shape{channels}) {
      throw_error<ShapeError>("batch_norm: {} has {} channels, the input {}", parameter->name(),
                              parameter->shape().text(), x.shape().text());
    }
  }
  if (residual && (residual.shape() != x.shape() || residual.type() != x.type())) {
    throw_error<ShapeError>("batch_norm: residual {} for an input {}", residual.shape().text(),
                            x.shape().text());
  }
  const bool training = mode == BatchNormMode::training;
  const Device device = x.device();
  Tensor y = Tensor::empty(x.shape(), x.type(), device);
  Tensor mean, rstd;
  kernels::BatchNormForwardArgs args;
  args.type = x.type();
  args.rows = x.count() / channels;
  args.channels = channels;
  args.x = x.raw();
  args.residual = residual ? residual.raw() : nullptr;
  args.y = y.raw();
  args.gamma = p.weight->value().data<float>();
  args.beta = p.bias->value().data<float>();
  args.relu = relu;
  args.training = training;
  args.epsilon = epsilon;
  args.running_mean = p.running_mean->value().data<float>();
  args.running_var = p.running_var->value().data<float>();
  if (training) {
    mean = Tensor::empty({channels}, DType::f32, device);
    rstd = Tensor::empty({channels}, DType::f32, device);
    args.saved_mean = mean.data<float>();
    args.saved_rstd = rstd.data<float>();
  }
  DDPMTS_LAUNCH(device, batch_norm_forward, args);
  if (training) {
    p.running_mean->changed();
    p.running_var->changed();
  }
  if (!wants_grad(x, p.weight, p.bias) && !(grad_enabled() && residual && residual.needs_grad())) return y;
  if (!training)
    throw_error<ShapeError>("batch_norm: {} is in inference mode and gives no gradient", p.weight->name());

  record(y, [x, y, residual, p, relu, mean, rstd, device](const Tensor& dy) {
    Tensor dx = Tensor::empty(x.shape(), x.type(), device);
    Tensor dresidual;
    Tensor dgamma = p.weight->grad_target();
    Tensor dbeta = p.bias->grad_target();
    kernels::BatchNormBackwardArgs back;
    back.type = x.type();
    back.channels = x.dim(3);
    back.rows = x.count() / x.dim(3);
    back.x = x.raw();
    back.y = y.raw();
    back.dy = dy.raw();
    back.dx = dx.raw();
    if (residual.needs_grad()) {
      dresidual = Tensor::empty(x.shape(), x.type(), device);
      back.dresidual = dresidual.raw();
    }
    back.gamma = p.weight->value().data<float>();
    back.saved_mean = mean.data<float>();
    back.saved_rstd = rstd.data<float>();
    back.dgamma = dgamma.data<float>();
    back.dbeta = dbeta.data<float>();
    back.relu = relu;
    DDPMTS_LAUNCH(device, batch_norm_backward, back);
    if (is_trained(p.weight)) p.weight->commit_grad(dgamma);
    if (is_trained(p.bias)) p.bias->commit_grad(dbeta);
    add_grad(x, std::move(dx));
    if (dresidual) add_grad(residual, std::move(dresidual));
  });
  return y;
}

namespace {

Tensor pool(const Tensor& x, const PoolShape& shape) {
  const Device device = x.device();
  Tensor y = Tensor::empty({shape.n, shape.out_h(), shape.out_w(), shape.c}, x.type(), device);
  const bool differentiable = grad_enabled() && x.needs_grad();
  Tensor workspace;
  if (differentiable && shape.kind == PoolKind::max) {
    workspace =
        Tensor::empty({static_cast<std::int64_t>(pool_workspace_bytes(device, shape))}, DType::u8, device);
  }
  pool_forward(device, shape, x.raw(), y.raw(), workspace ? workspace.raw() : nullptr);
  if (!differentiable) return y;
  record(y, [x, shape, workspace, device](const Tensor& dy) {
    Tensor dx = Tensor::empty(x.shape(), x.type(), device);
    pool_backward(device, shape, dy.raw(), workspace ? workspace.raw() : nullptr, dx.raw());
    add_grad(x, std::move(dx));
  });
  return y;
}

}  // namespace

Tensor max_pool_3x3_stride2(const Tensor& x) {
  require_rank("max_pool", x, 4);
  require_float("max_pool", x);
  return pool(x, {PoolKind::max, x.dim(0), x.dim(1), x.dim(2), x.dim(3), 3, 3, 2, 1, x.type()});
}

Tensor average_pool(const Tensor& x, std::int64_t window, std::int64_t stride, std::int64_t padding) {
  require_rank("average_pool", x, 4);
  require_float("average_pool", x);
  if (stride < 1 || padding < 0 || padding >= window || x.dim(1) + 2 * padding < window ||
      x.dim(2) + 2 * padding < window) {
    throw_error<ShapeError>("average_pool: window {}, stride {}, padding {} on {}", window, stride, padding,
                            x.shape().text());
  }
  return pool(x, {PoolKind::average_padded, x.dim(0), x.dim(1), x.dim(2), x.dim(3), window, window, stride,
                  padding, x.type()});
}

Tensor global_average_pool(const Tensor& x) {
  require_rank("global_average_pool", x, 4);
  require_float("global_average_pool", x);
  return pool(
      x, {PoolKind::average, x.dim(0), x.dim(1), x.dim(2), x.dim(3), x.dim(1), x.dim(2), 1, 0, x.type()});
}

Tensor concat_resized(const std::vector<Tensor>& inputs, std::int64_t h, std::int64_t w) {
  if (inputs.empty()) throw_error<ShapeError>("concat_resized: no inputs");
  if (h < 1 || w < 1) throw_error<ShapeError>("concat_resized: cannot resize to {} x {}", h, w);
  const Tensor& first = inputs.front();
  std::int64_t channels = 0;
  bool differentiable = false;
  for (const Tensor& x : inputs) {
    require_rank("concat_resized", x, 4);
    require_float("concat_resized", x);
    if (x.dim(0) != first.dim(0) || x.type() != first.type() || x.count() == 0) {
      throw_error<ShapeError>("concat_resized: {} and {} do not go together", first.shape().text(),
                              x.shape().text());
    }
    channels += x.dim(3);
    differentiable = differentiable || (grad_enabled() && x.needs_grad());
  }
  Tensor y = Tensor::empty({first.dim(0), h, w, channels}, first.type(), first.device());
  const auto slice_args = [h, w, channels](const Tensor& x, std::int64_t offset) {
    kernels::ResizeBilinearArgs args;
    args.type = x.type();
    args.n = x.dim(0);
    args.src_h = x.dim(1);
    args.src_w = x.dim(2);
    args.dst_h = h;
    args.dst_w = w;
    args.channels = x.dim(3);
    args.dst_channels = channels;
    args.dst_offset = offset;
    return args;
  };
  std::int64_t offset = 0;
  for (const Tensor& x : inputs) {
    kernels::ResizeBilinearArgs args = slice_args(x, offset);
    args.src = x.raw();
    args.dst = y.raw();
    DDPMTS_LAUNCH(x.device(), resize_bilinear_forward, args);
    offset += x.dim(3);
  }
  if (!differentiable) return y;
  record(y, [inputs, slice_args](const Tensor& dy) {
    std::int64_t start = 0;
    for (const Tensor& x : inputs) {
      if (x.needs_grad()) {
        Tensor dx = Tensor::empty(x.shape(), x.type(), x.device());
        kernels::ResizeBilinearArgs args = slice_args(x, start);
        args.d_dst = dy.raw();
        args.d_src = dx.raw();
        DDPMTS_LAUNCH(x.device(), resize_bilinear_backward, args);
        add_grad(x, std::move(dx));
      }
      start += x.dim(3);
    }
  });
  return y;
}

Tensor linear(const Tensor& x, const ParameterPtr& weight, const ParameterPtr& bias) {
  require_rank("linear", x, 2);
  require_float("linear", x);
  const std::int64_t rows = x.dim(0), in = x.dim(1), out = weight->shape()[0];
  if (weight->shape() != Shape{out, in}) {
    throw_error<ShapeError>("linear: input {} does not fit a weight {} (out, in)", x.shape().text(),
                            weight->shape().text());
  }
  if (bias) require_bias("linear", bias->value(), weight->shape());
  const Device device = x.device();
  const DType type = x.type();
  Tensor y = Tensor::empty({rows, out}, type, device);
  matmul(device, {rows, out, in, false, true, type, type}, x.raw(), weight->compute(type).raw(),
         bias ? bias->value().data<float>() : nullptr, y.raw());
  if (!wants_grad(x, weight, bias)) return y;
  record(y, [x, weight, bias, rows, in, out, device, type](const Tensor& dy) {
    // A linear layer is a 1×1 convolution of 1×1 pictures, whose weight gradient comes with the bias's.
    add_weight_gradients({rows, 1, 1, in, out, 1, 1, 1, 0, 1, type}, x, dy, weight, bias);
    if (x.needs_grad()) {
      Tensor dx = Tensor::empty(x.shape(), type, device);
      matmul(device, {rows, in, out, false, false, type, type}, dy.raw(), weight->compute(type).raw(),
             nullptr, dx.raw());
      add_grad(x, std::move(dx));
    }
  });
  return y;
}

}  // namespace ddpmts
