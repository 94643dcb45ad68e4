// `ddpmts check`: what this machine offers, and a one-second self-test of the arithmetic.
#include <cmath>
#include <cstdio>

#include "app/commands.h"
#include "app/progress_line.h"
#include "app/version.h"
#include "engine/ops.h"

namespace ddpmts::app {
namespace {

// A convolution of ones has sums that are known.
void self_test(DType type) {
  const NoGrad looking;
  constexpr std::int64_t kSide = 32, kChannels = 64;
  const auto weight =
      std::make_shared<Parameter>("self-test", Shape{kChannels, 3, 3, kChannels}, false, Device{});
  const std::vector<float> ones(static_cast<std::size_t>(kChannels * 9 * kChannels), 1.0f / 64.0f);
  weight->value().copy_from(Tensor::from_host<float>(weight->shape(), ones));
  weight->changed();
  if (type == DType::bf16) weight->keep_low_precision();
  const std::vector<float> input(static_cast<std::size_t>(kSide * kSide * kChannels), 1.0f);
  const Tensor x = Tensor::from_host<float>({1, kSide, kSide, kChannels}, input).cast(type);
  const std::vector<float> y = conv2d(x, weight, nullptr, {1, 1, 1}).to_floats();
  const std::size_t centre = static_cast<std::size_t>((kSide / 2 * kSide + kSide / 2) * kChannels);
  if (std::abs(y[0] - 4.0f) > 1e-3f || std::abs(y[centre] - 9.0f) > 1e-3f) {
    throw_error("self-test: a {} convolution gave {} and {} instead of 4 and 9", name_of(type), y[0],
                y[centre]);
  }
}

void run_check() {
  std::printf("%s\n", kVersion);
  std::printf("cpu        %s\n", describe(Device{}).c_str());
  const bool fast = has_fast_bf16(Device{});
  std::printf("bf16       %s\n", fast ? "in hardware: --precision auto takes it"
                                      : "not in hardware: --precision auto takes f32");
  for (const std::string& line : cuda_report()) std::printf("cuda       %s\n", line.c_str());
  self_test(DType::f32);
  if (fast) self_test(DType::bf16);
  std::printf("self-test  passed\n");
}

}  // namespace

void add_check(CLI::App& app) {
  app.add_subcommand("check", "Show what this machine offers and test the arithmetic.")->callback(run_check);
}

}  // namespace ddpmts::app
