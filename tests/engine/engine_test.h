// What the engine's and the layers' tests share: where they run, reproducible random tensors, comparison with
// double-precision references, and expected errors.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "engine/autograd.h"
#include "engine/parameter.h"
#include "kernels/philox.h"

namespace ddpmts::test {

using Doubles = std::vector<double>;

/// A device and an element type to run a test on.
struct Placement {
  Device device;
  DType type = DType::f32;
};

inline void PrintTo(const Placement& where, std::ostream* out) {
  *out << where.device.name() << " " << name_of(where.type);
}

/// The CPU, and where the program holds the CUDA device, the first GPU (present or not).
inline std::vector<Placement> placements() {
  std::vector<Placement> all{{Device{}, DType::f32}, {Device{}, DType::bf16}};
  const Device gpu{DeviceType::cuda, 0};
  if (built_with_cuda()) all.insert(all.end(), {{gpu, DType::f32}, {gpu, DType::bf16}});
  return all;
}

/// Why the device cannot be used; empty when it can.
inline std::string why_unusable(Device device) {
  try {
    require_device(device);
  } catch (const DeviceError& e) {
    return e.what();
  }
  return "";
}

inline std::string placement_name(const ::testing::TestParamInfo<Placement>& info) {
  std::string name = info.param.device.name() + "_" + name_of(info.param.type);
  for (char& c : name) c = c == ':' ? '_' : c;
  return name;
}

/// Starts and ends every test with an empty tape.
class TapeTest : public ::testing::Test {
 protected:
  TapeTest() { clear_tape(); }
  ~TapeTest() override { clear_tape(); }
};

/// Runs on every placement; says so where the machine lacks the device or cannot compute in bf16.
class EngineTest : public ::testing::TestWithParam<Placement> {
 protected:
  void SetUp() override {
    clear_tape();
    if (const std::string reason = why_unusable(device()); !reason.empty()) GTEST_SKIP() << reason;
    if (type() == DType::bf16 && !has_fast_bf16(device())) {
      GTEST_SKIP() << device().name() << " does not compute in bf16";
    }
  }
  void TearDown() override { clear_tape(); }
  static Device device() { return GetParam().device; }
  static DType type() { return GetParam().type; }
};

#define DDPMTS_ON_EVERY_PLACEMENT(suite)                                               \
  INSTANTIATE_TEST_SUITE_P(, suite, ::testing::ValuesIn(::ddpmts::test::placements()), \
                           ::ddpmts::test::placement_name)

/// `count` numbers in [low, high), the same for the same `step`.
inline std::vector<float> random_floats(std::int64_t count, std::uint64_t step, float low = -1.0f,
                                        float high = 1.0f) {
  const kernels::Philox philox{0x5eed, kernels::RandomStream::drawing, step};
  std::vector<float> values(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < values.size(); ++i) {
    const kernels::Uint4 block = philox.bits(static_cast<std::uint32_t>(i / 4));
    const std::uint32_t words[] = {block.x, block.y, block.z, block.w};
    values[i] = kernels::uniform(words[i % 4], low, high);
  }
  return values;
}

/// A random tensor, rounded to its element type.
inline Tensor random_tensor(const Shape& shape, const Placement& where, std::uint64_t step, float low = -1.0f,
                            float high = 1.0f) {
  return Tensor::from_host<float>(shape, random_floats(shape.count(), step, low, high), where.device)
      .cast(where.type);
}

/// A tensor of NaNs: what an operation must overwrite.
inline Tensor poisoned(const Shape& shape, const Placement& where) {
  const std::vector<float> values(static_cast<std::size_t>(shape.count()), std::nanf(""));
  return Tensor::from_host<float>(shape, values, where.device).cast(where.type);
}

inline void set_values(Parameter& parameter, const std::vector<float>& values) {
  parameter.value().copy_from(Tensor::from_host<float>(parameter.shape(), values));
  parameter.changed();
}

/// A random parameter with a copy in the placement's element type.
inline ParameterPtr random_parameter(const std::string& name, const Shape& shape, const Placement& where,
                                     std::uint64_t step, float low = -1.0f, float high = 1.0f,
                                     bool trainable = true) {
  auto parameter = std::make_shared<Parameter>(name, shape, trainable, where.device);
  set_values(*parameter, random_floats(shape.count(), step, low, high));
  if (where.type == DType::bf16) parameter->keep_low_precision();
  return parameter;
}

inline Doubles doubles(const std::vector<float>& values) { return {values.begin(), values.end()}; }
inline Doubles doubles(const Tensor& tensor) { return doubles(tensor.to_floats()); }

/// Relative error of one rounding to the element type after a sum in f32.
inline double tolerance(DType type) { return type == DType::bf16 ? 0x1p-8 : 1e-5; }

/// |actual − expected| ≤ tolerance·(|expected| + rms(expected)) for every element; reports the first that is not.
inline void expect_close(const std::vector<float>& actual, const Doubles& expected, double tolerance,
                         const std::string& what) {
  ASSERT_EQ(actual.size(), expected.size()) << what;
  double square = 0;
  for (const double e : expected) square += e * e;
  const double scale = std::sqrt(square / std::max<double>(1.0, static_cast<double>(expected.size())));
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double difference = std::abs(static_cast<double>(actual[i]) - expected[i]);
    if (!(difference <= tolerance * (std::abs(expected[i]) + scale))) {
      ADD_FAILURE() << what << "[" << i << "] of " << expected.size() << " is " << actual[i] << ", expected "
                    << expected[i] << "; rms " << scale << ", tolerance " << tolerance;
      return;
    }
  }
}
inline void expect_close(const Tensor& actual, const Doubles& expected, double tolerance,
                         const std::string& what) {
  ASSERT_TRUE(static_cast<bool>(actual)) << what << " is missing";
  expect_close(actual.to_floats(), expected, tolerance, what);
}

/// Both tensors hold the same bits (of the values as floats).
inline void expect_same_values(const Tensor& actual, const Tensor& expected, const std::string& what) {
  ASSERT_EQ(actual.shape(), expected.shape()) << what;
  EXPECT_EQ(actual.to_floats(), expected.to_floats()) << what;
}

/// `call` throws an E whose message contains every one of `parts`.
template <class E, class F>
void expect_error(F&& call, const std::vector<std::string>& parts) {
  try {
    std::forward<F>(call)();
  } catch (const E& e) {
    for (const std::string& part : parts) {
      EXPECT_NE(std::string(e.what()).find(part), std::string::npos)
          << "'" << e.what() << "' does not say '" << part << "'";
    }
    return;
  } catch (const std::exception& e) {
    FAIL() << "another kind of error than expected: " << e.what();
  }
  FAIL() << "nothing was thrown";
}

/// Runs backward() from `y` with dL/dy = `dy`.
inline void backward_from(const Tensor& y, const Tensor& dy) {
  ASSERT_TRUE(y.needs_grad());
  const Tensor loss = Tensor::zeros({1}, DType::f32, y.device());
  record(loss, [y, dy](const Tensor&) { add_grad(y, dy); });
  backward(loss);
}

}  // namespace ddpmts::test
