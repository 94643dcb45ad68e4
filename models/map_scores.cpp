#include "models/map_scores.h"

#include "kernels/top_k_mean.h"

namespace ddpmts {

std::vector<float> top_k_scores(const Tensor& map, std::int64_t k) {
  const Tensor scores = Tensor::empty({map.dim(0)}, DType::f32, map.device());
  kernels::TopKMeanArgs args;
  args.n = map.dim(0);
  args.pixels = map.count() / map.dim(0);
  args.k = k;
  args.map = map.data<float>();
  args.score = scores.data<float>();
  DDPMTS_LAUNCH(map.device(), top_k_mean, args);
  return scores.to_floats();
}

}  // namespace ddpmts
