// BatchNorm, GroupNorm and softmax.
#include <algorithm>
#include <cmath>

#include "bench/cases/tools.h"
#include "kernels/batch_norm.h"
#include "kernels/group_norm.h"
#include "kernels/softmax.h"

namespace ddpmts::bench {
namespace {

constexpr double kEpsilon = 1e-5;

struct Moments {
  double mean = 0.0, rstd = 0.0;
};

// Mean and 1/√(variance + ε) of the values that `each` calls its argument with.
template <class Each>
Moments moments_of(Each&& each) {
  double sum = 0.0, square = 0.0, count = 0.0;
  each([&](double v) { sum += v, count += 1.0; });
  const double mean = sum / count;
  each([&](double v) { square += (v - mean) * (v - mean); });
  return {mean, 1.0 / std::sqrt(square / count + kEpsilon)};
}

// A BatchNorm with residual and ReLU, as at the end of a residual block.
struct BatchNorm {
  kernels::BatchNormForwardArgs forward;
  kernels::BatchNormBackwardArgs backward;
  Tensor x, residual, y, dy, dx, dresidual, gamma, beta, dgamma, dbeta;
  std::vector<Tensor> held;

  BatchNorm(Device device, DType type, std::int64_t n, const MapShape& map, bool training) {
    const Shape shape{n * map.pixels(), map.c}, channels{map.c};
    x = random_tensor(shape, type, device, 1, -1.0f, 2.0f);
    residual = random_tensor(shape, type, device, 2);
    dy = random_tensor(shape, type, device, 3);
    y = Tensor::empty(shape, type, device);
    dx = Tensor::empty(shape, type, device);
    dresidual = Tensor::empty(shape, type, device);
    gamma = random_tensor(channels, DType::f32, device, 4, 0.5f, 1.5f);
    beta = random_tensor(channels, DType::f32, device, 5);
    dgamma = Tensor::empty(channels, DType::f32, device);
    dbeta = Tensor::empty(channels, DType::f32, device);
    const Tensor running_mean = Tensor::zeros(channels, DType::f32, device);
    const Tensor running_var = random_tensor(channels, DType::f32, device, 6, 1.0f, 2.0f);
    const Tensor mean = running_mean.clone(), rstd = running_mean.clone();
    held = {x,    residual, y,     dy,           dx,          dresidual, gamma,
            beta, dgamma,   dbeta, running_mean, running_var, mean,      rstd};
    forward.type = backward.type = type;
    forward.rows = backward.rows = shape[0];
    forward.channels = backward.channels = map.c;
    forward.x = backward.x = x.raw();
    forward.residual = residual.raw();
    forward.y = y.raw();
    backward.y = y.raw();
    forward.gamma = gamma.data<float>();
    backward.gamma = gamma.data<float>();
    forward.beta = beta.data<float>();
    forward.relu = backward.relu = true;
    forward.training = training;
    forward.running_mean = running_mean.data<float>();
    forward.running_var = running_var.data<float>();
    forward.saved_mean = mean.data<float>();
    forward.saved_rstd = rstd.data<float>();
    backward.saved_mean = mean.data<float>();
    backward.saved_rstd = rstd.data<float>();
    backward.dy = dy.raw();
    backward.dx = dx.raw();
    backward.dresidual = dresidual.raw();
    backward.dgamma = dgamma.data<float>();
    backward.dbeta = dbeta.data<float>();
  }

  // Of channel 0, which the checks look at.
  Moments moments(const std::vector<float>& values) const {
    const auto channels = static_cast<std::size_t>(x.dim(1));
    return moments_of([&](const auto& see) {
      for (std::size_t i = 0; i < values.size(); i += channels) see(double(values[i]));
    });
  }
};

// Bytes: x twice (once for the statistics, unless they are given), residual, y.
Prepared prepare_batch_norm_forward(Device device, DType type, std::int64_t n, const MapShape& map,
                                    bool training) {
  const BatchNorm norm(device, type, n, map, training);
  Prepared p;
  p.held = norm.held;
  p.bytes = bytes_of({norm.x, norm.residual, norm.y}) + (training ? bytes_of({norm.x}) : 0.0);
  p.footprint = bytes_of({norm.x, norm.residual, norm.y});
  p.run = [=] { DDPMTS_LAUNCH(device, batch_norm_forward, norm.forward); };
  p.check = [=, run = p.run] {
    run();
    const std::vector<float> x = norm.x.to_floats(), residual = norm.residual.to_floats(),
                             y = norm.y.to_floats();
    const double variance = double(norm.held[11].to_floats()[0]);
    const Moments m = training ? norm.moments(x) : Moments{0.0, 1.0 / std::sqrt(variance + kEpsilon)};
    const double gamma = norm.gamma.to_floats()[0], beta = norm.beta.to_floats()[0];
    std::vector<float> actual;
    std::vector<double> expected;
    for (std::size_t i = 0; i < x.size(); i += static_cast<std::size_t>(norm.x.dim(1))) {
      actual.push_back(y[i]);
      expected.push_back(
          std::max(0.0, (double(x[i]) - m.mean) * m.rstd * gamma + beta + double(residual[i])));
    }
    return compare_all("y of channel 0", actual, expected, rounding(type));
  };
  return p;
}

// Bytes: x, y and dy twice (sums first), dx and the residual's gradient once.
Prepared prepare_batch_norm_backward(Device device, DType type, std::int64_t n, const MapShape& map) {
  const BatchNorm norm(device, type, n, map, true);
  DDPMTS_LAUNCH(device, batch_norm_forward, norm.forward);
  Prepared p;
  p.held = norm.held;
  p.bytes = 2.0 * bytes_of({norm.x, norm.y, norm.dy}) + bytes_of({norm.dx, norm.dresidual});
  p.footprint = bytes_of({norm.x, norm.y, norm.dy, norm.dx, norm.dresidual});
  p.run = [=] { DDPMTS_LAUNCH(device, batch_norm_backward, norm.backward); };
  p.check = [=, run = p.run] {
    run();
    const std::vector<float> x = norm.x.to_floats(), y = norm.y.to_floats(), dy = norm.dy.to_floats();
    const std::vector<float> dx = norm.dx.to_floats();
    const Moments m = norm.moments(x);
    const auto channels = static_cast<std::size_t>(norm.x.dim(1));
    const double rows = static_cast<double>(norm.x.dim(0)), gamma = norm.gamma.to_floats()[0];
    const auto gradient = [&](std::size_t i) { return y[i] > 0.0f ? double(dy[i]) : 0.0; };
    double sum = 0.0, product = 0.0;
    for (std::size_t i = 0; i < x.size(); i += channels) {
      sum += gradient(i);
      product += gradient(i) * (double(x[i]) - m.mean) * m.rstd;
    }
    std::vector<float> actual;
    std::vector<double> expected;
    for (std::size_t i = 0; i < x.size(); i += channels) {
      actual.push_back(dx[i]);
      const double normalised = (double(x[i]) - m.mean) * m.rstd;
      expected.push_back(gamma * m.rstd * (gradient(i) - (sum + normalised * product) / rows));
    }
    return all_of({compare_all("dbeta[0]", {norm.dbeta.to_floats()[0]}, {sum}, 1e-4),
                   compare_all("dgamma[0]", {norm.dgamma.to_floats()[0]}, {product}, 1e-3),
                   compare_all("dx of channel 0", actual, expected, 2.0 * rounding(type), gamma * m.rstd)});
  };
  return p;
}

// GroupNorm + SiLU with the timestep's embedding added first, as inside a UNet's residual block.
struct GroupNorm {
  kernels::GroupNormForwardArgs forward;
  kernels::GroupNormBackwardArgs backward;
  Tensor x, add, y, dy, dx, gamma, beta;
  std::vector<Tensor> held;

  GroupNorm(Device device, DType type, std::int64_t n, const MapShape& map) {
    const Shape shape{n, map.pixels(), map.c}, channels{map.c};
    x = random_tensor(shape, type, device, 1, -1.0f, 2.0f);
    add = random_tensor({n, map.c}, type, device, 2);
    dy = random_tensor(shape, type, device, 3);
    y = Tensor::empty(shape, type, device);
    dx = Tensor::empty(shape, type, device);
    gamma = random_tensor(channels, DType::f32, device, 4, 0.5f, 1.5f);
    beta = random_tensor(channels, DType::f32, device, 5);
    const Tensor mean = Tensor::zeros({n, map.groups()}, DType::f32, device), rstd = mean.clone();
    const Tensor dadd = Tensor::empty(add.shape(), type, device);
    const Tensor dgamma = Tensor::empty(channels, DType::f32, device), dbeta = dgamma.clone();
    held = {x, add, y, dy, dx, gamma, beta, mean, rstd, dadd, dgamma, dbeta};
    forward.type = backward.type = type;
    forward.n = backward.n = n;
    forward.pixels = backward.pixels = map.pixels();
    forward.channels = backward.channels = map.c;
    forward.groups = backward.groups = map.groups();
    forward.x = backward.x = x.raw();
    forward.add = backward.add = add.raw();
    forward.gamma = backward.gamma = gamma.data<float>();
    forward.beta = backward.beta = beta.data<float>();
    forward.silu = backward.silu = true;
    forward.y = y.raw();
    forward.saved_mean = mean.data<float>();
    forward.saved_rstd = rstd.data<float>();
    backward.saved_mean = mean.data<float>();
    backward.saved_rstd = rstd.data<float>();
    backward.dy = dy.raw();
    backward.dx = dx.raw();
    backward.dadd = dadd.raw();
    backward.dgamma = dgamma.data<float>();
    backward.dbeta = dbeta.data<float>();
  }

  // The last picture's first group: (indices, x + add) and its moments.
  struct Group {
    std::vector<std::size_t> at, channel;
    std::vector<double> u;
    Moments moments;
  };
  Group last_picture() const {
    const auto channels = static_cast<std::size_t>(x.dim(2)), pixels = static_cast<std::size_t>(x.dim(1));
    const auto picture = static_cast<std::size_t>(x.dim(0) - 1),
               width = channels / static_cast<std::size_t>(forward.groups);
    const std::vector<float> values = x.to_floats(), added = add.to_floats();
    Group group;
    for (std::size_t p = 0; p < pixels; ++p) {
      for (std::size_t c = 0; c < width; ++c) {
        group.at.push_back((picture * pixels + p) * channels + c);
        group.channel.push_back(c);
        group.u.push_back(double(values[group.at.back()]) + double(added[picture * channels + c]));
      }
    }
    group.moments = moments_of([&](const auto& see) {
      for (const double u : group.u) see(u);
    });
    return group;
  }
};

// Bytes: x twice (statistics first), y once.
Prepared prepare_group_norm_forward(Device device, DType type, std::int64_t n, const MapShape& map) {
  const GroupNorm norm(device, type, n, map);
  Prepared p;
  p.held = norm.held;
  p.bytes = 2.0 * bytes_of({norm.x}) + bytes_of({norm.y});
  p.footprint = bytes_of({norm.x, norm.y});
  p.run = [=] { DDPMTS_LAUNCH(device, group_norm_forward, norm.forward); };
  p.check = [=, run = p.run] {
    run();
    const GroupNorm::Group group = norm.last_picture();
    const std::vector<float> y = norm.y.to_floats(), gamma = norm.gamma.to_floats(),
                             beta = norm.beta.to_floats();
    std::vector<float> actual;
    std::vector<double> expected;
    for (std::size_t i = 0; i < group.at.size(); ++i) {
      const std::size_t c = group.channel[i];
      const double v =
          (group.u[i] - group.moments.mean) * group.moments.rstd * double(gamma[c]) + double(beta[c]);
      actual.push_back(y[group.at[i]]);
      expected.push_back(v / (1.0 + std::exp(-v)));
    }
    return compare_all("y of a group", actual, expected, rounding(type));
  };
  return p;
}

// Bytes: x and dy twice (sums first), dx once.
Prepared prepare_group_norm_backward(Device device, DType type, std::int64_t n, const MapShape& map) {
  const GroupNorm norm(device, type, n, map);
  DDPMTS_LAUNCH(device, group_norm_forward, norm.forward);
  Prepared p;
  p.held = norm.held;
  p.bytes = 2.0 * bytes_of({norm.x, norm.dy}) + bytes_of({norm.dx});
  p.footprint = bytes_of({norm.x, norm.dy, norm.dx});
  p.run = [=] { DDPMTS_LAUNCH(device, group_norm_backward, norm.backward); };
  p.check = [=, run = p.run] {
    run();
    const GroupNorm::Group group = norm.last_picture();
    const std::vector<float> dy = norm.dy.to_floats(), dx = norm.dx.to_floats();
    const std::vector<float> gamma = norm.gamma.to_floats(), beta = norm.beta.to_floats();
    std::vector<double> normalised, gradient;
    double sum = 0.0, product = 0.0;
    for (std::size_t i = 0; i < group.at.size(); ++i) {
      const std::size_t c = group.channel[i];
      normalised.push_back((group.u[i] - group.moments.mean) * group.moments.rstd);
      const double v = normalised[i] * double(gamma[c]) + double(beta[c]), s = 1.0 / (1.0 + std::exp(-v));
      gradient.push_back(double(dy[group.at[i]]) * s * (1.0 + v * (1.0 - s)) * double(gamma[c]));
      sum += gradient[i];
      product += gradient[i] * normalised[i];
    }
    const double values = static_cast<double>(group.at.size());
    std::vector<float> actual;
    std::vector<double> expected;
    for (std::size_t i = 0; i < group.at.size(); ++i) {
      actual.push_back(dx[group.at[i]]);
      expected.push_back(group.moments.rstd * (gradient[i] - (sum + normalised[i] * product) / values));
    }
    return compare_all("dx of a group", actual, expected, 2.0 * rounding(type), group.moments.rstd);
  };
  return p;
}

// The logits of self-attention on the map: four heads, a row for every pixel, a column for every pixel.
// Bytes: forward reads x (f32) and writes y; backward reads y and dy and writes dx (f32).
Prepared prepare_softmax(Device device, DType type, std::int64_t n, const MapShape& map, bool backward) {
  const Shape shape{n * 4 * map.pixels(), map.pixels()};
  const Tensor x = random_tensor(shape, DType::f32, device, 1, -8.0f, 8.0f),
               y = Tensor::empty(shape, type, device);
  const Tensor dy = random_tensor(shape, type, device, 2), dx = Tensor::empty(shape, DType::f32, device);
  kernels::SoftmaxArgs args;
  args.type = type;
  args.rows = shape[0];
  args.columns = shape[1];
  args.scale = 0.25f;
  args.x = x.data<float>();
  args.y = y.raw();
  args.dy = dy.raw();
  args.dx = dx.data<float>();
  DDPMTS_LAUNCH(device, softmax_forward, args);
  Prepared p;
  p.held = {x, y, dy, dx};
  p.bytes = backward ? bytes_of({y, dy, dx}) : bytes_of({x, y});
  if (backward) {
    p.run = [=] { DDPMTS_LAUNCH(device, softmax_backward, args); };
  } else {
    p.run = [=] { DDPMTS_LAUNCH(device, softmax_forward, args); };
  }
  p.check = [=, run = p.run] {
    run();
    const auto columns = static_cast<std::size_t>(args.columns);
    const std::vector<float> in = x.to_floats(), out = y.to_floats(), gradient = dy.to_floats();
    const auto row_sum = [&](std::size_t i, const auto& term) {
      double sum = 0.0;
      for (std::size_t c = i / columns * columns; c < (i / columns + 1) * columns; ++c) sum += term(c);
      return sum;
    };
    if (!backward) {
      return compare_at("y", y, rounding(type), [&](std::size_t i) {
        return 1.0 /
               row_sum(i, [&](std::size_t c) { return std::exp(0.25 * (double(in[c]) - double(in[i]))); });
      });
    }
    return compare_at("dx", dx, 1e-4, [&](std::size_t i) {
      const double dot = row_sum(i, [&](std::size_t c) { return double(out[c]) * double(gradient[c]); });
      return 0.25 * double(out[i]) * (double(gradient[i]) - dot);
    });
  };
  return p;
}

}  // namespace

void add_norm_cases(const CasePlan& plan, Cases& cases) {
  for (const bool training : {true, false}) {
    add_map_shaped(plan, cases, training ? "batch_norm_forward" : "batch_norm_inference", {"detector256"},
                   arrays(6.0), [=](Device device, DType type, std::int64_t n, const MapShape& map) {
                     return prepare_batch_norm_forward(device, type, n, map, training);
                   });
  }
  add_map_shaped(plan, cases, "batch_norm_backward", {"detector256"}, arrays(6.0),
                 prepare_batch_norm_backward);
  add_map_shaped(plan, cases, "group_norm_forward", {"unet64"}, arrays(5.0), prepare_group_norm_forward);
  add_map_shaped(plan, cases, "group_norm_backward", {"unet64"}, arrays(5.0), prepare_group_norm_backward);
  // Logits and their gradients in f32, probabilities and theirs in the type.
  const MapMemory logits = [](const MapShape& map) {
    return 16.0 * static_cast<double>(map.pixels() * map.pixels());
  };
  for (const bool backward : {false, true}) {
    add_map_shaped(plan, cases, backward ? "softmax_backward" : "softmax_forward", {"attention64"}, logits,
                   [=](Device device, DType type, std::int64_t n, const MapShape& map) {
                     return prepare_softmax(device, type, n, map, backward);
                   });
  }
}

}  // namespace ddpmts::bench
