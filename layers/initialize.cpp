#include "layers/initialize.h"

#include <cmath>
#include <numbers>

#include "kernels/philox.h"

namespace ddpmts {

std::vector<float> normal_values(std::int64_t count, double deviation, std::uint64_t seed,
                                 std::uint64_t index) {
  const kernels::Philox random{seed, kernels::RandomStream::weights, index};
  std::vector<float> values(static_cast<std::size_t>(count));
  // Box–Muller: one block of four words gives four normals.
  for (std::size_t i = 0; i < values.size(); i += 4) {
    const kernels::Uint4 bits = random.bits(static_cast<std::uint32_t>(i / 4));
    const std::uint32_t words[4] = {bits.x, bits.y, bits.z, bits.w};
    for (std::size_t pair = 0; pair < 4; pair += 2) {
      const double radius =
          std::sqrt(-2.0 * std::log(1.0 - static_cast<double>(kernels::uniform01(words[pair]))));
      const double angle = 2.0 * std::numbers::pi * static_cast<double>(kernels::uniform01(words[pair + 1]));
      if (i + pair < values.size())
        values[i + pair] = static_cast<float>(deviation * radius * std::cos(angle));
      if (i + pair + 1 < values.size())
        values[i + pair + 1] = static_cast<float>(deviation * radius * std::sin(angle));
    }
  }
  return values;
}

void initialize_convolutions(const ParameterList& parameters, std::uint64_t seed) {
  for (std::size_t index = 0; index < parameters.size(); ++index) {
    Parameter& parameter = *parameters[index];
    const Shape& shape = parameter.shape();
    if (shape.rank() != 4) continue;
    const double deviation = std::sqrt(2.0 / static_cast<double>(shape[0] * shape[1] * shape[2]));  // fan_out
    const std::vector<float> values = normal_values(shape.count(), deviation, seed, index);
    parameter.value().copy_from(Tensor::from_host<float>(shape, values));
    parameter.changed();
  }
}

void initialize_uniform(const ParameterList& parameters, std::uint64_t seed) {
  for (std::size_t index = 0; index < parameters.size(); ++index) {
    Parameter& parameter = *parameters[index];
    const Shape& shape = parameter.shape();
    if (shape.rank() < 2) continue;
    const float bound = 1.0f / std::sqrt(static_cast<float>(shape.count() / shape[0]));
    const kernels::Philox random{seed, kernels::RandomStream::weights, index};
    std::vector<float> values(static_cast<std::size_t>(shape.count()));
    for (std::size_t i = 0; i < values.size(); i += 4) {
      const kernels::Uint4 block = random.bits(static_cast<std::uint32_t>(i / 4));
      const std::uint32_t words[] = {block.x, block.y, block.z, block.w};
      for (std::size_t j = 0; j < 4 && i + j < values.size(); ++j) {
        values[i + j] = kernels::uniform(words[j], -bound, bound);
      }
    }
    parameter.value().copy_from(Tensor::from_host<float>(shape, values));
    parameter.changed();
  }
}

void fill(Parameter& parameter, float value) {
  const std::vector<float> values(static_cast<std::size_t>(parameter.shape().count()), value);
  parameter.value().copy_from(Tensor::from_host<float>(parameter.shape(), values));
  parameter.changed();
}

}  // namespace ddpmts
