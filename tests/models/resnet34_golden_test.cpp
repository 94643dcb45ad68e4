// A ResNet-34 teacher, read with its BatchNorms, against PyTorch in float64 (golden/resnet34.json). Its weights and the
// picture are drawn as the fixture's "about" says.
//
// Tolerance of a level: ten times what PyTorch's own float32 was off (f32_error), at least 1e-5, relative to its L2 norm; a
// single sample gets three times that, relative to the larger of the level's root mean square and itself.
#include <nlohmann/json.hpp>

#include "generated/test_paths.h"
#include "models/resnet_teacher.h"
#include "tests/models/model_test.h"
#include "tests/models/teacher_entries.h"

namespace ddpmts::test {
namespace {

using kernels::RandomStream;
using nlohmann::json;

std::vector<float> draw(std::uint64_t seed, RandomStream stream, std::uint64_t step, std::int64_t count,
                        float low, float high) {
  std::vector<float> values;
  for (const std::uint32_t word : philox_words(seed, stream, step, count)) {
    values.push_back(kernels::uniform(word, low, high));
  }
  return values;
}

Entries drawn_resnet34(std::uint64_t seed) {
  Entries entries;
  std::uint64_t step = 0;
  for (const TeacherConv& conv : teacher_convs(TeacherDepth::resnet34)) {
    const Shape oihw{conv.shape[0], conv.shape[3], conv.shape[1], conv.shape[2]};
    const float bound = std::sqrt(6.0f / static_cast<float>(oihw[1] * oihw[2] * oihw[3]));
    std::vector<float> weight = draw(seed, RandomStream::weights, step++, oihw.count(), -1.0f, 1.0f);
    for (float& value : weight) value *= bound;
    entries[conv.name + ".weight"] = {oihw, weight};
    const auto add = [&](const char* part, float low, float high) {
      entries[conv.norm + part] = {{oihw[0]}, draw(seed, RandomStream::weights, step++, oihw[0], low, high)};
    };
    add(".weight", 0.25f, 0.75f);
    add(".bias", -0.5f, 0.5f);
    add(".running_mean", -0.5f, 0.5f);
    add(".running_var", 0.5f, 1.5f);
  }
  return entries;
}

class ResNet34Golden : public EngineTest {};
DDPMTS_ON_EVERY_PLACEMENT(ResNet34Golden);

TEST_P(ResNet34Golden, GivesPyTorchsFeatures) {
  const json golden = json::parse(testing::get(DDPMTS_GOLDEN_DIR "/resnet34.json"));
  const std::uint64_t seed = golden["seed"];
  const std::int64_t size = golden["size"];
  const testing::ScratchFolder folder;
  const SafetensorsFile file(write(folder / "resnet34.safetensors", drawn_resnet34(seed)));
  const ResNetTeacher teacher(NamedTensors(file, WeightOrder::oihw), type(), device());
  const Shape shape{1, size, size, 3};
  const Tensor x = Tensor::from_host<float>(
      shape, draw(seed, RandomStream::drawing, 0, shape.count(), -2.0f, 2.0f), device());
  const std::vector<Tensor> levels = teacher.features(x.cast(type()));
  ASSERT_EQ(levels.size(), golden["levels"].size());
  for (std::size_t k = 0; k < levels.size(); ++k) {
    const json& expected = golden["levels"][k];
    ASSERT_EQ(json(levels[k].shape().extents()), expected["shape"]) << expected["name"];
    const std::vector<float> values = levels[k].to_floats();
    double square = 0;
    for (const float value : values) square += static_cast<double>(value) * value;
    const double allowed =
        type() == DType::bf16 ? 3e-2 : std::max(1e-5, 10 * expected["f32_error"].get<double>());
    const double norm = expected["l2"], rms = norm / std::sqrt(static_cast<double>(values.size()));
    EXPECT_NEAR(std::sqrt(square), norm, allowed * norm) << expected["name"];
    for (std::size_t i = 0; i < expected["indices"].size(); ++i) {
      const std::size_t index = expected["indices"][i];
      const double sample = expected["samples"][i];
      EXPECT_NEAR(values.at(index), sample, 3 * allowed * std::max(rms, std::abs(sample)))
          << expected["name"] << "[" << index << "]";
    }
  }
}

}  // namespace
}  // namespace ddpmts::test
