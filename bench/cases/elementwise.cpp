// Plain per-element passes, and the optimiser's pass over all parameters.
#include "kernels/elementwise.h"

#include <cmath>

#include "bench/cases/tools.h"
#include "kernels/dropout.h"
#include "kernels/optimizer_step.h"
#include "kernels/philox.h"
#include "kernels/time_embedding.h"

namespace ddpmts::bench {
namespace {

// Bytes: f32 read, `type` written (for f32: bf16 written, the other direction of the same pass).
Prepared prepare_cast(Device device, DType type, std::int64_t n, const MapShape& map) {
  const bool narrows = type == DType::bf16;
  const Tensor x = random_tensor({n * map.count()}, narrows ? DType::f32 : DType::bf16, device, 1);
  const Tensor y = Tensor::empty(x.shape(), type, device);
  const kernels::CastArgs args{x.count(), x.type(), type, x.raw(), y.raw()};
  Prepared p;
  p.held = {x, y};
  p.bytes = bytes_of({x, y});
  p.run = [=] { DDPMTS_LAUNCH(device, cast, args); };
  p.check = [=, run = p.run] {
    run();
    const std::vector<float> in = x.to_floats();
    return compare_at("y", y, rounding(type), [&](std::size_t i) { return in[i]; });
  };
  return p;
}

// Bytes: two reads, one write. FLOPs: one addition an element.
Prepared prepare_add(Device device, DType type, std::int64_t n, const MapShape& map) {
  const Tensor a = random_tensor({n * map.count()}, type, device, 1),
               b = random_tensor(a.shape(), type, device, 2);
  const Tensor out = Tensor::empty(a.shape(), type, device);
  const kernels::AddArgs args{type, a.count(), a.raw(), b.raw(), out.raw()};
  Prepared p;
  p.held = {a, b, out};
  p.bytes = bytes_of({a, b, out});
  p.flops = static_cast<double>(a.count());
  p.run = [=] { DDPMTS_LAUNCH(device, add, args); };
  p.check = [=, run = p.run] {
    run();
    const std::vector<float> in_a = a.to_floats(), in_b = b.to_floats();
    return compare_at("out", out, rounding(type),
                      [&](std::size_t i) { return double(in_a[i]) + double(in_b[i]); });
  };
  return p;
}

// Bytes: three u8 read and three values written a pixel.
Prepared prepare_normalize(Device device, DType type, std::int64_t n, std::int64_t size) {
  const Tensor levels = random_levels({n, size, size, 3}, device, 1);
  const Tensor out = Tensor::empty(levels.shape(), type, device);
  kernels::NormalizeArgs args;
  args.type = type;
  args.pixels = levels.count() / 3;
  args.src = levels.data<std::uint8_t>();
  args.dst = out.raw();
  Prepared p;
  p.held = {levels, out};
  p.bytes = bytes_of({levels, out});
  p.run = [=] { DDPMTS_LAUNCH(device, normalize_pictures, args); };
  p.check = [=, run = p.run] {
    run();
    const std::vector<std::uint8_t> in = levels.to_host<std::uint8_t>();
    return compare_at("out", out, rounding(type), [&](std::size_t i) {
      return (in[i] / 255.0 - double(args.mean[i % 3])) / double(args.std[i % 3]);
    });
  };
  return p;
}

double logistic(double x) { return 1.0 / (1.0 + std::exp(-x)); }

// Bytes: forward one read, one write; backward two reads, one write.
Prepared prepare_silu(Device device, DType type, std::int64_t n, const MapShape& map, bool backward) {
  const Tensor x = random_tensor({n * map.count()}, type, device, 1, -6.0f, 6.0f);
  const Tensor dy = random_tensor(x.shape(), type, device, 2), out = Tensor::empty(x.shape(), type, device);
  kernels::SiluArgs args;
  args.type = type;
  args.count = x.count();
  args.x = x.raw();
  (backward ? args.dx : args.y) = out.raw();
  args.dy = backward ? dy.raw() : nullptr;
  Prepared p;
  p.held = {x, dy, out};
  p.bytes = backward ? bytes_of({x, dy, out}) : bytes_of({x, out});
  if (backward) {
    p.run = [=] { DDPMTS_LAUNCH(device, silu_backward, args); };
  } else {
    p.run = [=] { DDPMTS_LAUNCH(device, silu_forward, args); };
  }
  p.check = [=, run = p.run] {
    run();
    const std::vector<float> in = x.to_floats(), gradient = dy.to_floats();
    return compare_at(backward ? "dx" : "y", out, rounding(type), [&](std::size_t i) {
      const double v = in[i], s = logistic(v);
      return backward ? double(gradient[i]) * s * (1.0 + v * (1.0 - s)) : v * s;
    });
  };
  return p;
}

// Bytes: one read, one write.
Prepared prepare_dropout(Device device, DType type, std::int64_t n, const MapShape& map) {
  const Tensor x = random_tensor({n * map.count()}, type, device, 1),
               y = Tensor::empty(x.shape(), type, device);
  kernels::DropoutArgs args;
  args.type = type;
  args.count = x.count();
  args.probability = 0.1f;
  args.seed = 3;
  args.x = x.raw();
  args.y = y.raw();
  Prepared p;
  p.held = {x, y};
  p.bytes = bytes_of({x, y});
  p.run = [=] { DDPMTS_LAUNCH(device, dropout, args); };
  p.check = [=, run = p.run] {
    run();
    const std::vector<float> in = x.to_floats();
    const kernels::Philox random{args.seed, kernels::RandomStream::dropout, args.step};
    return compare_at("y", y, rounding(type), [&](std::size_t i) {
      const kernels::Uint4 block = random.bits(static_cast<std::uint32_t>(i / 4));
      const std::uint32_t words[] = {block.x, block.y, block.z, block.w};
      return kernels::uniform01(words[i % 4]) >= args.probability
                 ? double(in[i]) / (1.0 - double(args.probability))
                 : 0.0;
    });
  };
  return p;
}

// The parameters of about a fifth of a student: two of its largest convolutions.
constexpr std::int64_t kSlots = 2, kSlotValues = 512 * 3 * 3 * 512;

// Bytes of optimizer_step (AdamW with a bf16 copy and a moving average): reads value, gradient, two moments and average,
// writes all but the gradient and the 2-byte copy: 4·5 + 4·4 + 2 a value. gradient_norm: 4.
// FLOPs: not counted; the pass is bound by memory.
Prepared prepare_optimizer(Device device, bool norm_only) {
  Prepared p;
  std::vector<kernels::ParameterSlot> slots(kSlots);
  for (std::size_t i = 0; i < slots.size(); ++i) {
    const Tensor value = random_tensor({kSlotValues}, DType::f32, device, i);
    const Tensor grad = random_tensor({kSlotValues}, DType::f32, device, 10 + i);
    const Tensor first = Tensor::zeros({kSlotValues}, DType::f32, device), second = first.clone(),
                 average = value.clone();
    const Tensor copy = value.cast(DType::bf16);
    for (const Tensor& tensor : {value, grad, first, second, average, copy}) p.held.push_back(tensor);
    slots[i] = {kSlotValues,
                value.data<float>(),
                grad.data<float>(),
                first.data<float>(),
                second.data<float>(),
                copy.data<bf16>(),
                average.data<float>(),
                1.0f,
                0.01f};
  }
  const auto on_device = std::make_shared<Buffer>(upload<kernels::ParameterSlot>(slots, device));
  const auto* device_slots = static_cast<const kernels::ParameterSlot*>(on_device->data());
  const Tensor norm = Tensor::zeros({2}, DType::f32, device);
  p.held.push_back(norm);
  const double values = static_cast<double>(kSlots * kSlotValues);
  p.bytes = norm_only ? 4.0 * values : (4.0 * 5.0 + 4.0 * 4.0 + 2.0) * values;
  p.footprint = norm_only ? 4.0 * values : (4.0 * 5.0 + 2.0) * values;
  p.traffic = norm_only ? Traffic::read : Traffic::update;
  if (norm_only) {
    const kernels::GradientNormArgs args{device_slots, kSlots, norm.data<float>()};
    p.run = [=, held = on_device] { DDPMTS_LAUNCH(device, gradient_norm, args); };
    p.check = [=, run = p.run, held = p.held] {
      run();
      double square = 0.0;
      for (std::size_t i = 0; i < slots.size(); ++i) {
        for (const float g : held[6 * i + 1].to_floats()) square += double(g) * double(g);
      }
      return compare_all("norm", norm.to_floats(), {std::sqrt(square), 1.0}, 1e-5);
    };
    return p;
  }
  kernels::OptimizerStepArgs args;
  args.slots = device_slots;
  args.slot_count = kSlots;
  const kernels::OptimizerRates rates = optimizer_rates(args, 1);
  const auto rates_there = std::make_shared<Buffer>(upload<kernels::OptimizerRates>({&rates, 1}, device));
  args.rates = static_cast<const kernels::OptimizerRates*>(rates_there->data());
  p.run = [=, held = on_device, held_too = rates_there] { DDPMTS_LAUNCH(device, optimizer_step, args); };
  p.check = [=, run = p.run, value = p.held[0], grad = p.held[1]] {
    const std::vector<float> before = value.to_floats(), g = grad.to_floats();
    run();
    // The first step from moments of zero: AdamW's bias corrections leave the gradient's sign (arXiv 1711.05101 Alg. 2).
    return compare_at("value", value, 1e-6, [&](std::size_t i) {
      const double lr = rates.learning_rate, decayed = double(before[i]) * (1.0 - lr * 0.01);
      return decayed - lr * double(g[i]) / (std::abs(double(g[i])) + double(args.epsilon));
    });
  };
  return p;
}

}  // namespace

void add_elementwise_cases(const CasePlan& plan, Cases& cases) {
  const std::vector<std::string> lists = {"unet64"};
  add_map_shaped(plan, cases, "cast", lists, arrays(3.0), prepare_cast);
  add_map_shaped(plan, cases, "add", lists, arrays(3.0), prepare_add);
  add_map_shaped(
      plan, cases, "silu_forward", lists, arrays(3.0),
      [](Device d, DType t, std::int64_t n, const MapShape& m) { return prepare_silu(d, t, n, m, false); });
  add_map_shaped(
      plan, cases, "silu_backward", lists, arrays(3.0),
      [](Device d, DType t, std::int64_t n, const MapShape& m) { return prepare_silu(d, t, n, m, true); });
  add_map_shaped(plan, cases, "dropout", lists, arrays(3.0), prepare_dropout);
  add_sized(plan, cases, "normalize_pictures", 3.0 * 5.0, true, prepare_normalize);
  for (const bool norm_only : {false, true}) {
    Case c = make_case(plan, "kernels", norm_only ? "gradient_norm" : "optimizer_step", DType::f32, 1);
    c.quick = c.cold = true;
    const Device device = plan.device();
    add_case(cases, std::move(c), 22.0 * double(kSlots * kSlotValues), 0,
             [=] { return prepare_optimizer(device, norm_only); });
  }
}

}  // namespace ddpmts::bench
