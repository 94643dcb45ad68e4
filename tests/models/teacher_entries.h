// Made-up files of pretrained ResNets, tensor by tensor, so that a test can spoil one.
#pragma once

#include <cmath>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "engine/files/safetensors.h"
#include "models/resnet_teacher.h"
#include "tests/engine/engine_test.h"

namespace ddpmts::test {

/// One tensor of a file to be.
struct Entry {
  Shape shape;
  std::vector<float> values;
};
using Entries = std::map<std::string, Entry>;

/// Made-up weights in torchvision's unfolded form, with everything else that such a file has.
inline Entries unfolded_entries(TeacherDepth depth = TeacherDepth::resnet18) {
  Entries entries;
  std::uint64_t step = 0;
  const auto add = [&](const std::string& name, const Shape& shape, float low, float high) {
    entries[name] = {shape, random_floats(shape.count(), ++step, low, high)};
  };
  for (const TeacherConv& conv : teacher_convs(depth)) {
    const std::int64_t k = conv.shape[0], fan = conv.shape.count() / k;
    const float bound = std::sqrt(6.0f / static_cast<float>(fan));
    add(conv.name + ".weight", {k, conv.shape[3], conv.shape[1], conv.shape[2]}, -bound, bound);
    add(conv.norm + ".weight", {k}, 0.5f, 1.5f);
    add(conv.norm + ".bias", {k}, -0.5f, 0.5f);
    add(conv.norm + ".running_mean", {k}, -0.5f, 0.5f);
    add(conv.norm + ".running_var", {k}, 0.5f, 1.5f);
  }
  add("layer4.0.bn1.running_var", {512}, 0.5f, 1.5f);
  add("fc.weight", {1000, 512}, -1, 1);
  add("fc.bias", {1000}, -1, 1);
  return entries;
}

/// The same, each BatchNorm folded: w' = w·γ/√(σ² + ε), b' = β − μ·γ/√(σ² + ε).
inline Entries folded_entries(const Entries& unfolded, TeacherDepth depth = TeacherDepth::resnet18) {
  Entries folded;
  for (const TeacherConv& conv : teacher_convs(depth)) {
    Entry weight = unfolded.at(conv.name + ".weight");
    Entry bias = unfolded.at(conv.norm + ".bias");
    const std::size_t outputs = bias.values.size(), per_output = weight.values.size() / outputs;
    for (std::size_t k = 0; k < outputs; ++k) {
      const double variance = unfolded.at(conv.norm + ".running_var").values[k];
      const double scale = unfolded.at(conv.norm + ".weight").values[k] / std::sqrt(variance + 1e-5);
      const double mean = unfolded.at(conv.norm + ".running_mean").values[k];
      bias.values[k] = static_cast<float>(bias.values[k] - mean * scale);
      for (std::size_t i = k * per_output; i < (k + 1) * per_output; ++i) {
        weight.values[i] = static_cast<float>(weight.values[i] * scale);
      }
    }
    folded[conv.name + ".weight"] = weight;
    folded[conv.name + ".bias"] = bias;
  }
  return folded;
}

/// What torchvision counts beside every BatchNorm, in an I64 scalar.
inline constexpr std::int64_t kBatchesTracked = 12345;

/// As a safetensors file.
inline std::filesystem::path write(const std::filesystem::path& path, const Entries& entries) {
  std::vector<TensorToWrite> tensors;
  for (const auto& [name, entry] : entries) {
    const auto extents = entry.shape.extents();
    tensors.push_back(
        {name, StoredType::f32, {extents.begin(), extents.end()}, std::as_bytes(std::span(entry.values))});
    const std::string suffix = ".running_var";
    if (!name.ends_with(suffix)) continue;
    tensors.push_back({name.substr(0, name.size() - suffix.size()) + ".num_batches_tracked",
                       StoredType::i64,
                       {},
                       std::as_bytes(std::span(&kBatchesTracked, 1))});
  }
  write_safetensors(path, tensors, {});
  return path;
}

}  // namespace ddpmts::test
