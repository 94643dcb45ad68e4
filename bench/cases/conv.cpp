// Every convolution of the four networks: forward with bias (and ReLU where the network has one), the gradient of its input,
// the gradients of weight and bias.
#include <fmt/format.h>

#include <algorithm>

#include "bench/cases/drawn_networks.h"
#include "bench/cases/onednn_conv.h"
#include "bench/cases/tools.h"

namespace ddpmts::bench {
namespace {

// One convolution's arrays, and any of its results from a plain loop in doubles.
struct Conv {
  ConvShape shape;
  Tensor x, y, dx, dw, bias, dbias;
  ParameterPtr weight;

  Conv(const ConvShape& s, Device device) : shape(s) {
    x = random_tensor({s.n, s.h, s.w, s.c}, s.type, device, 1);
    y = random_tensor({s.n, s.out_h(), s.out_w(), s.k}, s.type, device, 2);  // dy in the backward passes
    dx = Tensor::empty(x.shape(), s.type, device);
    weight = std::make_shared<Parameter>("weight", Shape{s.k, s.r, s.s, s.c}, true, device);
    weight->value().copy_from(random_tensor(weight->shape(), DType::f32, device, 3));
    weight->changed();
    dw = Tensor::empty(weight->shape(), DType::f32, device);
    bias = random_tensor({s.k}, DType::f32, device, 4);
    dbias = Tensor::empty({s.k}, DType::f32, device);
  }

  // Calls f(row, column of x, row, column of the filter) for the taps of output position (p, q).
  template <class F>
  void for_each_tap(std::int64_t p, std::int64_t q, F&& f) const {
    for (std::int64_t r = 0; r < shape.r; ++r) {
      for (std::int64_t s = 0; s < shape.s; ++s) {
        const std::int64_t i = p * shape.stride - shape.padding + r * shape.dilation;
        const std::int64_t j = q * shape.stride - shape.padding + s * shape.dilation;
        if (i >= 0 && j >= 0 && i < shape.h && j < shape.w) f(i, j, r, s);
      }
    }
  }
  std::size_t x_at(std::int64_t n, std::int64_t i, std::int64_t j, std::int64_t c) const {
    return static_cast<std::size_t>(((n * shape.h + i) * shape.w + j) * shape.c + c);
  }
  std::size_t y_at(std::int64_t n, std::int64_t p, std::int64_t q, std::int64_t k) const {
    return static_cast<std::size_t>(((n * shape.out_h() + p) * shape.out_w() + q) * shape.k + k);
  }
  std::size_t w_at(std::int64_t k, std::int64_t r, std::int64_t s, std::int64_t c) const {
    return static_cast<std::size_t>(((k * shape.r + r) * shape.s + s) * shape.c + c);
  }
  struct Place {
    std::int64_t outer, h, w, inner;
  };
  static Place place(std::size_t at, std::int64_t h, std::int64_t w, std::int64_t inner) {
    const auto i = static_cast<std::int64_t>(at);
    return {i / (inner * w * h), i / (inner * w) % h, i / inner % w, i % inner};
  }
};

// Compares `wanted` values of a result with what the loop gives for them. A sum of m products of which each is rounded to
// f32 when added: what is allowed for bf16 is one rounding of the result, for f32 the rounding of a long sum.
Check compare_sums(const std::string& what, const Tensor& actual, std::size_t wanted, double allowed,
                   const std::function<double(std::size_t)>& expected) {
  const std::vector<float> values = actual.to_floats();
  std::vector<float> chosen;
  std::vector<double> sums;
  for (const std::size_t at : places(values.size(), wanted)) {
    chosen.push_back(values[at]);
    sums.push_back(expected(at));
  }
  return compare_all(what, chosen, sums, allowed);
}

Check check_forward(const Conv& conv, bool relu) {
  const std::vector<float> x = conv.x.to_floats(), bias = conv.bias.to_floats();
  const std::vector<float> w = conv.weight->compute(conv.shape.type).to_floats();
  const ConvShape& s = conv.shape;
  return compare_sums("y", conv.y, 200, rounding(s.type), [&](std::size_t at) {
    const Conv::Place y = Conv::place(at, s.out_h(), s.out_w(), s.k);
    double sum = bias[static_cast<std::size_t>(y.inner)];
    conv.for_each_tap(y.h, y.w, [&](auto i, auto j, auto r, auto t) {
      for (std::int64_t c = 0; c < s.c; ++c) {
        sum += double(x[conv.x_at(y.outer, i, j, c)]) * double(w[conv.w_at(y.inner, r, t, c)]);
      }
    });
    return relu ? std::max(0.0, sum) : sum;
  });
}

Check check_data_gradient(const Conv& conv) {
  const std::vector<float> dy = conv.y.to_floats(), w = conv.weight->compute(conv.shape.type).to_floats();
  const ConvShape& s = conv.shape;
  return compare_sums("dx", conv.dx, 200, rounding(s.type), [&](std::size_t at) {
    const Conv::Place x = Conv::place(at, s.h, s.w, s.c);
    double sum = 0.0;
    for (std::int64_t r = 0; r < s.r; ++r) {
      for (std::int64_t t = 0; t < s.s; ++t) {
        const std::int64_t p = x.h + s.padding - r * s.dilation, q = x.w + s.padding - t * s.dilation;
        if (p % s.stride != 0 || q % s.stride != 0) continue;
        if (p < 0 || q < 0 || p / s.stride >= s.out_h() || q / s.stride >= s.out_w()) continue;
        for (std::int64_t k = 0; k < s.k; ++k) {
          sum += double(dy[conv.y_at(x.outer, p / s.stride, q / s.stride, k)]) *
                 double(w[conv.w_at(k, r, t, x.inner)]);
        }
      }
    }
    return sum;
  });
}

Check check_weight_gradient(const Conv& conv) {
  const std::vector<float> x = conv.x.to_floats(), dy = conv.y.to_floats();
  const ConvShape& s = conv.shape;
  return compare_sums("dw", conv.dw, 20, 1e-4, [&](std::size_t at) {
    const Conv::Place w = Conv::place(at, s.r, s.s, s.c);
    double sum = 0.0;
    for (std::int64_t n = 0; n < s.n; ++n) {
      for (std::int64_t p = 0; p < s.out_h(); ++p) {
        for (std::int64_t q = 0; q < s.out_w(); ++q) {
          const std::int64_t i = p * s.stride - s.padding + w.h * s.dilation;
          const std::int64_t j = q * s.stride - s.padding + w.w * s.dilation;
          if (i < 0 || j < 0 || i >= s.h || j >= s.w) continue;
          sum += double(x[conv.x_at(n, i, j, w.inner)]) * double(dy[conv.y_at(n, p, q, w.outer)]);
        }
      }
    }
    return sum;
  });
}

// The same by oneDNN alone, held against ours: both round a sum in f32 once, in another order.
Rival prepare_onednn_alone(const Conv& conv, ConvPass pass, bool relu) {
  const ConvShape& s = conv.shape;
  const Tensor ours = pass == ConvPass::forward         ? conv.y
                      : pass == ConvPass::backward_data ? conv.dx
                                                        : conv.dw;
  const OnednnConv alone =
      onednn_conv(s, pass, relu, {conv.x, conv.weight->compute(s.type), conv.y, conv.bias});
  const double allowed = pass == ConvPass::backward_weights ? 1e-4 : 2.0 * rounding(s.type);
  return {alone.run, [=] {
            alone.run();
            const std::vector<float> values = alone.result().to_floats();
            return compare_at("oneDNN alone", ours, allowed,
                              [&](std::size_t at) { return static_cast<double>(values[at]); });
          }};
}

// FLOPs: the direct sum's, 2·n·p·q·k·r·s·c in every pass, also where Winograd's algorithm (engine/cpu/winograd.h) makes a quarter
// of the products: the share of the roof may exceed 1. Bytes: input, weight and output once; weights and their gradient in f32 where the
// gradient is made.
Prepared prepare_conv(Device device, const ConvShape& shape, bool relu, ConvPass pass) {
  const Conv conv(shape, device);
  Prepared p;
  p.flops = shape.flops();
  p.bytes = bytes_of({conv.x, conv.y}) +
            static_cast<double>(conv.dw.count()) *
                (pass == ConvPass::backward_weights ? 4.0 : double(size_of(shape.type)));
  switch (pass) {
    case ConvPass::forward:
      p.run = [=] {
        conv_forward(device, shape, conv.x.raw(), *conv.weight, {conv.bias.data<float>(), nullptr, relu},
                     conv.y.raw());
      };
      p.check = [=, run = p.run] { return run(), check_forward(conv, relu); };
      break;
    case ConvPass::backward_data:
      p.run = [=] { conv_backward_data(device, shape, conv.y.raw(), *conv.weight, conv.dx.raw()); };
      p.check = [=, run = p.run] { return run(), check_data_gradient(conv); };
      break;
    case ConvPass::backward_weights:
      p.run = [=] {
        conv_backward_weights(device, shape, conv.x.raw(), conv.y.raw(), conv.dw.data<float>(),
                              conv.dbias.data<float>());
      };
      p.check = [=, run = p.run] { return run(), check_weight_gradient(conv); };
      break;
  }
  if (!device.is_cuda()) p.onednn_alone = [=] { return prepare_onednn_alone(conv, pass, relu); };
  return p;
}

std::string text(const ConvShape& s) {
  std::string text = fmt::format("{}x{}x{}-{}_{}x{}", s.h, s.w, s.c, s.k, s.r, s.s);
  if (s.stride != 1) text += fmt::format("_s{}", s.stride);
  if (s.dilation != 1) text += fmt::format("_d{}", s.dilation);
  return text;
}

const char* name_of(ConvPass pass) {
  constexpr const char* names[] = {"forward", "data_gradient", "weight_gradient"};
  return names[static_cast<int>(pass)];
}

// The few that take most of the arithmetic.
bool is_among_largest(const UsedConv& conv, const std::vector<UsedConv>& all, std::size_t few) {
  const auto work = [](const UsedConv& c) { return static_cast<double>(c.uses) * c.shape.flops(); };
  return std::ranges::count_if(all, [&](const UsedConv& c) { return work(c) > work(conv); }) <
         static_cast<std::ptrdiff_t>(few);
}

}  // namespace

void add_conv_cases(const CasePlan& plan, Cases& cases) {
  const Device device = plan.device();
  const auto heads =
      plan.heads(plan.quick() ? std::vector<std::string>{"s"} : std::vector<std::string>{"s", "m", "l"});
  for (const std::string& list : plan.shapes({"detector256", "unet64"})) {
    const std::vector<UsedConv> used = convs_of(list, heads, plan.unets({"s"}), device);
    for (const UsedConv& conv : used) {
      for (const DType type : plan.precisions()) {
        for (const std::int64_t n : plan.batches({8})) {
          for (const ConvPass pass :
               {ConvPass::forward, ConvPass::backward_data, ConvPass::backward_weights}) {
            if (pass == ConvPass::backward_data && conv.shape.c == 3) continue;  // pictures need no gradient
            ConvShape shape = conv.shape;
            shape.n = n;
            shape.type = type;
            Case c =
                make_case(plan, "convs", fmt::format("{}/{}/{}", list, text(shape), name_of(pass)), type, n);
            c.axes["shapes"] = list;
            c.axes["conv"] = text(shape);
            c.axes["pass"] = name_of(pass);
            c.axes["uses"] = std::to_string(conv.uses);
            c.networks = conv.networks;
            // The teacher is frozen: it runs forward only.
            if (pass != ConvPass::forward)
              std::erase_if(c.networks,
                            [](const auto& network) { return network.first.starts_with("teacher"); });
            c.has_onednn_alone = !device.is_cuda();
            c.cold = true;
            c.quick = is_among_largest(conv, used, 4);
            const double values = static_cast<double>(
                n * (2 * shape.h * shape.w * shape.c + shape.out_h() * shape.out_w() * shape.k) +
                3 * shape.k * shape.r * shape.s * shape.c);
            add_case(cases, std::move(c), 3.0 * 4.0 * values, 0,
                     [=, relu = conv.relu] { return prepare_conv(device, shape, relu, pass); });
          }
        }
      }
    }
  }
}

}  // namespace ddpmts::bench
