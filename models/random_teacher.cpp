#include "models/random_teacher.h"

#include <cmath>

#include "layers/initialize.h"
#include "models/model_file.h"

namespace ddpmts {

void write_random_teacher(const std::filesystem::path& path, std::uint64_t seed, TeacherDepth depth) {
  std::vector<std::pair<std::string, Tensor>> tensors;
  std::uint64_t index = 0;
  for (const TeacherConv& conv : teacher_convs(depth)) {
    const auto [k, c, side] = std::tuple(conv.shape[0], conv.shape[3], conv.shape[1]);
    const double deviation = std::sqrt(2.0 / static_cast<double>(c * side * side));  // fan_in
    const Shape oihw{k, c, side, side};
    const std::vector<float> weight = normal_values(oihw.count(), deviation, seed, index++);
    tensors.emplace_back(conv.name + ".weight", Tensor::from_host<float>(oihw, weight));
    tensors.emplace_back(conv.name + ".bias", Tensor::zeros({k}, DType::f32));
  }
  write_tensors(path, tensors, {{"teacher", "random"}, {"seed", std::to_string(seed)}});
}

}  // namespace ddpmts
