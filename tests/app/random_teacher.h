// A teacher of random weights in torchvision's folded form, so that tests need no file from outside.
#pragma once

#include <cmath>
#include <filesystem>
#include <random>
#include <vector>

#include "engine/files/safetensors.h"

namespace ddpmts::test {

inline void write_random_teacher(const std::filesystem::path& path) {
  std::vector<std::vector<float>> values;
  std::vector<std::pair<std::string, std::vector<std::int64_t>>> names;
  std::mt19937 random(7);
  const auto add = [&](const std::string& conv, std::int64_t out, std::int64_t in, std::int64_t side) {
    std::normal_distribution<float> normal(0.0f, std::sqrt(2.0f / static_cast<float>(in * side * side)));
    std::vector<float>& weight = values.emplace_back(static_cast<std::size_t>(out * in * side * side));
    for (float& w : weight) w = normal(random);
    values.emplace_back(static_cast<std::size_t>(out), 0.0f);
    names.push_back({conv + ".weight", {out, in, side, side}});
    names.push_back({conv + ".bias", {out}});
  };
  add("conv1", 64, 3, 7);
  for (int layer = 1; layer <= 3; ++layer) {
    const std::int64_t out = std::int64_t{32} << layer;
    const std::int64_t in = layer == 1 ? 64 : out / 2;
    for (int block = 0; block < 2; ++block) {
      const std::string prefix = "layer" + std::to_string(layer) + "." + std::to_string(block) + ".";
      add(prefix + "conv1", out, block == 0 ? in : out, 3);
      add(prefix + "conv2", out, out, 3);
      if (layer > 1 && block == 0) add(prefix + "downsample.0", out, in, 1);
    }
  }
  std::vector<TensorToWrite> tensors;
  for (std::size_t i = 0; i < names.size(); ++i) {
    tensors.push_back({names[i].first, StoredType::f32, names[i].second, std::as_bytes(std::span(values[i]))});
  }
  write_safetensors(path, tensors, {});
}

}  // namespace ddpmts::test
