#include "engine/diffusion_ops.h"

#include "engine/primitives.h"
#include "kernels/forward_diffusion.h"
#include "kernels/group_norm.h"
#include "kernels/noise_loss.h"
#include "kernels/resample_2x.h"
#include "kernels/time_embedding.h"

namespace ddpmts {
namespace {

void require_map(const char* operation, const Tensor& x) {
  if (x.shape().rank() != 4) {
    throw_error<ShapeError>("{}: expected 4 dimensions, found {}", operation, x.shape().text());
  }
}

void require_float(const char* operation, const Tensor& x) {
  if (x.type() != DType::f32 && x.type() != DType::bf16) {
    throw_error<ShapeError>("{}: takes f32 or bf16, not {}", operation, name_of(x.type()));
  }
}

void require(const char* operation, const char* what, const Tensor& x, const Shape& shape, DType type) {
  if (x.shape() != shape || x.type() != type) {
    throw_error<ShapeError>("{}: {} must be {} {}, not {} {}", operation, what, name_of(type), shape.text(),
                            name_of(x.type()), x.shape().text());
  }
}

bool is_recorded(const Tensor& x) { return grad_enabled() && x.needs_grad(); }

}  // namespace

Tensor group_norm(const Tensor& x, const ParameterPtr& weight, const ParameterPtr& bias,
                  const GroupNormOptions& o) {
  require_map("group_norm", x);
  require_float("group_norm", x);
  const std::int64_t n = x.dim(0), channels = x.dim(3);
  if (o.groups < 1 || channels % o.groups != 0) {
    throw_error<ShapeError>("group_norm: {} channels in {} groups", channels, o.groups);
  }
  for (const ParameterPtr& parameter : {weight, bias}) {
    require("group_norm", parameter->name().c_str(), parameter->value(), Shape{channels}, DType::f32);
  }
  if (o.add) require("group_norm", "what is added", o.add, Shape{n, channels}, x.type());
  if (o.scale_shift)
    require("group_norm", "scale and shift", o.scale_shift, Shape{n, 2 * channels}, x.type());

  const bool recorded = grad_enabled() && (x.needs_grad() || weight->trainable() || bias->trainable() ||
                                           o.add.needs_grad() || o.scale_shift.needs_grad());
  const Device device = x.device();
  Tensor y = Tensor::empty(x.shape(), x.type(), device);
  Tensor mean, rstd;
  kernels::GroupNormForwardArgs args;
  args.type = x.type();
  args.n = n;
  args.pixels = x.dim(1) * x.dim(2);
  args.channels = channels;
  args.groups = o.groups;
  args.x = x.raw();
  args.add = o.add ? o.add.raw() : nullptr;
  args.scale_shift = o.scale_shift ? o.scale_shift.raw() : nullptr;
  args.gamma = weight->value().data<float>();
  args.beta = bias->value().data<float>();
  args.silu = o.silu;
  args.epsilon = o.epsilon;
  args.y = y.raw();
  if (recorded) {
    mean = Tensor::empty({n, o.groups}, DType::f32, device);
    rstd = Tensor::empty({n, o.groups}, DType::f32, device);
    args.saved_mean = mean.data<float>();
    args.saved_rstd = rstd.data<float>();
  }
  DDPMTS_LAUNCH(device, group_norm_forward, args);
  if (!recorded) return y;

  record(y, [x, weight, bias, o, mean, rstd, device](const Tensor& dy) {
    Tensor dx = Tensor::empty(x.shape(), x.type(), device);
    Tensor dadd = o.add ? Tensor::empty(o.add.shape(), x.type(), device) : Tensor();
    Tensor dscale_shift = o.scale_shift ? Tensor::empty(o.scale_shift.shape(), x.type(), device) : Tensor();
    Tensor dgamma = weight->grad_target();
    Tensor dbeta = bias->grad_target();
    kernels::GroupNormBackwardArgs back;
    back.type = x.type();
    back.n = x.dim(0);
    back.pixels = x.dim(1) * x.dim(2);
    back.channels = x.dim(3);
    back.groups = o.groups;
    back.x = x.raw();
    back.add = o.add ? o.add.raw() : nullptr;
    back.scale_shift = o.scale_shift ? o.scale_shift.raw() : nullptr;
    back.gamma = weight->value().data<float>();
    back.beta = bias->value().data<float>();
    back.silu = o.silu;
    back.saved_mean = mean.data<float>();
    back.saved_rstd = rstd.data<float>();
    back.dy = dy.raw();
    back.dx = dx.raw();
    back.dadd = dadd ? dadd.raw() : nullptr;
    back.dscale_shift = dscale_shift ? dscale_shift.raw() : nullptr;
    back.dgamma = dgamma.data<float>();
    back.dbeta = dbeta.data<float>();
    DDPMTS_LAUNCH(device, group_norm_backward, back);
    if (weight->trainable()) weight->commit_grad(dgamma);
    if (bias->trainable()) bias->commit_grad(dbeta);
    add_grad(x, std::move(dx));
    if (dadd) add_grad(o.add, std::move(dadd));
    if (dscale_shift) add_grad(o.scale_shift, std::move(dscale_shift));
  });
  return y;
}

Tensor silu(const Tensor& x) {
  require_float("silu", x);
  Tensor y = Tensor::empty(x.shape(), x.type(), x.device());
  kernels::SiluArgs args;
  args.type = x.type();
  args.count = x.count();
  args.x = x.raw();
  args.y = y.raw();
  DDPMTS_LAUNCH(x.device(), silu_forward, args);
  if (!is_recorded(x)) return y;
  record(y, [x, args](const Tensor& dy) {
    Tensor dx = Tensor::empty(x.shape(), x.type(), x.device());
    kernels::SiluArgs back = args;
    back.y = nullptr;
    back.dy = dy.raw();
    back.dx = dx.raw();
    DDPMTS_LAUNCH(x.device(), silu_backward, back);
    add_grad(x, std::move(dx));
  });
  return y;
}

namespace {

// One side of a change of resolution, and the other: spread makes the fine side, gather the coarse one.
void spread(const Tensor& coarse, float scale, const Tensor& fine) {
  const kernels::Resample2xArgs args{coarse.type(), coarse.dim(0), coarse.dim(1), coarse.dim(2),
                                     coarse.dim(3), scale,         coarse.raw(),  fine.raw()};
  DDPMTS_LAUNCH(coarse.device(), spread_2x, args);
}

void gather(const Tensor& fine, float scale, const Tensor& coarse) {
  const kernels::Resample2xArgs args{coarse.type(), coarse.dim(0), coarse.dim(1), coarse.dim(2),
                                     coarse.dim(3), scale,         fine.raw(),    coarse.raw()};
  DDPMTS_LAUNCH(coarse.device(), gather_2x, args);
}

}  // namespace

Tensor upsample_nearest_2x(const Tensor& x) {
  require_map("upsample_nearest_2x", x);
  require_float("upsample_nearest_2x", x);
  Tensor y = Tensor::empty({x.dim(0), 2 * x.dim(1), 2 * x.dim(2), x.dim(3)}, x.type(), x.device());
  spread(x, 1.0f, y);
  if (!is_recorded(x)) return y;
  record(y, [x](const Tensor& dy) {
    Tensor dx = Tensor::empty(x.shape(), x.type(), x.device());
    gather(dy, 1.0f, dx);
    add_grad(x, std::move(dx));
  });
  return y;
}

Tensor average_pool_2x(const Tensor& x) {
  require_map("average_pool_2x", x);
  require_float("average_pool_2x", x);
  if (x.dim(1) % 2 != 0 || x.dim(2) % 2 != 0) {
    throw_error<ShapeError>("average_pool_2x: height and width of {} must be even", x.shape().text());
  }
  Tensor y = Tensor::empty({x.dim(0), x.dim(1) / 2, x.dim(2) / 2, x.dim(3)}, x.type(), x.device());
  gather(x, 0.25f, y);
  if (!is_recorded(x)) return y;
  record(y, [x](const Tensor& dy) {
    Tensor dx = Tensor::empty(x.shape(), x.type(), x.device());
    spread(dy, 0.25f, dx);
    add_grad(x, std::move(dx));
  });
  return y;
}

Tensor attention(const Tensor& qkv, std::int64_t heads) {
  require_map("attention", qkv);
  require_float("attention", qkv);
  if (heads < 1 || qkv.dim(3) % (3 * heads) != 0 || qkv.count() == 0) {
    throw_error<ShapeError>("attention: {} does not hold queries, keys and values of {} heads",
                            qkv.shape().text(), heads);
  }
  const AttentionShape shape{qkv.dim(0), qkv.dim(1) * qkv.dim(2), heads, qkv.dim(3) / (3 * heads),
                             qkv.type()};
  const Device device = qkv.device();
  const bool recorded = is_recorded(qkv);
  Tensor y = Tensor::empty({qkv.dim(0), qkv.dim(1), qkv.dim(2), qkv.dim(3) / 3}, qkv.type(), device);
  Tensor saved;
  if (const std::size_t bytes = recorded ? attention_saved_bytes(device, shape) : 0; bytes > 0) {
    saved = Tensor::empty({static_cast<std::int64_t>(bytes)}, DType::u8, device);
  }
  attention_forward(device, shape, qkv.raw(), y.raw(), saved ? saved.raw() : nullptr);
  if (!recorded) return y;
  record(y, [qkv, y, saved, shape, device](const Tensor& dy) {
    Tensor dqkv = Tensor::empty(qkv.shape(), qkv.type(), device);
    attention_backward(device, shape, qkv.raw(), y.raw(), saved ? saved.raw() : nullptr, dy.raw(),
                       dqkv.raw());
    add_grad(qkv, std::move(dqkv));
  });
  return y;
}

Tensor dropout(const Tensor& x, float probability, std::uint64_t seed, std::uint64_t step,
               const std::uint64_t* step_offset) {
  require_float("dropout", x);
  if (!(probability >= 0.0f && probability < 1.0f)) {
    throw_error("dropout: the probability is {}; it must lie in [0, 1)", probability);
  }
  if (probability == 0.0f) return x;
  const auto apply = [probability, seed, step, step_offset](const Tensor& from) {
    Tensor to = Tensor::empty(from.shape(), from.type(), from.device());
    kernels::DropoutArgs args;
    args.type = from.type();
    args.count = from.count();
    args.probability = probability;
    args.seed = seed;
    args.step = step;
    args.step_offset = step_offset;
    args.x = from.raw();
    args.y = to.raw();
    DDPMTS_LAUNCH(from.device(), dropout, args);
    return to;
  };
  Tensor y = apply(x);
  if (is_recorded(x)) record(y, [x, apply](const Tensor& dy) { add_grad(x, apply(dy)); });
  return y;
}

NoiseLoss noise_loss(const Tensor& prediction, const Tensor& noise) {
  require_map("noise_loss", prediction);
  require_float("noise_loss", prediction);
  require("noise_loss", "noise", noise, prediction.shape(), DType::f32);
  const Device device = prediction.device();
  NoiseLoss result{Tensor::empty({1}, DType::f32, device),
                   Tensor::empty({prediction.dim(0)}, DType::f32, device)};
  kernels::NoiseLossArgs args;
  args.type = prediction.type();
  args.n = prediction.dim(0);
  args.count = prediction.count() / prediction.dim(0);
  args.prediction = prediction.raw();
  args.noise = noise.data<float>();
  args.per_picture = result.per_picture.data<float>();
  args.loss = result.total.data<float>();
  DDPMTS_LAUNCH(device, noise_loss_forward, args);
  if (!is_recorded(prediction)) return result;
  record(result.total, [prediction, noise, args, device](const Tensor& grad) {
    Tensor dprediction = Tensor::empty(prediction.shape(), prediction.type(), device);
    kernels::NoiseLossArgs back = args;
    back.per_picture = back.loss = nullptr;
    back.grad_loss = grad.data<float>();
    back.prediction_grad = dprediction.raw();
    DDPMTS_LAUNCH(device, noise_loss_backward, back);
    add_grad(prediction, std::move(dprediction));
  });
  return result;
}

Tensor time_embedding(const Tensor& timesteps, std::int64_t channels, DType type) {
  const std::int64_t n = timesteps.shape().count();
  require("time_embedding", "timesteps", timesteps, Shape{n}, DType::i32);
  if (channels < 2 || channels % 2 != 0) throw_error<ShapeError>("time_embedding: {} channels", channels);
  Tensor y = Tensor::empty({n, channels}, type, timesteps.device());
  require_float("time_embedding", y);
  const kernels::TimeEmbeddingArgs args{type, n, channels, timesteps.data<std::int32_t>(), y.raw()};
  DDPMTS_LAUNCH(y.device(), time_embedding, args);
  return y;
}

NoisedPictures forward_diffusion(const Tensor& x_0, const Tensor& timesteps, const DiffusionTables& tables,
                                 std::uint64_t seed, std::uint64_t first_sample, Prediction prediction,
                                 const std::uint64_t* sample_offset) {
  require_map("forward_diffusion", x_0);
  require_float("forward_diffusion", x_0);
  const std::int64_t n = x_0.dim(0), steps = tables.sqrt_alphas_cumprod.count();
  require("forward_diffusion", "timesteps", timesteps, Shape{n}, DType::i32);
  require("forward_diffusion", "the table of sqrt(1 - alphas_cumprod)", tables.sqrt_one_minus_alphas_cumprod,
          Shape{steps}, DType::f32);
  NoisedPictures result{Tensor::empty(x_0.shape(), x_0.type(), x_0.device()),
                        Tensor::empty(x_0.shape(), DType::f32, x_0.device())};
  kernels::ForwardDiffusionArgs args;
  args.type = x_0.type();
  args.n = n;
  args.count = x_0.count() / n;
  args.x_0 = x_0.raw();
  args.timesteps = timesteps.data<std::int32_t>();
  args.steps = steps;
  args.sqrt_alphas_cumprod = tables.sqrt_alphas_cumprod.data<float>();
  args.sqrt_one_minus_alphas_cumprod = tables.sqrt_one_minus_alphas_cumprod.data<float>();
  args.seed = seed;
  args.first_sample = first_sample;
  args.sample_offset = sample_offset;
  args.x_t = result.x_t.raw();
  args.target = result.target.data<float>();
  args.velocity = prediction == Prediction::velocity;
  DDPMTS_LAUNCH(x_0.device(), forward_diffusion, args);
  return result;
}

ReverseStepOutputs reverse_step(const Tensor& x, const Tensor& noise_prediction, const ReverseStep& step,
                                bool want_pictures) {
  require_map("reverse_step", x);
  if (static_cast<std::int64_t>(step.coefficients.size()) != x.dim(0)) {
    throw_error<ShapeError>("reverse_step: coefficients of {} pictures for {}", step.coefficients.size(),
                            x.dim(0));
  }
  const Device device = x.device();
  const Buffer coefficients = upload<kernels::ReverseStepCoefficients>(step.coefficients, device);
  ReverseStepOutputs result{Tensor::empty(x.shape(), noise_prediction.type(), device),
                            want_pictures ? Tensor::empty(x.shape(), DType::u8, device) : Tensor()};
  reverse_step(x, noise_prediction, step,
               static_cast<const kernels::ReverseStepCoefficients*>(coefficients.data()), result);
  return result;
}

void reverse_step(const Tensor& x, const Tensor& noise_prediction, const ReverseStep& step,
                  const kernels::ReverseStepCoefficients* coefficients, const ReverseStepOutputs& outputs) {
  require_map("reverse_step", x);
  require_float("reverse_step", noise_prediction);
  require("reverse_step", "x", x, noise_prediction.shape(), DType::f32);
  require("reverse_step", "next input", outputs.next_input, x.shape(), noise_prediction.type());
  if (outputs.pictures) require("reverse_step", "pictures", outputs.pictures, x.shape(), DType::u8);
  const std::int64_t n = x.dim(0);
  if (step.mask) require("reverse_step", "mask", step.mask, Shape{n, x.dim(1), x.dim(2)}, DType::u8);
  if (step.known) {
    if (!step.mask) throw_error<ShapeError>("reverse_step: a known picture needs a mask");
    require("reverse_step", "known picture", step.known, x.shape(), noise_prediction.type());
  }
  kernels::ReverseStepArgs args;
  args.type = noise_prediction.type();
  args.n = n;
  args.pixels = x.dim(1) * x.dim(2);
  args.channels = x.dim(3);
  args.coefficients = coefficients;
  args.seed = step.seed;
  args.x = x.data<float>();
  args.noise_prediction = noise_prediction.raw();
  args.mask = step.mask ? step.mask.data<std::uint8_t>() : nullptr;
  args.known = step.known ? step.known.raw() : nullptr;
  args.next_input = outputs.next_input.raw();
  args.pictures = outputs.pictures ? outputs.pictures.data<std::uint8_t>() : nullptr;
  DDPMTS_LAUNCH(x.device(), reverse_step, args);
}

}  // namespace ddpmts
