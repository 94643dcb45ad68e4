// What the device's library does besides convolutions: matrix products, attention, pooling.
#include <fmt/format.h>

#include <cmath>

#include "bench/cases/tools.h"
#include "engine/primitives.h"

namespace ddpmts::bench {
namespace {

// FLOPs: 2·m·n·k. Bytes: a, b and c once. The check is a plain loop for a few of the results.
Prepared prepare_matmul(Device device, const MatmulShape& s) {
  const Tensor a = random_tensor({s.transpose_a ? s.k : s.m, s.transpose_a ? s.m : s.k}, s.type, device, 1);
  const Tensor b = random_tensor({s.transpose_b ? s.n : s.k, s.transpose_b ? s.k : s.n}, s.type, device, 2);
  const Tensor c = Tensor::empty({s.m, s.n}, s.result_type, device);
  Prepared p;
  p.held = {a, b, c};
  p.bytes = bytes_of({a, b, c});
  p.flops = s.flops();
  p.run = [=] { matmul(device, s, a.raw(), b.raw(), nullptr, c.raw()); };
  p.check = [=, run = p.run] {
    run();
    const std::vector<float> x = a.to_floats(), y = b.to_floats();
    return compare_at("c", c, rounding(s.result_type), [&](std::size_t at) {
      const auto row = static_cast<std::int64_t>(at) / s.n, column = static_cast<std::int64_t>(at) % s.n;
      double sum = 0.0;
      for (std::int64_t i = 0; i < s.k; ++i) {
        sum += double(x[static_cast<std::size_t>(s.transpose_a ? i * s.m + row : row * s.k + i)]) *
               double(y[static_cast<std::size_t>(s.transpose_b ? column * s.k + i : i * s.n + column)]);
      }
      return sum;
    });
  };
  return p;
}

// The map's pixels as tokens, four heads. FLOPs: 4·n·tokens²·channels forward, 2.5 times that backward (five products for
// forward's two). Bytes: qkv and the output once forward; those, their gradients backward; the logits are not counted.
Prepared prepare_attention(Device device, DType type, std::int64_t n, const MapShape& map, bool backward) {
  constexpr std::int64_t heads = 4;
  const AttentionShape s{n, map.pixels(), heads, map.c / heads, type};
  const Tensor qkv = random_tensor({n, s.tokens, 3 * s.channels()}, type, device, 1, -2.0f, 2.0f);
  const Tensor dqkv = Tensor::empty(qkv.shape(), type, device);
  const Tensor out = Tensor::empty({n, s.tokens, s.channels()}, type, device);
  const Tensor dout = random_tensor(out.shape(), type, device, 2);
  const Tensor saved =
      Tensor::empty({std::max<std::int64_t>(1, static_cast<std::int64_t>(attention_saved_bytes(device, s)))},
                    DType::u8, device);
  attention_forward(device, s, qkv.raw(), out.raw(), saved.raw());
  Prepared p;
  p.held = {qkv, dqkv, out, dout, saved};
  p.flops = s.forward_flops() * (backward ? 2.5 : 1.0);
  p.bytes = bytes_of({qkv, out}) * (backward ? 2.0 : 1.0);
  if (backward) {
    p.run = [=] { attention_backward(device, s, qkv.raw(), out.raw(), saved.raw(), dout.raw(), dqkv.raw()); };
  } else {
    p.run = [=] { attention_forward(device, s, qkv.raw(), out.raw(), nullptr); };
  }
  p.check = [=, run = p.run] {
    run();
    const std::vector<float> in = qkv.to_floats(), g = dout.to_floats();
    const auto tokens = static_cast<std::size_t>(s.tokens), channels = static_cast<std::size_t>(s.channels());
    const auto width = static_cast<std::size_t>(s.head_channels);
    // part 0: query, 1: key, 2: value
    const auto at = [&](std::size_t picture, std::size_t token, std::size_t part, std::size_t c) {
      return double(in[(picture * tokens + token) * 3 * channels + part * channels + c]);
    };
    const auto weights_of = [&](std::size_t picture, std::size_t query, std::size_t head) {
      std::vector<double> w(tokens);
      double largest = -HUGE_VAL, sum = 0.0;
      for (std::size_t t = 0; t < tokens; ++t) {
        for (std::size_t c = head * width; c < (head + 1) * width; ++c)
          w[t] += at(picture, query, 0, c) * at(picture, t, 1, c);
        w[t] /= std::sqrt(double(width));
        largest = std::max(largest, w[t]);
      }
      for (double& v : w) sum += v = std::exp(v - largest);
      for (double& v : w) v /= sum;
      return w;
    };
    std::vector<float> actual;
    std::vector<double> expected;
    const std::vector<float> results = (backward ? dqkv : out).to_floats();
    for (const std::size_t place : places(out.to_floats().size(), backward ? 6 : 40)) {
      const std::size_t c = place % channels, token = place / channels % tokens,
                        picture = place / channels / tokens;
      double sum = 0.0;
      if (backward) {  // dv of a token: Σ over queries of its weight times the query's gradient
        for (std::size_t q = 0; q < tokens; ++q) {
          sum += weights_of(picture, q, c / width)[token] * double(g[(picture * tokens + q) * channels + c]);
        }
        actual.push_back(results[(picture * tokens + token) * 3 * channels + 2 * channels + c]);
      } else {
        const std::vector<double> w = weights_of(picture, token, c / width);
        for (std::size_t t = 0; t < tokens; ++t) sum += w[t] * at(picture, t, 2, c);
        actual.push_back(results[place]);
      }
      expected.push_back(sum);
    }
    return compare_all(backward ? "gradient of values" : "out", actual, expected,
                       type == DType::bf16 ? 0x1p-6 : 1e-4);
  };
  return p;
}

// 3×3, stride 2. Bytes: the map once, the smaller one once.
Prepared prepare_pool(Device device, DType type, std::int64_t n, const MapShape& map, PoolKind kind) {
  PoolShape s;
  s.kind = kind;
  s.n = n;
  s.h = map.h;
  s.w = map.w;
  s.c = map.c;
  s.type = type;
  const Tensor x = random_tensor({n, s.h, s.w, s.c}, type, device, 1);
  const Tensor y = Tensor::empty({n, s.out_h(), s.out_w(), s.c}, type, device);
  Prepared p;
  p.held = {x, y};
  p.bytes = bytes_of({x, y});
  p.run = [=] { pool_forward(device, s, x.raw(), y.raw(), nullptr); };
  p.check = [=, run = p.run] {
    run();
    const std::vector<float> in = x.to_floats();
    return compare_at("y", y, rounding(type), [&](std::size_t at) {
      const auto i = static_cast<std::int64_t>(at);
      const std::int64_t c = i % s.c, q = i / s.c % s.out_w(), r = i / s.c / s.out_w() % s.out_h();
      const std::int64_t picture = i / s.c / s.out_w() / s.out_h();
      double largest = -HUGE_VAL, sum = 0.0;
      for (std::int64_t u = std::max<std::int64_t>(0, 2 * r - 1); u < std::min(s.h, 2 * r + 2); ++u) {
        for (std::int64_t v = std::max<std::int64_t>(0, 2 * q - 1); v < std::min(s.w, 2 * q + 2); ++v) {
          const double value = in[static_cast<std::size_t>(((picture * s.h + u) * s.w + v) * s.c + c)];
          largest = std::max(largest, value);
          sum += value;
        }
      }
      return kind == PoolKind::max ? largest : sum / 9.0;
    });
  };
  return p;
}

}  // namespace

void add_primitive_cases(const CasePlan& plan, Cases& cases) {
  const Device device = plan.device();
  for (const DType type : plan.precisions()) {
    // A block of the memory's search, and a linear layer of a UNet's timestep.
    for (const MatmulShape& s : {MatmulShape{1024, 512, 448, false, true, type, DType::f32},
                                 MatmulShape{8, 256, 256, false, true, type, type}}) {
      Case c = make_case(plan, "kernels", fmt::format("matmul/{}x{}x{}", s.m, s.n, s.k), type, 1);
      c.quick = c.cold = true;
      add_case(cases, std::move(c), 0.0, 0, [=] { return prepare_matmul(device, s); });
    }
  }
  for (const bool backward : {false, true}) {
    add_map_shaped(
        plan, cases, backward ? "attention_backward" : "attention_forward", {"attention64"},
        [](const MapShape& map) {
          return 10.0 * double(map.count()) + 20.0 * double(map.pixels() * map.pixels());
        },
        [=](Device d, DType t, std::int64_t n, const MapShape& map) {
          return prepare_attention(d, t, n, map, backward);
        });
  }
  for (const PoolKind kind : {PoolKind::max, PoolKind::average_padded}) {
    add_map_shaped(plan, cases, kind == PoolKind::max ? "max_pool" : "average_pool", {"resnet18_224"},
                   arrays(2.0), [=](Device d, DType t, std::int64_t n, const MapShape& map) {
                     return prepare_pool(d, t, n, map, kind);
                   });
  }
}

}  // namespace ddpmts::bench
