// Weights by name, wherever they come from: a torchvision file (OIHW) or a model of ours (KRSC).
#pragma once

#include <span>
#include <string>
#include <vector>

#include "engine/files/safetensors.h"
#include "engine/parameter.h"

namespace ddpmts {

enum class WeightOrder { oihw, krsc };

class NamedTensors {
 public:
  /// Takes tensors whose names start with `prefix`; the rest of the file is not looked at.
  NamedTensors(const SafetensorsFile& file, WeightOrder order, std::string prefix = "")
      : file_(&file), order_(order), prefix_(std::move(prefix)) {}

  bool has(const std::string& name) const;
  /// f32 values in KRSC order. Throws Error naming the file, the tensor, and the shape expected and found.
  std::vector<float> read(const std::string& name, const Shape& shape) const;
  /// Fills every parameter of the list from the tensor of its name.
  void load_into(const ParameterList& parameters) const;

 private:
  const SafetensorsFile* file_;
  WeightOrder order_;
  std::string prefix_;
};

/// [K,C,R,S] → [K,R,S,C].
std::vector<float> oihw_to_krsc(std::span<const float> values, const Shape& krsc);
/// [K,R,S,C] → [K,C,R,S].
std::vector<float> krsc_to_oihw(std::span<const float> values, const Shape& krsc);

}  // namespace ddpmts
