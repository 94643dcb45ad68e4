// Starting values of parameters, from counter-based random numbers: the same seed gives the same network
// everywhere.
#pragma once

#include "engine/parameter.h"

namespace ddpmts {

/// Kaiming-normal, fan_out, for ReLU: N(0, 2/(K·R·S)) for every convolution weight [K,R,S,C] in the list;
/// vectors keep what their layer gave them (norm weights 1, biases 0). `index` of a parameter in the list
/// keys its numbers.
void initialize_convolutions(const ParameterList& parameters, std::uint64_t seed);

/// Uniform in ±1/√fan_in for every weight of rank above 1 (a linear [out, in], a convolution [K,R,S,C]); vectors keep what
/// their layer gave them. `index` of a parameter in the list keys its numbers.
void initialize_uniform(const ParameterList& parameters, std::uint64_t seed);

/// `count` numbers from N(0, deviation²), a pure function of (seed, index).
std::vector<float> normal_values(std::int64_t count, double deviation, std::uint64_t seed,
                                 std::uint64_t index);

/// Fills a vector parameter with one value.
void fill(Parameter& parameter, float value);

}  // namespace ddpmts
