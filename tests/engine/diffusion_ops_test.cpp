// The operations of a diffusion model against plain double-precision loops and finite differences.
#include "engine/diffusion_ops.h"

#include "engine/primitives.h"
#include "tests/engine/gradient_check.h"
#include "tests/engine/reference.h"

namespace ddpmts::test {
namespace {

double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

/// What one GroupNorm works on, in double precision.
struct GroupNormCase {
  std::int64_t n, h, w, channels, groups;
  bool add, scale_shift, silu;
};

Doubles group_norm_reference(const GroupNormCase& c, const Doubles& x, const Doubles& gamma,
                             const Doubles& beta, const Doubles& add, const Doubles& scale_shift) {
  const std::int64_t pixels = c.h * c.w, width = c.channels / c.groups;
  Doubles y(x.size());
  for (std::int64_t n = 0; n < c.n; ++n) {
    const auto at = [&](std::int64_t p, std::int64_t k) {
      return static_cast<std::size_t>((n * pixels + p) * c.channels + k);
    };
    const auto u = [&](std::int64_t p, std::int64_t k) {
      return x[at(p, k)] + (c.add ? add[static_cast<std::size_t>(n * c.channels + k)] : 0.0);
    };
    for (std::int64_t g = 0; g < c.groups; ++g) {
      double mean = 0, square = 0;
      const auto count = static_cast<double>(pixels * width);
      for (std::int64_t p = 0; p < pixels; ++p) {
        for (std::int64_t k = g * width; k < (g + 1) * width; ++k) mean += u(p, k) / count;
      }
      for (std::int64_t p = 0; p < pixels; ++p) {
        for (std::int64_t k = g * width; k < (g + 1) * width; ++k)
          square += std::pow(u(p, k) - mean, 2) / count;
      }
      for (std::int64_t p = 0; p < pixels; ++p) {
        for (std::int64_t k = g * width; k < (g + 1) * width; ++k) {
          const auto channel = static_cast<std::size_t>(k);
          double v = (u(p, k) - mean) / std::sqrt(square + 1e-5) * gamma[channel] + beta[channel];
          if (c.scale_shift) {
            const auto row = static_cast<std::size_t>(n * 2 * c.channels);
            v = v * (1.0 + scale_shift[row + channel]) +
                scale_shift[row + static_cast<std::size_t>(c.channels) + channel];
          }
          y[at(p, k)] = c.silu ? v * sigmoid(v) : v;
        }
      }
    }
  }
  return y;
}

const GroupNormCase kGroupNorms[] = {
    {2, 3, 5, 8, 4, false, false, false}, {2, 4, 4, 64, 32, true, false, true},
    {1, 5, 3, 6, 3, false, true, true},   {3, 2, 2, 12, 12, true, true, false},
    {2, 1, 7, 4, 1, false, false, true},
};

class DiffusionOps : public EngineTest {};
DDPMTS_ON_EVERY_PLACEMENT(DiffusionOps);

TEST_P(DiffusionOps, GroupNormMatchesTheLoop) {
  for (const GroupNormCase& c : kGroupNorms) {
    const Tensor x = random_tensor({c.n, c.h, c.w, c.channels}, GetParam(), 1, -2.0f, 3.0f);
    const ParameterPtr weight = random_parameter("weight", {c.channels}, GetParam(), 2);
    const ParameterPtr bias = random_parameter("bias", {c.channels}, GetParam(), 3);
    GroupNormOptions o;
    o.groups = c.groups;
    o.silu = c.silu;
    if (c.add) o.add = random_tensor({c.n, c.channels}, GetParam(), 4);
    if (c.scale_shift) o.scale_shift = random_tensor({c.n, 2 * c.channels}, GetParam(), 5);
    const NoGrad looking;
    expect_close(group_norm(x, weight, bias, o),
                 group_norm_reference(c, doubles(x), doubles(weight->value()), doubles(bias->value()),
                                      c.add ? doubles(o.add) : Doubles(),
                                      c.scale_shift ? doubles(o.scale_shift) : Doubles()),
                 tolerance(type()), "y");
  }
}

TEST_P(DiffusionOps, SiluMatchesTheFormula) {
  const Tensor x = random_tensor({3, 41}, GetParam(), 1, -9.0f, 9.0f);
  Doubles expected = doubles(x);
  for (double& v : expected) v *= sigmoid(v);
  expect_close(silu(x), expected, tolerance(type()), "y");
}

TEST_P(DiffusionOps, ResamplingMatchesTheLoop) {
  const std::int64_t n = 2, h = 3, w = 4, c = 5;
  const Tensor coarse = random_tensor({n, h, w, c}, GetParam(), 1);
  const Tensor fine = random_tensor({n, 2 * h, 2 * w, c}, GetParam(), 2);
  const Doubles from_coarse = doubles(coarse), from_fine = doubles(fine);
  Doubles up(from_fine.size()), down(from_coarse.size());
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t y = 0; y < 2 * h; ++y) {
      for (std::int64_t x = 0; x < 2 * w; ++x) {
        for (std::int64_t k = 0; k < c; ++k) {
          const auto f = static_cast<std::size_t>(((i * 2 * h + y) * 2 * w + x) * c + k);
          const auto s = static_cast<std::size_t>(((i * h + y / 2) * w + x / 2) * c + k);
          up[f] = from_coarse[s];
          down[s] += from_fine[f] / 4;
        }
      }
    }
  }
  expect_close(upsample_nearest_2x(coarse), up, tolerance(type()), "up");
  expect_close(average_pool_2x(fine), down, tolerance(type()), "down");
}

struct AttentionCase {
  std::int64_t n, h, w, heads, head_channels;
};
// One token; numbers that are multiples of nothing; more tokens than one block of logits holds.
const AttentionCase kAttentions[] = {{1, 1, 1, 1, 3}, {2, 3, 5, 2, 7}, {2, 8, 8, 4, 32}, {1, 33, 64, 1, 4}};

/// out [n, tokens, heads·channels] from qkv.
Doubles attention_reference(const AttentionCase& c, const Doubles& qkv) {
  const std::int64_t tokens = c.h * c.w, width = c.heads * c.head_channels;
  Doubles out(static_cast<std::size_t>(c.n * tokens * width));
  const auto part = [&](std::int64_t n, std::int64_t t, std::int64_t which, std::int64_t head,
                        std::int64_t d) {
    return qkv[static_cast<std::size_t>(((n * tokens + t) * 3 + which) * width + head * c.head_channels + d)];
  };
  for (std::int64_t n = 0; n < c.n; ++n) {
    for (std::int64_t head = 0; head < c.heads; ++head) {
      for (std::int64_t t = 0; t < tokens; ++t) {
        Doubles weights(static_cast<std::size_t>(tokens));
        double sum = 0;
        for (std::int64_t s = 0; s < tokens; ++s) {
          double dot = 0;
          for (std::int64_t d = 0; d < c.head_channels; ++d)
            dot += part(n, t, 0, head, d) * part(n, s, 1, head, d);
          sum += weights[static_cast<std::size_t>(s)] =
              std::exp(dot / std::sqrt(static_cast<double>(c.head_channels)));
        }
        for (std::int64_t s = 0; s < tokens; ++s) {
          for (std::int64_t d = 0; d < c.head_channels; ++d) {
            out[static_cast<std::size_t>((n * tokens + t) * width + head * c.head_channels + d)] +=
                weights[static_cast<std::size_t>(s)] / sum * part(n, s, 2, head, d);
          }
        }
      }
    }
  }
  return out;
}

TEST_P(DiffusionOps, AttentionMatchesTheLoop) {
  for (const AttentionCase& c : kAttentions) {
    const Tensor qkv =
        random_tensor({c.n, c.h, c.w, 3 * c.heads * c.head_channels}, GetParam(), 1, -2.0f, 2.0f);
    const Tensor y = attention(qkv, c.heads);
    EXPECT_EQ(y.shape(), (Shape{c.n, c.h, c.w, c.heads * c.head_channels}));
    // In bf16 the probabilities are rounded before they weigh the values.
    expect_close(y, attention_reference(c, doubles(qkv)), 3 * tolerance(type()), "y");
  }
}

/// The gradient by finite differences of the double-precision loop.
Doubles attention_gradient(const AttentionCase& c, Doubles qkv, const Doubles& dy) {
  Doubles gradient(qkv.size());
  constexpr double kStep = 1e-5;
  for (std::size_t i = 0; i < qkv.size(); ++i) {
    const double value = qkv[i];
    for (const double sign : {1.0, -1.0}) {
      qkv[i] = value + sign * kStep;
      const Doubles out = attention_reference(c, qkv);
      for (std::size_t k = 0; k < out.size(); ++k) gradient[i] += sign * out[k] * dy[k] / (2 * kStep);
    }
    qkv[i] = value;
  }
  return gradient;
}

TEST_P(DiffusionOps, AttentionGradientMatchesTheLoop) {
  const AttentionCase c{2, 3, 4, 2, 5};
  Tensor qkv = random_tensor({c.n, c.h, c.w, 3 * c.heads * c.head_channels}, GetParam(), 1, -2.0f, 2.0f);
  qkv.set_needs_grad();
  const Tensor dy = random_tensor({c.n, c.h, c.w, c.heads * c.head_channels}, GetParam(), 2);
  backward_from(attention(qkv, c.heads), dy);
  expect_close(qkv.grad(), attention_gradient(c, doubles(qkv), doubles(dy)), 4 * tolerance(type()), "dqkv");
}

// Several blocks of logits add up to the gradients of keys and values.
TEST_P(DiffusionOps, AttentionGradientOverSeveralBlocks) {
  const Shape shape{1, 33, 64, 12};
  Tensor qkv = random_tensor(shape, GetParam(), 1, -2.0f, 2.0f);
  const Tensor direction = random_tensor(shape, {device(), DType::f32}, 2);
  const Tensor dy = random_tensor({1, 33, 64, 4}, GetParam(), 3);
  qkv.set_needs_grad();
  backward_from(attention(qkv, 1), dy);
  const AttentionCase c{1, 33, 64, 1, 4};
  const Doubles base = doubles(qkv), move = doubles(direction), weights = doubles(dy);
  const auto along = [&](double step) {
    Doubles moved = base;
    for (std::size_t i = 0; i < moved.size(); ++i) moved[i] += step * move[i];
    const Doubles out = attention_reference(c, moved);
    double sum = 0;
    for (std::size_t i = 0; i < out.size(); ++i) sum += out[i] * weights[i];
    return sum;
  };
  double expected = 0, square = 0;
  const std::vector<float> gradient = qkv.grad().to_floats();
  for (std::size_t i = 0; i < gradient.size(); ++i) {
    expected += gradient[i] * move[i];
    square += static_cast<double>(gradient[i]) * gradient[i];
  }
  EXPECT_NEAR((along(1e-4) - along(-1e-4)) / 2e-4, expected, 4 * tolerance(type()) * std::sqrt(square));
}

TEST_P(DiffusionOps, ConvolutionAddsAResidual) {
  const ConvShape s{2, 5, 4, 8, 16, 3, 3, 1, 1, 1, type()};
  const Tensor x = random_tensor({s.n, s.h, s.w, s.c}, GetParam(), 1);
  const ParameterPtr weight = random_parameter("weight", {s.k, 3, 3, s.c}, GetParam(), 2, -0.2f, 0.2f);
  const ParameterPtr bias = random_parameter("bias", {s.k}, GetParam(), 3);
  Tensor residual = random_tensor({s.n, s.h, s.w, s.k}, GetParam(), 4);
  const Tensor before = residual.clone();
  Doubles expected = conv_reference(s, doubles(x), doubles(weight->compute(type())));
  const Doubles biases = doubles(bias->value()), added = doubles(residual);
  for (std::size_t i = 0; i < expected.size(); ++i) expected[i] += biases[i % biases.size()] + added[i];
  {
    const NoGrad looking;
    expect_close(conv2d(x, weight, bias, {1, 1, 1}, residual), expected, 2 * tolerance(type()), "y");
    expect_same_values(residual, before, "the residual");
    const Tensor onto = before.clone();
    const Tensor y = conv2d_onto(onto, x, weight, bias, {1, 1, 1});
    EXPECT_EQ(y.is_same(onto), !device().is_cuda());
    expect_close(y, expected, 2 * tolerance(type()), "y in place");
  }
  residual.set_needs_grad();
  const Tensor dy = random_tensor(residual.shape(), GetParam(), 5);
  backward_from(conv2d(x, weight, bias, {1, 1, 1}, residual), dy);
  expect_same_values(residual.grad(), dy, "the residual's gradient");
}

TEST_P(DiffusionOps, DropoutZeroesAShareAndScalesTheRest) {
  const Tensor x = random_tensor({2, 10, 10, 50}, GetParam(), 1, 1.0f, 2.0f);
  const std::vector<float> from = x.to_floats(), to = dropout(x, 0.3f, 5, 6).to_floats();
  double zeros = 0;
  for (std::size_t i = 0; i < to.size(); ++i) {
    if (to[i] == 0.0f) {
      ++zeros;
    } else {
      EXPECT_NEAR(to[i], from[i] / 0.7f, tolerance(type()) * from[i] / 0.7f);
    }
  }
  EXPECT_NEAR(zeros / static_cast<double>(to.size()), 0.3, 0.02);
  EXPECT_EQ(dropout(x, 0.3f, 5, 6).to_floats(), to);
  EXPECT_NE(dropout(x, 0.3f, 5, 7).to_floats(), to);
  EXPECT_NE(dropout(x, 0.3f, 6, 6).to_floats(), to);
  EXPECT_TRUE(dropout(x, 0.0f, 5, 6).is_same(x));
}

TEST_P(DiffusionOps, NoiseLossMatchesTheFormula) {
  Tensor prediction = random_tensor({3, 4, 5, 3}, GetParam(), 1);
  const Tensor noise = random_tensor({3, 4, 5, 3}, {device(), DType::f32}, 2, -2.0f, 2.0f);
  const Doubles p = doubles(prediction), e = doubles(noise);
  Doubles per_picture(3), gradient(p.size());
  for (std::size_t i = 0; i < p.size(); ++i) {
    per_picture[i / 60] += (p[i] - e[i]) * (p[i] - e[i]) / 60;
    gradient[i] = 2 * (p[i] - e[i]) / 180;
  }
  prediction.set_needs_grad();
  const NoiseLoss loss = noise_loss(prediction, noise);
  expect_close(loss.per_picture, per_picture, 1e-5, "per picture");
  expect_close(loss.total, {(per_picture[0] + per_picture[1] + per_picture[2]) / 3}, 1e-5, "total");
  backward(loss.total);
  expect_close(prediction.grad(), gradient, tolerance(type()), "gradient");
}

class DiffusionOpsTape : public TapeTest {};

TEST_F(DiffusionOpsTape, GroupNormGradientsMatchFiniteDifferences) {
  for (const GroupNormCase& c : kGroupNorms) {
    const Tensor x = random_tensor({c.n, c.h, c.w, c.channels}, {}, 1, -2.0f, 3.0f);
    const ParameterPtr weight = random_parameter("weight", {c.channels}, {}, 2, 0.5f, 1.5f);
    const ParameterPtr bias = random_parameter("bias", {c.channels}, {}, 3);
    GroupNormOptions o;
    o.groups = c.groups;
    o.silu = c.silu;
    std::vector<Leaf> leaves{leaf("x", x), leaf(weight), leaf(bias)};
    if (c.add) o.add = random_tensor({c.n, c.channels}, {}, 4);
    // Where each channel is a group, what is added to it is taken off again: no gradient.
    if (c.add && c.groups < c.channels) leaves.push_back(leaf("add", o.add));
    if (c.scale_shift) {
      o.scale_shift = random_tensor({c.n, 2 * c.channels}, {}, 5);
      leaves.push_back(leaf("scale_shift", o.scale_shift));
    }
    check_gradients(leaves, [&] { return group_norm(x, weight, bias, o); },
                    {.step = 2e-3f, .tolerance = 4e-3});
  }
}

TEST_F(DiffusionOpsTape, OtherGradientsMatchFiniteDifferences) {
  const Tensor x = random_tensor({2, 4, 6, 6}, {}, 1, -3.0f, 3.0f);
  const FiniteDifference curved{.step = 2e-3f, .tolerance = 4e-3};
  check_gradients(
      {leaf("x", x)}, [&] { return silu(x); }, curved);
  check_gradients({leaf("x", x)}, [&] { return upsample_nearest_2x(x); });
  check_gradients({leaf("x", x)}, [&] { return average_pool_2x(x); });
  check_gradients({leaf("x", x)}, [&] { return dropout(x, 0.4f, 1, 2); });
  check_gradients(
      {leaf("qkv", x)}, [&] { return attention(x, 1); }, curved);
}

// Both nodes on the tape stand for one tensor: the gradient goes through each of them once.
TEST_F(DiffusionOpsTape, ConvolutionOntoAnotherMatchesFiniteDifferences) {
  const Tensor a = random_tensor({2, 4, 5, 3}, {}, 1), b = random_tensor({2, 4, 5, 2}, {}, 2);
  const ParameterPtr first = random_parameter("first", {4, 3, 3, 3}, {}, 3);
  const ParameterPtr first_bias = random_parameter("first_bias", {4}, {}, 4);
  const ParameterPtr second = random_parameter("second", {4, 1, 1, 2}, {}, 5);
  const ParameterPtr second_bias = random_parameter("second_bias", {4}, {}, 6);
  check_gradients(
      {leaf("a", a), leaf("b", b), leaf(first), leaf(first_bias), leaf(second), leaf(second_bias)}, [&] {
        return conv2d_onto(conv2d(a, first, first_bias, {1, 1, 1}), b, second, second_bias, {});
      });
  check_gradients({leaf("a", a), leaf("b", b)}, [&] {
    const Tensor y = conv2d(a, first, first_bias, {1, 1, 1});
    return conv2d(b, second, second_bias, {}, y);
  });
}

TEST_F(DiffusionOpsTape, WithoutGradientsNothingIsRecorded) {
  Tensor x = random_tensor({1, 4, 4, 6}, {}, 1);
  EXPECT_FALSE(silu(x).needs_grad());
  EXPECT_FALSE(attention(x, 2).needs_grad());
  x.set_needs_grad();
  const NoGrad looking;
  EXPECT_FALSE(silu(x).needs_grad());
  EXPECT_FALSE(average_pool_2x(x).needs_grad());
  EXPECT_FALSE(noise_loss(x, x).total.needs_grad());
}

TEST_F(DiffusionOpsTape, TimeEmbeddingIsCosinesThenSines) {
  const std::int32_t t[] = {0, 1, 999};
  const std::vector<float> y =
      time_embedding(Tensor::from_host<std::int32_t>({3}, t), 64, DType::f32).to_floats();
  for (std::size_t n = 0; n < 3; ++n) {
    for (std::size_t i = 0; i < 32; ++i) {
      const double angle = t[n] * std::exp(-std::log(10000.0) * static_cast<double>(i) / 32);
      EXPECT_NEAR(y[n * 64 + i], std::cos(angle), 2e-6) << n << " " << i;
      EXPECT_NEAR(y[n * 64 + 32 + i], std::sin(angle), 2e-6) << n << " " << i;
    }
  }
}

TEST_F(DiffusionOpsTape, ForwardDiffusionMixesPictureAndNoise) {
  const std::vector<float> signal{0.9f, 0.6f}, sigma{0.2f, 0.8f};
  const DiffusionTables tables{Tensor::from_host<float>({2}, signal), Tensor::from_host<float>({2}, sigma)};
  const Tensor x_0 = random_tensor({2, 16, 16, 3}, {}, 1);
  const std::int32_t t[] = {1, 0};
  const Tensor timesteps = Tensor::from_host<std::int32_t>({2}, t);
  const NoisedPictures noised = forward_diffusion(x_0, timesteps, tables, 3, 10);
  Doubles expected = doubles(x_0);
  const Doubles noise = doubles(noised.target);
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const auto k = static_cast<std::size_t>(t[i / 768]);
    expected[i] = signal[k] * expected[i] + sigma[k] * noise[i];
  }
  expect_close(noised.x_t, expected, 1e-6, "x_t");
  // A sample's noise is its own, wherever it lies in the batch.
  const Tensor second = Tensor::empty({1, 16, 16, 3}, DType::f32);
  copy_bytes(second.raw(), {}, x_0.data<float>() + 768, {}, second.bytes());
  const std::vector<float> alone =
      forward_diffusion(second, Tensor::from_host<std::int32_t>({1}, {t, 1}), tables, 3, 11)
          .target.to_floats();
  const std::vector<float> together = noised.target.to_floats();
  EXPECT_EQ(alone, std::vector<float>(together.begin() + 768, together.end()));
}

TEST_F(DiffusionOpsTape, SaysWhatDoesNotFit) {
  const Tensor x = random_tensor({2, 3, 4, 6}, {}, 1);
  const ParameterPtr weight = random_parameter("norm.weight", {6}, {}, 2),
                     other = random_parameter("other", {5}, {}, 3);
  GroupNormOptions three;
  three.groups = 3;
  expect_error<ShapeError>([&] { group_norm(x, weight, weight, {}); },
                           {"group_norm", "6 channels", "32 groups"});
  expect_error<ShapeError>([&] { group_norm(x, weight, other, three); }, {"group_norm", "other", "[5]"});
  GroupNormOptions added = three;
  added.add = Tensor::zeros({2, 5}, DType::f32);
  expect_error<ShapeError>([&] { group_norm(x, weight, weight, added); }, {"added", "[2, 6]", "[2, 5]"});
  expect_error<ShapeError>([&] { average_pool_2x(x); }, {"even", "[2, 3, 4, 6]"});
  expect_error<ShapeError>([&] { attention(x, 4); }, {"attention", "[2, 3, 4, 6]", "4 heads"});
  expect_error<Error>([&] { dropout(x, 1.0f, 0, 0); }, {"dropout", "1"});
  expect_error<ShapeError>(
      [&] {
        noise_loss(x, Tensor::zeros({2, 3, 4, 6}, DType::bf16));
      },
      {"noise", "bf16"});
  expect_error<ShapeError>([&] { time_embedding(Tensor::zeros({2}, DType::i32), 7, DType::f32); },
                           {"7 channels"});
  const ParameterPtr square = random_parameter("square", {6, 1, 1, 6}, {}, 4);
  expect_error<ShapeError>([&] { conv2d_onto(x, x, square, nullptr, {}); }, {"written over"});
  expect_error<ShapeError>(
      [&] {
        conv2d(x, square, nullptr, {}, Tensor::zeros({2, 3, 4, 5}, DType::f32));
      },
      {"residual", "[2, 3, 4, 5]", "[2, 3, 4, 6]"});
  ReverseStep step;
  expect_error<ShapeError>([&] { reverse_step(x, x, step, false); }, {"reverse_step", "0 pictures for 2"});
  step.coefficients.resize(2);
  step.known = x;
  expect_error<ShapeError>([&] { reverse_step(x, x, step, false); }, {"needs a mask"});
}

}  // namespace
}  // namespace ddpmts::test
