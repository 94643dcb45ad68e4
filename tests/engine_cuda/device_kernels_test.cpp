// The kernels of engine/cuda against plain loops in double precision, on the host shim.
#include "engine/cuda/device_kernels.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <string>
#include <vector>

#include "kernels/philox.h"

namespace ddpmts::cuda {
namespace {

using Doubles = std::vector<double>;
const kernels::Stream kStream;

std::size_t size(std::int64_t count) { return static_cast<std::size_t>(count); }

// An array of f32 or bf16 that a kernel reads or writes.
class Array {
 public:
  Array(DType type, std::int64_t count) : type_(type), bytes_(size(count) * size_of(type), 0xff) {}
  Array(DType type, const Doubles& values) : Array(type, static_cast<std::int64_t>(values.size())) {
    for (std::size_t i = 0; i < values.size(); ++i) set(i, static_cast<float>(values[i]));
  }
  void* data() { return bytes_.data(); }
  std::size_t count() const { return bytes_.size() / size_of(type_); }
  float operator[](std::size_t i) const {
    if (type_ == DType::bf16) return to_float(reinterpret_cast<const bf16*>(bytes_.data())[i]);
    return reinterpret_cast<const float*>(bytes_.data())[i];
  }
  void set(std::size_t i, float value) {
    if (type_ == DType::bf16) {
      reinterpret_cast<bf16*>(bytes_.data())[i] = from_float<bf16>(value);
    } else {
      reinterpret_cast<float*>(bytes_.data())[i] = value;
    }
  }
  Doubles values() const {
    Doubles result(count());
    for (std::size_t i = 0; i < result.size(); ++i) result[i] = static_cast<double>((*this)[i]);
    return result;
  }

 private:
  DType type_;
  std::vector<std::uint8_t> bytes_;
};

Array random_array(DType type, std::int64_t count, std::uint64_t step) {
  const kernels::Philox philox{0x5eed, kernels::RandomStream::drawing, step};
  Array array(type, count);
  for (std::int64_t i = 0; i < count; ++i) {
    array.set(size(i), kernels::uniform(philox.bits(static_cast<std::uint32_t>(i)).x, -1.0f, 1.0f));
  }
  return array;
}

void expect_close(const Array& actual, const Doubles& expected, double tolerance, const std::string& what) {
  ASSERT_EQ(actual.count(), expected.size()) << what;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    ASSERT_LE(std::abs(static_cast<double>(actual[i]) - expected[i]),
              tolerance * (1.0 + std::abs(expected[i])))
        << what << "[" << i << "]: " << actual[i] << " instead of " << expected[i];
  }
}

double tolerance(DType type) { return type == DType::bf16 ? 0x1p-8 : 1e-5; }

class DeviceKernels : public ::testing::TestWithParam<DType> {
 protected:
  static DType type() { return GetParam(); }
};
INSTANTIATE_TEST_SUITE_P(, DeviceKernels, ::testing::Values(DType::f32, DType::bf16),
                         [](const auto& value) { return std::string(name_of(value.param)); });

TEST_P(DeviceKernels, CopyRowsPadsWithZerosAndNarrows) {
  const std::array<std::int64_t, 4> cases[] = {{7, 3, 7, 8},  {5, 5, 8, 8},     {1, 1, 1, 8}, {40, 8, 40, 3},
                                               {9, 16, 5, 7}, {300, 3, 300, 8}, {6, 8, 6, 8}, {2, 1, 3, 2}};
  for (const auto& [src_rows, src_columns, dst_rows, dst_columns] : cases) {
    Array src = random_array(type(), src_rows * src_columns, 1);
    Array dst(type(), dst_rows * dst_columns);
    copy_rows({size_of(type()), src_rows, src_columns, dst_rows, dst_columns, src.data(), dst.data()},
              kStream);
    for (std::int64_t r = 0; r < dst_rows; ++r) {
      for (std::int64_t c = 0; c < dst_columns; ++c) {
        const float expected = r < src_rows && c < src_columns ? src[size(r * src_columns + c)] : 0.0f;
        ASSERT_EQ(dst[size(r * dst_columns + c)], expected)
            << src_rows << "x" << src_columns << " to " << dst_rows << "x" << dst_columns << " at " << r
            << "," << c;
      }
    }
  }
}

TEST_P(DeviceKernels, EpilogueAddsAndRectifies) {
  for (const auto& [rows, channels] :
       {std::array<std::int64_t, 2>{1, 1}, {13, 7}, {33, 64}, {300, 8}, {5, 12}}) {
    Array sum = random_array(DType::f32, rows * channels, 2), bias = random_array(DType::f32, channels, 3);
    Array residual = random_array(type(), rows * channels, 4);
    for (int form = 0; form < 8; ++form) {
      Doubles expected = sum.values();
      for (std::size_t i = 0; i < expected.size(); ++i) {
        if (form & 1) expected[i] += static_cast<double>(bias[i % size(channels)]);
        if (form & 2) expected[i] += static_cast<double>(residual[i]);
        if (form & 4) expected[i] = std::max(expected[i], 0.0);
      }
      Array y =
          form & 2 ? residual : Array(type(), rows * channels);  // a residual may be overwritten in place
      epilogue({type(), rows, channels, static_cast<const float*>(sum.data()),
                form & 1 ? static_cast<const float*>(bias.data()) : nullptr, form & 2 ? y.data() : nullptr,
                (form & 4) != 0, y.data()},
               kStream);
      expect_close(y, expected, tolerance(type()), "epilogue " + std::to_string(form));
    }
  }
}

TEST_P(DeviceKernels, EpilogueKeepsNaN) {
  Array sum(DType::f32, Doubles{std::nan(""), -1.0, 2.0});
  Array y(type(), 3);
  epilogue({type(), 1, 3, static_cast<const float*>(sum.data()), nullptr, nullptr, true, y.data()}, kStream);
  EXPECT_TRUE(std::isnan(y[0]));
  EXPECT_EQ(y[1], 0.0f);
  EXPECT_EQ(y[2], 2.0f);
}

TEST_P(DeviceKernels, RowSumsMatchTheLoop) {
  const std::array<std::int64_t, 3> cases[] = {{1, 1, 1},     {1, 13, 7},  {3, 35, 64},
                                               {1, 1000, 66}, {2, 129, 1}, {4, 63, 72}};
  for (const auto& [groups, rows, channels] : cases) {
    for (const DType dst_type : {DType::f32, type()}) {
      Array src = random_array(type(), groups * rows * channels, 5);
      RowSumsArgs args;
      args.type = type();
      args.dst_type = dst_type;
      args.groups = groups;
      args.rows = rows;
      args.channels = channels;
      args.scale = 0.5f;
      Array partials(DType::f32, row_sum_slices(args) * groups * channels), dst(dst_type, groups * channels);
      args.src = src.data();
      args.dst = dst.data();
      args.partials = static_cast<float*>(partials.data());
      row_sums(args, kStream);
      Doubles expected(size(groups * channels));
      for (std::size_t i = 0; i < src.count(); ++i) {
        const std::size_t group = i / size(rows * channels), channel = i % size(channels);
        expected[group * size(channels) + channel] += 0.5 * static_cast<double>(src[i]);
      }
      expect_close(dst, expected, tolerance(dst_type), "row sums of " + std::to_string(rows));
    }
  }
}

const ConvShape kConvCases[] = {
    {.n = 2, .h = 7, .w = 5, .c = 3, .r = 3, .s = 3, .padding = 1},
    {.n = 1, .h = 9, .w = 6, .c = 8, .r = 7, .s = 7, .stride = 2, .padding = 3},
    {.n = 2, .h = 8, .w = 8, .c = 16, .stride = 2},
    {.n = 1, .h = 6, .w = 7, .c = 5, .r = 3, .s = 3, .padding = 6, .dilation = 6},
    {.n = 1, .h = 5, .w = 9, .c = 8, .r = 1, .s = 3},
    {.n = 3, .h = 1, .w = 1, .c = 1, .r = 3, .s = 3, .padding = 1},
};

// f(index in x or −1 where padding, index in columns)
template <class F>
void for_each_window_element(const ConvShape& s, F&& f) {
  std::int64_t column = 0;
  for (std::int64_t n = 0; n < s.n; ++n)
    for (std::int64_t p = 0; p < s.out_h(); ++p)
      for (std::int64_t q = 0; q < s.out_w(); ++q)
        for (std::int64_t r = 0; r < s.r; ++r)
          for (std::int64_t t = 0; t < s.s; ++t)
            for (std::int64_t c = 0; c < s.c; ++c, ++column) {
              const std::int64_t h = p * s.stride - s.padding + r * s.dilation;
              const std::int64_t w = q * s.stride - s.padding + t * s.dilation;
              const bool inside = h >= 0 && h < s.h && w >= 0 && w < s.w;
              f(inside ? ((n * s.h + h) * s.w + w) * s.c + c : -1, column);
            }
}

TEST_P(DeviceKernels, UnfoldMatchesTheLoop) {
  for (ConvShape s : kConvCases) {
    s.type = type();
    Array x = random_array(type(), s.n * s.h * s.w * s.c, 6);
    Array columns(type(), s.n * s.out_h() * s.out_w() * s.r * s.s * s.c);
    unfold({s, x.data(), columns.data()}, kStream);
    for_each_window_element(s, [&](std::int64_t from, std::int64_t to) {
      ASSERT_EQ(columns[size(to)], from < 0 ? 0.0f : x[size(from)]) << to;
    });
  }
}

TEST_P(DeviceKernels, FoldIsTheAdjoint) {
  for (ConvShape s : kConvCases) {
    s.type = type();
    Array columns = random_array(DType::f32, s.n * s.out_h() * s.out_w() * s.r * s.s * s.c, 7);
    Array dx(type(), s.n * s.h * s.w * s.c);
    fold({s, static_cast<const float*>(columns.data()), dx.data()}, kStream);
    Doubles expected(dx.count());
    for_each_window_element(s, [&](std::int64_t to, std::int64_t from) {
      if (to >= 0) expected[size(to)] += static_cast<double>(columns[size(from)]);
    });
    expect_close(dx, expected, tolerance(type()), "dx");
  }
}

const PoolShape kPoolCases[] = {
    {.n = 2, .h = 13, .w = 9, .c = 5},
    {.n = 1, .h = 8, .w = 8, .c = 16},
    {.n = 1, .h = 1, .w = 1, .c = 3},
    {.n = 2, .h = 6, .w = 4, .c = 8, .window_h = 2, .window_w = 2, .padding = 0},
    {.n = 1, .h = 7, .w = 5, .c = 2, .window_h = 3, .window_w = 2, .stride = 1, .padding = 0},
    {.n = 1,
     .h = 19,
     .w = 18,
     .c = 2,
     .window_h = 17,
     .window_w = 16,
     .stride = 1,
     .padding = 0},  // i32 indices
};

// f(output, window's input indices)
template <class F>
void for_each_window(const PoolShape& s, F&& f) {
  for (std::int64_t n = 0; n < s.n; ++n)
    for (std::int64_t p = 0; p < s.out_h(); ++p)
      for (std::int64_t q = 0; q < s.out_w(); ++q)
        for (std::int64_t c = 0; c < s.c; ++c) {
          std::vector<std::size_t> inputs;
          for (std::int64_t h = p * s.stride - s.padding; h < p * s.stride - s.padding + s.window_h; ++h)
            for (std::int64_t w = q * s.stride - s.padding; w < q * s.stride - s.padding + s.window_w; ++w)
              if (h >= 0 && h < s.h && w >= 0 && w < s.w)
                inputs.push_back(size(((n * s.h + h) * s.w + w) * s.c + c));
          f(size(((n * s.out_h() + p) * s.out_w() + q) * s.c + c), inputs);
        }
}

TEST_P(DeviceKernels, MaxPoolingMatchesTheLoop) {
  for (PoolShape s : kPoolCases) {
    s.type = type();
    const std::int64_t inputs = s.n * s.h * s.w * s.c, outputs = s.n * s.out_h() * s.out_w() * s.c;
    Array x = random_array(type(), inputs, 8), dy = random_array(type(), outputs, 9);
    Array y(type(), outputs), alone(type(), outputs), dx(type(), inputs);
    std::vector<std::uint8_t> index(size(outputs) * pool_index_bytes(s));
    max_pool_forward(s, x.data(), y.data(), index.data(), kStream);
    max_pool_forward(s, x.data(), alone.data(), nullptr, kStream);
    max_pool_backward(s, dy.data(), index.data(), dx.data(), kStream);
    Doubles expected(size(outputs)), gradient(size(inputs));
    for_each_window(s, [&](std::size_t out, const std::vector<std::size_t>& window) {
      std::size_t best = window[0];
      for (const std::size_t i : window) best = x[i] > x[best] ? i : best;
      expected[out] = static_cast<double>(x[best]);
      gradient[best] += static_cast<double>(dy[out]);
    });
    expect_close(y, expected, 0.0, "y");
    expect_close(alone, expected, 0.0, "y without a record");
    expect_close(dx, gradient, tolerance(type()), "dx");
  }
}

TEST_P(DeviceKernels, MaxPoolingPassesNaNOn) {
  PoolShape s{.n = 1, .h = 3, .w = 3, .c = 1, .window_h = 3, .window_w = 3, .stride = 1, .padding = 0};
  s.type = type();
  Array x = random_array(type(), 9, 10), y(type(), 1);
  x.set(4, std::nanf(""));
  max_pool_forward(s, x.data(), y.data(), nullptr, kStream);
  EXPECT_TRUE(std::isnan(y[0]));
}

TEST_P(DeviceKernels, AveragePoolingMatchesTheLoop) {
  for (PoolShape s : kPoolCases) {
    s.type = type();
    s.kind = PoolKind::average;
    const std::int64_t inputs = s.n * s.h * s.w * s.c, outputs = s.n * s.out_h() * s.out_w() * s.c;
    Array x = random_array(type(), inputs, 11), dy = random_array(type(), outputs, 12);
    Array y(type(), outputs), dx(type(), inputs);
    average_pool_forward(s, x.data(), y.data(), kStream);
    average_pool_backward(s, dy.data(), dx.data(), kStream);
    Doubles expected(size(outputs)), gradient(size(inputs));
    for_each_window(s, [&](std::size_t out, const std::vector<std::size_t>& window) {
      const double share = 1.0 / static_cast<double>(window.size());
      for (const std::size_t i : window) {
        expected[out] += share * static_cast<double>(x[i]);
        gradient[i] += share * static_cast<double>(dy[out]);
      }
    });
    expect_close(y, expected, tolerance(type()), "y");
    expect_close(dx, gradient, tolerance(type()), "dx");
  }
}

}  // namespace
}  // namespace ddpmts::cuda
