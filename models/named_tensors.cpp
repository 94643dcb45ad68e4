#include "models/named_tensors.h"

namespace ddpmts {

bool NamedTensors::has(const std::string& name) const { return file_->find(prefix_ + name) != nullptr; }

std::vector<float> NamedTensors::read(const std::string& name, const Shape& shape) const {
  if (shape.rank() != 4 || order_ == WeightOrder::krsc)
    return file_->read_f32(prefix_ + name, shape.extents());
  const Shape oihw{shape[0], shape[3], shape[1], shape[2]};
  return oihw_to_krsc(file_->read_f32(prefix_ + name, oihw.extents()), shape);
}

void NamedTensors::load_into(const ParameterList& parameters) const {
  for (const ParameterPtr& parameter : parameters) {
    const std::vector<float> values = read(parameter->name(), parameter->shape());
    parameter->value().copy_from(Tensor::from_host<float>(parameter->shape(), values));
    parameter->changed();
  }
}

std::vector<float> oihw_to_krsc(std::span<const float> values, const Shape& krsc) {
  const std::size_t k = krsc[0], taps = krsc[1] * krsc[2], c = krsc[3];
  std::vector<float> result(values.size());
  for (std::size_t o = 0; o < k; ++o) {
    for (std::size_t i = 0; i < c; ++i) {
      for (std::size_t t = 0; t < taps; ++t) result[(o * taps + t) * c + i] = values[(o * c + i) * taps + t];
    }
  }
  return result;
}

std::vector<float> krsc_to_oihw(std::span<const float> values, const Shape& krsc) {
  // The same permutation the other way: the two inner axes change places.
  return oihw_to_krsc(values, Shape{krsc[0], krsc[3], 1, krsc[1] * krsc[2]});
}

}  // namespace ddpmts
