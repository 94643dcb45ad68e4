// The teacher: against PyTorch on a photograph with ImageNet weights, from both forms of torchvision's file, and what it
// says about files that do not fit.
#include <map>

#include "models/model_file.h"
#include "models/resnet_teacher.h"
#include "tests/models/model_test.h"
#include "tests/shared_data.h"

namespace ddpmts::test {
namespace {

/// |actual − expected| / |expected| over all elements.
double relative_error(const std::vector<float>& actual, const std::vector<float>& expected) {
  EXPECT_EQ(actual.size(), expected.size());
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < std::min(actual.size(), expected.size()); ++i) {
    difference += std::pow(static_cast<double>(actual[i]) - expected[i], 2);
    norm += std::pow(static_cast<double>(expected[i]), 2);
  }
  return std::sqrt(difference / norm);
}

/// [N,C,H,W] → [N,H,W,C], which is what OIHW → KRSC does.
std::vector<float> read_nhwc(const SafetensorsFile& file, const std::string& name) {
  const std::vector<std::int64_t>& nchw = file.info(name).shape;
  return oihw_to_krsc(file.read_f32(name), {nchw.at(0), nchw.at(2), nchw.at(3), nchw.at(1)});
}

// Needs files that are too large for the repository. Where their folder is, they are held to.
class PretrainedTeacher : public EngineTest {};
DDPMTS_ON_EVERY_PLACEMENT(PretrainedTeacher);

TEST_P(PretrainedTeacher, GivesPyTorchsFeatures) {
  const std::filesystem::path folder = DDPMTS_SHARED_DIR "/weights";
  DDPMTS_NEED_SHARED(folder);
  const SafetensorsFile weights(folder / "resnet18_imagenet_layers1-3_bnfolded.safetensors");
  const SafetensorsFile fixture(folder / "resnet18_layers1-3_fixture.safetensors");
  const ResNetTeacher teacher(NamedTensors(weights, WeightOrder::oihw), type(), device());
  const Tensor x = Tensor::from_host<float>({1, 224, 224, 3}, read_nhwc(fixture, "input"), device());
  const std::vector<Tensor> levels = teacher.features(x.cast(type()));
  ASSERT_EQ(levels.size(), 3u);
  for (std::size_t k = 0; k < levels.size(); ++k) {
    const std::string name = "layer" + std::to_string(k + 1);
    const std::vector<float> expected = read_nhwc(fixture, name);
    ASSERT_EQ(levels[k].count(), static_cast<std::int64_t>(expected.size())) << name;
    EXPECT_EQ(levels[k].type(), type());
    EXPECT_LT(relative_error(levels[k].to_floats(), expected), type() == DType::bf16 ? 2e-2 : 1e-4) << name;
  }
}

/// One tensor of a file to be.
struct Entry {
  Shape shape;
  std::vector<float> values;
};
using Entries = std::map<std::string, Entry>;

/// Made-up weights in torchvision's unfolded form, with everything else that such a file has.
Entries unfolded_entries() {
  Entries entries;
  std::uint64_t step = 0;
  const auto add = [&](const std::string& name, const Shape& shape, float low, float high) {
    entries[name] = {shape, random_floats(shape.count(), ++step, low, high)};
  };
  for (const TeacherConv& conv : teacher_convs()) {
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
Entries folded_entries(const Entries& unfolded) {
  Entries folded;
  for (const TeacherConv& conv : teacher_convs()) {
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

std::filesystem::path write(const std::filesystem::path& path, const Entries& entries) {
  std::vector<TensorToWrite> tensors;
  for (const auto& [name, entry] : entries) {
    const auto extents = entry.shape.extents();
    tensors.push_back(
        {name, StoredType::f32, {extents.begin(), extents.end()}, std::as_bytes(std::span(entry.values))});
  }
  // torchvision counts batches in I64 scalars beside every BatchNorm.
  static constexpr std::int64_t kBatches = 12345;
  for (const TeacherConv& conv : teacher_convs()) {
    if (!entries.contains(conv.norm + ".running_var")) continue;
    tensors.push_back(
        {conv.norm + ".num_batches_tracked", StoredType::i64, {}, std::as_bytes(std::span(&kBatches, 1))});
  }
  write_safetensors(path, tensors, {});
  return path;
}

ResNetTeacher load(const std::filesystem::path& path) {
  const SafetensorsFile file(path);
  return {NamedTensors(file, WeightOrder::oihw), DType::f32, Device{}};
}

TEST(Teacher, FoldedAndUnfoldedFilesGiveTheSame) {
  const testing::ScratchFolder folder;
  const Entries entries = unfolded_entries(), by_hand = folded_entries(entries);
  const ResNetTeacher unfolded = load(write(folder / "unfolded.safetensors", entries));
  const ResNetTeacher folded = load(write(folder / "folded.safetensors", by_hand));

  // tensors() is the folded form, KRSC.
  const NamedTensorList tensors = unfolded.tensors();
  ASSERT_EQ(tensors.size(), by_hand.size());
  for (const auto& [name, tensor] : tensors) {
    std::vector<float> expected = by_hand.at(name).values;
    if (tensor.shape().rank() == 4) expected = oihw_to_krsc(expected, tensor.shape());
    expect_close(tensor, doubles(expected), 1e-6, name);
  }

  const Tensor x = random_tensor({2, 64, 96, 3}, {}, 1, -2, 2);
  const std::vector<Tensor> a = unfolded.features(x), b = folded.features(x);
  const Shape shapes[] = {{2, 16, 24, 64}, {2, 8, 12, 128}, {2, 4, 6, 256}};
  ASSERT_EQ(a.size(), 3u);
  for (std::size_t k = 0; k < 3; ++k) {
    ASSERT_EQ(a[k].shape(), shapes[k]);
    const std::vector<float> values = a[k].to_floats();
    EXPECT_GT(*std::ranges::max_element(values), 0.0f);
    expect_close(a[k], doubles(b[k]), 1e-5, "layer" + std::to_string(k + 1));
    EXPECT_FALSE(a[k].needs_grad());
  }
}

TEST(Teacher, RandomOneIsAFunctionOfItsSeed) {
  const testing::ScratchFolder folder;
  for (const std::uint64_t seed : {1, 2}) {
    for (const char* copy : {"a", "b"}) write_random_teacher(folder / (copy + std::to_string(seed)), seed);
  }
  EXPECT_EQ(testing::get(folder / "a1"), testing::get(folder / "b1"));
  EXPECT_NE(load(folder / "a1").tensors()[0].second.to_floats(),
            load(folder / "a2").tensors()[0].second.to_floats());
  const Tensor x = random_tensor({1, 64, 64, 3}, {}, 1, -2, 2);
  for (const Tensor& level : load(folder / "a1").features(x)) {
    double square = 0;
    for (const float value : level.to_floats()) square += static_cast<double>(value) * value;
    const double rms = std::sqrt(square / static_cast<double>(level.count()));
    EXPECT_GT(rms, 0.1);  // He-normal weights neither kill nor blow up the features
    EXPECT_LT(rms, 30.0);
  }
}

TEST(Teacher, MissingTensorIsNamed) {
  const testing::ScratchFolder folder;
  Entries folded = folded_entries(unfolded_entries());
  folded.erase("layer2.0.downsample.0.bias");
  expect_error<SafetensorsError>([&] { load(write(folder / "folded.safetensors", folded)); },
                                 {"folded.safetensors", "layer2.0.downsample.0.bias", "missing"});
  Entries unfolded = unfolded_entries();
  unfolded.erase("layer3.1.bn2.running_mean");
  expect_error<SafetensorsError>([&] { load(write(folder / "unfolded.safetensors", unfolded)); },
                                 {"unfolded.safetensors", "layer3.1.bn2.running_mean", "missing"});
}

TEST(Teacher, TensorOfAnotherShapeIsNamedWithBothShapes) {
  const testing::ScratchFolder folder;
  Entries entries = folded_entries(unfolded_entries());
  entries["layer1.1.conv2.weight"] = {{64, 32, 3, 3}, std::vector<float>(64 * 32 * 9)};
  expect_error<SafetensorsError>(
      [&] { load(write(folder / "a.safetensors", entries)); },
      {"a.safetensors", "layer1.1.conv2.weight", "[64, 32, 3, 3]", "[64, 64, 3, 3]"});
  // A ResNet-18 for grey pictures: expected is said in the file's own order.
  entries = unfolded_entries();
  entries["conv1.weight"] = {{64, 1, 7, 7}, std::vector<float>(64 * 49)};
  expect_error<SafetensorsError>([&] { load(write(folder / "b.safetensors", entries)); },
                                 {"b.safetensors", "conv1.weight", "[64, 1, 7, 7]", "[64, 3, 7, 7]"});
  entries = unfolded_entries();
  entries["bn1.weight"] = {{32}, std::vector<float>(32)};
  expect_error<SafetensorsError>([&] { load(write(folder / "c.safetensors", entries)); },
                                 {"c.safetensors", "bn1.weight", "[32]", "[64]"});
}

TEST(Teacher, StudentStartsWhereTheTeacherIs) {
  const TeacherFile file;
  const auto detector = file.detector(small_config());
  const Tensor pictures = detector->normalize(part_pictures(4, 64, 9));
  detector->student().start_from_teacher(detector->teacher(), pictures);
  // The encoder's stem and first block, rebuilt from the student's parameters, give the teacher's numbers.
  ParameterList parameters;
  const ParameterScope scope(parameters, Device{});
  const ConvNorm stem(scope, "conv1", "bn1", 3, 64, 7, 2);
  const BasicStage layer1(scope.child("layer1"), 64, 64);
  for (const ParameterPtr& copy : parameters) {
    for (const ParameterPtr& p : detector->parameters()) {
      if (p->name() == "student.encoder." + copy->name()) set_values(*copy, p->value().to_floats());
    }
  }
  const Tensor expected = detector->teacher().features(pictures)[0];
  const auto layer1_of = [&](Mode mode) {
    const NoGrad looking;
    return layer1.forward(max_pool_3x3_stride2(stem.forward(pictures, mode, true)), mode);
  };
  expect_close(layer1_of(Mode::inference), doubles(expected), 1e-4, "inference");
  expect_close(layer1_of(Mode::training), doubles(expected), 1e-3, "training, on the same pictures");
}

}  // namespace
}  // namespace ddpmts::test
