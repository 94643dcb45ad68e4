// The diffusion model's own kernels. Pictures of 64 pixels of their own, of any with --set size.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "bench/cases/tools.h"
#include "kernels/diffusion_math.h"
#include "kernels/forward_diffusion.h"
#include "kernels/noise_loss.h"
#include "kernels/reverse_step.h"
#include "kernels/time_embedding.h"

namespace ddpmts::bench {
namespace {

// Value e of a picture's noise, as the contracts say.
double noise_at(std::uint64_t seed, std::uint64_t step, std::size_t e) {
  const kernels::Philox random{seed, kernels::RandomStream::diffusion, step};
  const kernels::Float4 four = kernels::gaussians(random.bits(static_cast<std::uint32_t>(e / 4)));
  const float values[] = {four.x, four.y, four.z, four.w};
  return values[e % 4];
}

// Bytes: x_0 read, x_t and the f32 noise written.
Prepared prepare_forward_diffusion(Device device, DType type, std::int64_t n, std::int64_t size) {
  const Tensor x_0 = random_tensor({n, size, size, 3}, type, device, 1),
               x_t = Tensor::empty(x_0.shape(), type, device);
  const Tensor noise = Tensor::empty(x_0.shape(), DType::f32, device);
  const Tensor timesteps = Tensor::zeros({n}, DType::i32, device);
  const Tensor signal = Tensor::from_host<float>({1}, std::vector<float>{0.8f}, device);
  const Tensor spread = Tensor::from_host<float>({1}, std::vector<float>{0.6f}, device);
  kernels::ForwardDiffusionArgs args;
  args.type = type;
  args.n = n;
  args.count = size * size * 3;
  args.x_0 = x_0.raw();
  args.timesteps = timesteps.data<std::int32_t>();
  args.steps = 1;
  args.sqrt_alphas_cumprod = signal.data<float>();
  args.sqrt_one_minus_alphas_cumprod = spread.data<float>();
  args.seed = 5;
  args.x_t = x_t.raw();
  args.target = noise.data<float>();
  Prepared p;
  p.held = {x_0, x_t, noise, timesteps, signal, spread};
  p.bytes = bytes_of({x_0, x_t, noise});
  p.run = [=] { DDPMTS_LAUNCH(device, forward_diffusion, args); };
  p.check = [=, run = p.run] {
    run();
    const std::vector<float> in = x_0.to_floats();
    const auto count = static_cast<std::size_t>(args.count);
    return compare_at("x_t", x_t, rounding(type), [&](std::size_t i) {
      return double(0.8f) * double(in[i]) + double(0.6f) * noise_at(args.seed, i / count, i % count);
    });
  };
  return p;
}

// One ancestral step without a mask. Bytes: x read and written in f32, ε̂ read, the next input written.
Prepared prepare_reverse_step(Device device, DType type, std::int64_t n, std::int64_t size) {
  const Shape shape{n, size * size, 3};
  const Tensor start = random_tensor(shape, DType::f32, device, 1), x = start.clone();
  const Tensor prediction = random_tensor(shape, type, device, 2), next = Tensor::empty(shape, type, device);
  std::vector<kernels::ReverseStepCoefficients> steps(static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < steps.size(); ++i) {
    steps[i] = {.x_0_from_x = 1.1f,
                .x_0_from_prediction = 0.4f,
                .from_x_0 = 0.3f,
                .from_x = 0.7f,
                .sigma = 0.1f,
                .sigma_disturbed = 0.1f,
                .random_step = i};
  }
  std::vector<std::uint8_t> bytes(steps.size() * sizeof(steps[0]));
  std::memcpy(bytes.data(), steps.data(), bytes.size());
  const Tensor coefficients =
      Tensor::from_host<std::uint8_t>({static_cast<std::int64_t>(bytes.size())}, bytes, device);
  kernels::ReverseStepArgs args;
  args.type = type;
  args.n = n;
  args.pixels = shape[1];
  args.channels = 3;
  args.coefficients = static_cast<const kernels::ReverseStepCoefficients*>(coefficients.raw());
  args.seed = 6;
  args.x = x.data<float>();
  args.noise_prediction = prediction.raw();
  args.next_input = next.raw();
  Prepared p;
  p.held = {x, prediction, next, coefficients};
  p.bytes = 2.0 * bytes_of({x}) + bytes_of({prediction, next});
  p.run = [=] { DDPMTS_LAUNCH(device, reverse_step, args); };
  p.check = [=, run = p.run] {
    Tensor before = x;
    before.copy_from(start);
    run();
    const std::vector<float> x_t = start.to_floats(), e = prediction.to_floats();
    const auto count = static_cast<std::size_t>(args.pixels * args.channels);
    return compare_at("x", x, 2e-5, [&](std::size_t i) {
      const double x_0 = std::clamp(double(1.1f) * double(x_t[i]) - double(0.4f) * double(e[i]), -1.0, 1.0);
      return double(0.3f) * x_0 + double(0.7f) * double(x_t[i]) +
             double(0.1f) * noise_at(args.seed, i / count, i % count);
    });
  };
  return p;
}

// Bytes: prediction and noise read; backward writes the gradient too.
Prepared prepare_noise_loss(Device device, DType type, std::int64_t n, std::int64_t size, bool backward) {
  const Shape shape{n, size * size * 3};
  const Tensor prediction = random_tensor(shape, type, device, 1),
               noise = random_tensor(shape, DType::f32, device, 2);
  const Tensor per_picture = Tensor::empty({n}, DType::f32, device),
               loss = Tensor::empty({1}, DType::f32, device);
  const Tensor one = Tensor::from_host<float>({1}, std::vector<float>{1.0f}, device);
  const Tensor grad = Tensor::empty(shape, type, device);
  kernels::NoiseLossArgs args;
  args.type = type;
  args.n = n;
  args.count = shape[1];
  args.prediction = prediction.raw();
  args.noise = noise.data<float>();
  args.per_picture = per_picture.data<float>();
  args.loss = loss.data<float>();
  args.grad_loss = one.data<float>();
  args.prediction_grad = grad.raw();
  Prepared p;
  p.held = {prediction, noise, per_picture, loss, one, grad};
  p.bytes = bytes_of({prediction, noise}) + (backward ? bytes_of({grad}) : 0.0);
  p.traffic = backward ? Traffic::copy : Traffic::read;
  if (backward) {
    p.run = [=] { DDPMTS_LAUNCH(device, noise_loss_backward, args); };
  } else {
    p.run = [=] { DDPMTS_LAUNCH(device, noise_loss_forward, args); };
  }
  p.check = [=, run = p.run] {
    run();
    const std::vector<float> a = prediction.to_floats(), b = noise.to_floats();
    const double count = static_cast<double>(a.size());
    if (backward) {
      return compare_at("gradient", grad, rounding(type),
                        [&](std::size_t i) { return 2.0 * (double(a[i]) - double(b[i])) / count; });
    }
    double sum = 0.0;
    for (std::size_t i = 0; i < a.size(); ++i)
      sum += (double(a[i]) - double(b[i])) * (double(a[i]) - double(b[i]));
    return compare_all("loss", loss.to_floats(), {sum / count}, 1e-5);
  };
  return p;
}

// Bytes: the sinusoids of the UNet `s`, 64 channels a picture, written.
Prepared prepare_time_embedding(Device device, DType type, std::int64_t n, std::int64_t) {
  constexpr std::int64_t channels = 64;
  std::vector<std::int32_t> t(static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < t.size(); ++i) t[i] = static_cast<std::int32_t>(i * 997 % 1000);
  const Tensor timesteps = Tensor::from_host<std::int32_t>({n}, t, device),
               y = Tensor::empty({n, channels}, type, device);
  const kernels::TimeEmbeddingArgs args{type, n, channels, timesteps.data<std::int32_t>(), y.raw()};
  Prepared p;
  p.held = {timesteps, y};
  p.bytes = bytes_of({timesteps, y});
  p.run = [=] { DDPMTS_LAUNCH(device, time_embedding, args); };
  p.check = [=, run = p.run] {
    run();
    return compare_at("y", y, rounding(type), [&](std::size_t i) {
      const std::size_t c = i % channels, half = channels / 2;
      const double angle = t[i / channels] * std::exp(-std::log(10000.0) * double(c % half) / double(half));
      return c < half ? std::cos(angle) : std::sin(angle);
    });
  };
  return p;
}

}  // namespace

void add_diffusion_cases(const CasePlan& plan, Cases& cases) {
  Sweep sweep = plan.sweep();
  if (sweep.size.empty()) sweep.size = {64};
  const CasePlan small(plan.device(), sweep, plan.quick());
  add_sized(small, cases, "forward_diffusion", 30.0, true, prepare_forward_diffusion);
  add_sized(small, cases, "reverse_step", 40.0, true, prepare_reverse_step);
  for (const bool backward : {false, true}) {
    add_sized(small, cases, backward ? "noise_loss_backward" : "noise_loss_forward", 30.0, true,
              [=](Device device, DType type, std::int64_t n, std::int64_t size) {
                return prepare_noise_loss(device, type, n, size, backward);
              });
  }
  add_sized(small, cases, "time_embedding", 1.0, true, prepare_time_embedding);
}

}  // namespace ddpmts::bench
