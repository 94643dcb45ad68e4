// The attention kernels against plain loops in double precision, on the host shim.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "engine/cuda/device_kernels.h"
#include "kernels/philox.h"

namespace ddpmts::cuda {
namespace {

using Doubles = std::vector<double>;
const kernels::Stream kStream;

std::size_t size(std::int64_t count) { return static_cast<std::size_t>(count); }

// Numbers in the element type's own memory.
struct Elements {
  Elements(DType of, std::int64_t count) : type(of), bytes(size(count) * size_of(of), 0xff) {}
  Elements(DType of, std::int64_t count, std::uint64_t step, float range) : Elements(of, count) {
    const kernels::Philox philox{0x5eed, kernels::RandomStream::drawing, step};
    for (std::int64_t i = 0; i < count; ++i) {
      set(size(i), kernels::uniform(philox.bits(static_cast<std::uint32_t>(i)).x, -range, range));
    }
  }
  void* data() { return bytes.data(); }
  void set(std::size_t i, float value) {
    if (type == DType::bf16) {
      reinterpret_cast<bf16*>(bytes.data())[i] = from_float<bf16>(value);
    } else {
      reinterpret_cast<float*>(bytes.data())[i] = value;
    }
  }
  double operator[](std::size_t i) const {
    if (type == DType::bf16)
      return static_cast<double>(to_float(reinterpret_cast<const bf16*>(bytes.data())[i]));
    return static_cast<double>(reinterpret_cast<const float*>(bytes.data())[i]);
  }
  DType type;
  std::vector<std::uint8_t> bytes;
};

// Everything in double: the formula of engine/primitives.h and its derivative.
struct Twin {
  Twin(const AttentionShape& shape, const Elements& qkv, const Elements& dout) : s(shape) {
    const std::int64_t d = s.head_channels;
    out.resize(size(s.n * s.tokens * s.channels()));
    dqkv.resize(3 * out.size());
    log_sums.resize(size(s.n * s.heads * s.tokens));
    const double scale = 1.0 / std::sqrt(static_cast<double>(d));
    for (std::int64_t i = 0; i < s.n; ++i) {
      for (std::int64_t head = 0; head < s.heads; ++head) {
        const auto in = [&](std::int64_t t, std::int64_t part, std::int64_t c) {
          return size(((i * s.tokens + t) * 3 + part) * s.channels() + head * d + c);
        };
        const auto result = [&](std::int64_t t, std::int64_t c) {
          return size((i * s.tokens + t) * s.channels() + head * d + c);
        };
        for (std::int64_t t = 0; t < s.tokens; ++t) {
          Doubles weight(size(s.tokens)), dweight(size(s.tokens));
          double sum = 0.0, dot = 0.0;
          for (std::int64_t u = 0; u < s.tokens; ++u) {
            double product = 0.0;
            for (std::int64_t c = 0; c < d; ++c) product += qkv[in(t, 0, c)] * qkv[in(u, 1, c)];
            sum += weight[size(u)] = std::exp(product * scale);
          }
          log_sums[size((i * s.heads + head) * s.tokens + t)] = std::log(sum);
          for (std::int64_t u = 0; u < s.tokens; ++u) {
            weight[size(u)] /= sum;
            for (std::int64_t c = 0; c < d; ++c) {
              out[result(t, c)] += weight[size(u)] * qkv[in(u, 2, c)];
              dweight[size(u)] += dout[result(t, c)] * qkv[in(u, 2, c)];
              dqkv[in(u, 2, c)] += weight[size(u)] * dout[result(t, c)];
            }
            dot += weight[size(u)] * dweight[size(u)];
          }
          for (std::int64_t u = 0; u < s.tokens; ++u) {
            const double dlogit = weight[size(u)] * (dweight[size(u)] - dot) * scale;
            for (std::int64_t c = 0; c < d; ++c) {
              dqkv[in(t, 0, c)] += dlogit * qkv[in(u, 1, c)];
              dqkv[in(u, 1, c)] += dlogit * qkv[in(t, 0, c)];
            }
          }
        }
      }
    }
  }
  AttentionShape s;
  Doubles out, dqkv, log_sums;
};

void expect_close(const Elements& actual, const Doubles& expected, double tolerance,
                  const std::string& what) {
  for (std::size_t i = 0; i < expected.size(); ++i) {
    ASSERT_LE(std::abs(actual[i] - expected[i]), tolerance * (1.0 + std::abs(expected[i])))
        << what << "[" << i << "]: " << actual[i] << " instead of " << expected[i];
  }
}

class AttentionKernels : public ::testing::TestWithParam<DType> {};
INSTANTIATE_TEST_SUITE_P(, AttentionKernels, ::testing::Values(DType::f32, DType::bf16),
                         [](const auto& value) { return std::string(name_of(value.param)); });

TEST_P(AttentionKernels, MatchTheLoops) {
  const DType type = GetParam();
  // One of everything; odd sizes; tiles that are just full, and one token more; more than one slice of channels.
  const AttentionShape shapes[] = {{1, 1, 1, 1, type},  {2, 12, 2, 5, type},   {1, 64, 1, 8, type},
                                   {1, 65, 2, 4, type}, {1, 131, 1, 33, type}, {2, 17, 1, 70, type},
                                   {1, 9, 3, 132, type}};
  for (const AttentionShape& s : shapes) {
    SCOPED_TRACE(std::to_string(s.n) + " of " + std::to_string(s.tokens) + " tokens, " +
                 std::to_string(s.heads) + " heads of " + std::to_string(s.head_channels));
    const std::int64_t count = s.n * s.tokens * s.channels();
    Elements qkv(type, 3 * count, 1, 2.0f), dout(type, count, 2, 1.0f), out(type, count),
        dqkv(type, 3 * count);
    Elements log_sums(DType::f32, s.n * s.heads * s.tokens), dots(DType::f32, s.n * s.heads * s.tokens);
    attention_softmax(s, qkv.data(), out.data(), static_cast<float*>(log_sums.data()), kStream);
    attention_gradients({s, qkv.data(), out.data(), dout.data(), static_cast<const float*>(log_sums.data()),
                         static_cast<float*>(dots.data()), dqkv.data()},
                        kStream);
    const Twin twin(s, qkv, dout);
    const double rounding = type == DType::bf16 ? 0x1p-8 : 2e-6;
    expect_close(out, twin.out, rounding, "out");
    expect_close(log_sums, twin.log_sums, 2e-6, "log_sums");
    // The rows' dot products are made of the rounded result.
    expect_close(dqkv, twin.dqkv, 4 * rounding, "dqkv");
    Elements alone(type, count);
    attention_softmax(s, qkv.data(), alone.data(), nullptr, kStream);
    EXPECT_EQ(alone.bytes, out.bytes);
  }
}

TEST_P(AttentionKernels, LargeLogitsDoNotOverflow) {
  const AttentionShape s{1, 70, 1, 4, GetParam()};
  Elements qkv(s.type, 3 * 70 * 4, 1, 1.0f), out(s.type, 70 * 4);
  for (std::size_t t = 0; t < 70;
       ++t) {  // logits of up to 40000; token 66's key is the nearest to every query
    for (std::size_t c = 0; c < 4; ++c) {
      qkv.set(12 * t + c, 200.0f);
      qkv.set(12 * t + 4 + c, t == 66 ? 100.0f : t % 2 == 0 ? 50.0f : -100.0f);
    }
  }
  attention_softmax(s, qkv.data(), out.data(), nullptr, kStream);
  for (std::size_t i = 0; i < 70 * 4; ++i) EXPECT_EQ(out[i], qkv[12 * 66 + 8 + i % 4]) << i;
}

TEST_P(AttentionKernels, NanStaysInItsHead) {
  const AttentionShape s{2, 5, 2, 3, GetParam()};
  Elements qkv(s.type, 3 * 2 * 5 * 6, 1, 1.0f), out(s.type, 2 * 5 * 6);
  qkv.set(18 + 3, std::nanf(""));      // picture 0, token 1, head 1, a query
  qkv.set(5 * 18 + 6, std::nanf(""));  // picture 1, token 0, head 0, a key
  attention_softmax(s, qkv.data(), out.data(), nullptr, kStream);
  for (std::size_t i = 0; i < 2 * 5 * 6; ++i) {
    const std::size_t picture = i / 30, token = i / 6 % 5, head = i / 3 % 2;
    EXPECT_EQ(std::isnan(out[i]), picture == 0 ? token == 1 && head == 1 : head == 0) << i;
  }
}

}  // namespace
}  // namespace ddpmts::cuda
