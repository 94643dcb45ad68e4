#include "models/feature_memory.h"

#include <algorithm>
#include <cmath>

#include "data/defect_recipe.h"
#include "engine/primitives.h"
#include "layers/initialize.h"

namespace ddpmts {
namespace {

constexpr std::int64_t kProjected = 64;
// What is drawn here must not repeat what the same seed draws for weights and epochs.
constexpr std::uint64_t kOwnSeed = 0x6d656d6f7279;

}  // namespace

Tensor memory_features(const std::vector<Tensor>& teacher_features) {
  const Tensor& layer2 = teacher_features[1];
  return concat_resized({average_pool(teacher_features[0], 6, 2, 2), average_pool(layer2, 3, 1, 1),
                         average_pool(teacher_features[2], 3, 1, 1)},
                        layer2.dim(1), layer2.dim(2));
}

MemoryCandidates::MemoryCandidates(const FeatureMemoryConfig& config, std::int64_t pictures,
                                   std::uint64_t seed)
    : config_(config), pictures_(pictures), seed_(seed ^ kOwnSeed) {
  if (config.vectors < 1 || config.candidates < config.vectors) {
    throw_error("feature memory: {} vectors out of {} candidates make no sense", config.vectors,
                config.candidates);
  }
}

void MemoryCandidates::add(const Tensor& features) {
  const std::int64_t positions = features.dim(1) * features.dim(2);
  const std::int64_t from_each =
      std::clamp<std::int64_t>((config_.candidates + pictures_ - 1) / pictures_, 1, positions);
  const std::vector<float> values = features.to_floats();
  for (std::int64_t i = 0; i < features.dim(0); ++i, ++seen_) {
    for (std::int64_t k = 0; k < from_each; ++k) {
      const std::int64_t position =
          i * positions + shuffled_index(seed_, static_cast<std::uint64_t>(seen_), k, positions);
      const auto first = values.begin() + position * kMemoryChannels;
      vectors_.insert(vectors_.end(), first, first + kMemoryChannels);
    }
  }
}

Tensor MemoryCandidates::choose(Device device) const {
  const std::int64_t count = static_cast<std::int64_t>(vectors_.size()) / kMemoryChannels;
  if (count == 0) throw_error("feature memory: no picture was shown");
  const Tensor points = Tensor::from_host<float>({count, kMemoryChannels}, vectors_, device);
  const std::vector<float> directions =
      normal_values(kMemoryChannels * kProjected, 1.0 / std::sqrt(double{kProjected}), seed_, 0);
  const Tensor projection = Tensor::from_host<float>({kMemoryChannels, kProjected}, directions, device);
  const Tensor projected = Tensor::empty({count, kProjected}, DType::f32, device);
  MatmulShape product;
  product.m = count;
  product.n = kProjected;
  product.k = kMemoryChannels;
  matmul(device, product, points.raw(), projection.raw(), nullptr, projected.raw());

  const std::int64_t kept = std::min(config_.vectors, count);
  std::vector<float> chosen;
  for (const std::int32_t index : farthest_points(projected, kept)) {
    const auto first = vectors_.begin() + index * kMemoryChannels;
    chosen.insert(chosen.end(), first, first + kMemoryChannels);
  }
  return Tensor::from_host<float>({kept, kMemoryChannels}, chosen);
}

}  // namespace ddpmts
