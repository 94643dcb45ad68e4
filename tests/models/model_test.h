// What the models' tests share: a random teacher, a small detector, pictures of parts, and bit-for-bit comparison.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/files/safetensors.h"
#include "kernels/philox.h"
#include "models/detector.h"
#include "models/random_teacher.h"
#include "tests/engine/engine_test.h"
#include "tests/engine/files_scratch.h"

namespace ddpmts::test {

using NamedTensorList = std::vector<std::pair<std::string, Tensor>>;

/// Element e is word e%4 of Philox{seed, stream, step}.bits(e/4).
inline std::vector<std::uint32_t> philox_words(std::uint64_t seed, kernels::RandomStream stream,
                                               std::uint64_t step, std::int64_t count) {
  const kernels::Philox philox{seed, stream, step};
  std::vector<std::uint32_t> words(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < words.size(); i += 4) {
    const kernels::Uint4 block = philox.bits(static_cast<std::uint32_t>(i / 4));
    const std::uint32_t four[] = {block.x, block.y, block.z, block.w};
    for (std::size_t j = i; j < std::min(i + 4, words.size()); ++j) words[j] = four[j - i];
  }
  return words;
}

/// Pictures [count,size,size,3] u8 of one part, a bright disc with a dark square hole on a plain ground, each moved a
/// little and noised by Philox.
inline Tensor part_pictures(std::int64_t count, std::int64_t size, std::uint64_t seed) {
  const auto side = static_cast<float>(size);
  std::vector<std::uint8_t> values;
  values.reserve(static_cast<std::size_t>(count * size * size * 3));
  for (std::int64_t n = 0; n < count; ++n) {
    const auto step = static_cast<std::uint64_t>(n);
    const std::vector<std::uint32_t> noise =
        philox_words(seed, kernels::RandomStream::drawing, step, size * size * 3 + 2);
    const float shift_y = kernels::uniform(noise[noise.size() - 1], -0.05f, 0.05f) * side;
    const float shift_x = kernels::uniform(noise[noise.size() - 2], -0.05f, 0.05f) * side;
    std::size_t word = 0;
    for (std::int64_t y = 0; y < size; ++y) {
      for (std::int64_t x = 0; x < size; ++x) {
        const float dy = static_cast<float>(y) - 0.5f * side - shift_y;
        const float dx = static_cast<float>(x) - 0.5f * side - shift_x;
        const bool disc = dx * dx + dy * dy < 0.12f * side * side;
        const bool hole = std::max(std::abs(dx), std::abs(dy)) < 0.12f * side;
        const float base[] = {disc && !hole ? 200.0f : 50.0f, disc && !hole ? 170.0f : 60.0f, 90.0f};
        for (const float level : base) {
          values.push_back(static_cast<std::uint8_t>(level + kernels::uniform(noise[word++], -12.0f, 12.0f)));
        }
      }
    }
  }
  return Tensor::from_host<std::uint8_t>({count, size, size, 3}, values);
}

/// A teacher file with random weights, kept for as long as the object lives.
class TeacherFile {
 public:
  explicit TeacherFile(std::uint64_t seed = 3, TeacherDepth depth = TeacherDepth::resnet18) {
    write_random_teacher(path(), seed, depth);
    file_ = std::make_unique<SafetensorsFile>(path());
  }
  std::filesystem::path path() const { return folder_ / "teacher.safetensors"; }
  NamedTensors weights() const { return {*file_, WeightOrder::oihw}; }
  std::unique_ptr<Detector> detector(const DetectorConfig& config, std::uint64_t seed = 1) const {
    return std::make_unique<Detector>(weights(), config, seed, Device{});
  }

 private:
  testing::ScratchFolder folder_;
  std::unique_ptr<SafetensorsFile> file_;
};

inline DetectorConfig small_config(Precision precision = Precision::f32) {
  DetectorConfig config;
  config.size = 64;
  config.precision = precision;
  config.top_k = 20;
  return config;
}

/// Copies of every parameter's value whose name starts with `prefix`.
inline NamedTensorList snapshot(const Detector& detector, const std::string& prefix = "") {
  NamedTensorList values;
  for (const ParameterPtr& parameter : detector.parameters()) {
    if (parameter->name().starts_with(prefix)) {
      values.emplace_back(parameter->name(), parameter->value().clone());
    }
  }
  return values;
}

/// Names of the tensors whose bits differ.
inline std::vector<std::string> differences(const NamedTensorList& a, const NamedTensorList& b) {
  EXPECT_EQ(a.size(), b.size());
  std::vector<std::string> names;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    EXPECT_EQ(a[i].first, b[i].first);
    if (a[i].second.to_floats() != b[i].second.to_floats()) names.push_back(a[i].first);
  }
  return names;
}

}  // namespace ddpmts::test
