// The teacher: against PyTorch on a photograph with ImageNet weights, from both forms of torchvision's file, and what it
// says about files that do not fit.
#include "generated/test_paths.h"
#include "models/model_file.h"
#include "models/resnet_teacher.h"
#include "tests/models/model_test.h"
#include "tests/models/teacher_entries.h"
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

ResNetTeacher load(const std::filesystem::path& path) {
  const SafetensorsFile file(path);
  return {NamedTensors(file, WeightOrder::oihw), DType::f32, Device{}};
}

class TeacherDepths : public ::testing::TestWithParam<TeacherDepth> {};
INSTANTIATE_TEST_SUITE_P(, TeacherDepths, ::testing::Values(TeacherDepth::resnet18, TeacherDepth::resnet34),
                         [](const auto& one) {
                           return one.param == TeacherDepth::resnet18 ? "ResNet18" : "ResNet34";
                         });

TEST_P(TeacherDepths, FoldedAndUnfoldedFilesGiveTheSame) {
  const testing::ScratchFolder folder;
  const Entries entries = unfolded_entries(GetParam()), by_hand = folded_entries(entries, GetParam());
  const ResNetTeacher unfolded = load(write(folder / "unfolded.safetensors", entries));
  const ResNetTeacher folded = load(write(folder / "folded.safetensors", by_hand));
  EXPECT_EQ(unfolded.depth(), GetParam());
  EXPECT_EQ(folded.depth(), GetParam());

  // tensors() is the folded form, KRSC; folded_tensors() the same as a file has it.
  const NamedTensorList tensors = unfolded.tensors(), as_file = unfolded.folded_tensors(DType::f32),
                        low = unfolded.folded_tensors(DType::bf16);
  ASSERT_EQ(tensors.size(), by_hand.size());
  ASSERT_EQ(as_file.size(), by_hand.size());
  ASSERT_EQ(low.size(), by_hand.size());
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const auto& [name, tensor] = tensors[i];
    const Entry& entry = by_hand.at(name);
    std::vector<float> expected = entry.values;
    if (tensor.shape().rank() == 4) expected = oihw_to_krsc(expected, tensor.shape());
    expect_close(tensor, doubles(expected), 1e-6, name);
    EXPECT_EQ(as_file[i].first, name);
    EXPECT_EQ(as_file[i].second.shape(), entry.shape);
    expect_close(as_file[i].second, doubles(entry.values), 1e-6, name);
    EXPECT_EQ(low[i].second.type(), tensor.shape().rank() == 4 ? DType::bf16 : DType::f32);
    expect_close(low[i].second, doubles(entry.values), tolerance(DType::bf16), name);
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

TEST(Teacher, AnotherArchitectureIsNamed) {
  const testing::ScratchFolder folder;
  const auto refused = [&](const Entries& entries, const std::vector<std::string>& parts) {
    expect_error<FileError>([&] { load(write(folder / "other.safetensors", entries)); }, parts);
  };
  const auto block = [](const std::string& prefix, std::int64_t in, std::int64_t middle, std::int64_t out) {
    Entries entries;
    const auto add = [&](int i, std::int64_t k, std::int64_t c, std::int64_t side) {
      const std::string number = std::to_string(i);
      const Shape shape{k, c, side, side};
      entries[prefix + "conv" + number + ".weight"] = {shape, random_floats(shape.count(), 1)};
      for (const char* part : {".weight", ".bias", ".running_mean", ".running_var"}) {
        entries[prefix + "bn" + number + part] = {{k}, std::vector<float>(static_cast<std::size_t>(k), 1.0f)};
      }
    };
    add(1, middle, in, 1);
    add(2, middle, middle, 3);
    add(3, out, middle, 1);
    return entries;
  };
  // A ResNet-50: as many blocks as a ResNet-34, of three convolutions.
  Entries resnet50 = unfolded_entries(TeacherDepth::resnet34);
  for (const auto& [name, entry] : block("layer1.0.", 64, 64, 256)) resnet50[name] = entry;
  refused(resnet50, {"other.safetensors", "'layer1.0.conv1.weight'", "[64, 64, 1, 1]", "[64, 64, 3, 3]"});
  // One block more than either network has, and one less.
  Entries longer = unfolded_entries(TeacherDepth::resnet34);
  longer["layer2.4.conv1.weight"] = {{128, 128, 3, 3}, std::vector<float>(128 * 128 * 9)};
  refused(longer, {"'layer2.4.conv1.weight'", "[128, 128, 3, 3]", "ResNet-34", "3, 4, 6"});
  Entries wider = unfolded_entries();
  wider["layer3.2.conv1.weight"] = {{256, 256, 3, 3}, std::vector<float>(256 * 256 * 9)};
  refused(wider, {"'layer3.2.conv1.weight'", "[256, 256, 3, 3]", "ResNet-18", "2, 2, 2"});
  Entries shorter = unfolded_entries();
  std::erase_if(shorter, [](const auto& entry) { return entry.first.starts_with("layer3.1."); });
  refused(shorter, {"'layer3.1.conv1.weight'", "missing"});
  // What the network does not have, in a block that it has: squeeze-and-excitation; a bias that would be lost.
  Entries attention = unfolded_entries();
  attention["layer1.0.se.fc1.weight"] = {{4, 64, 1, 1}, std::vector<float>(256)};
  refused(attention, {"'layer1.0.se.fc1.weight'", "[4, 64, 1, 1]"});
  Entries biased = unfolded_entries();
  biased["conv1.bias"] = {{64}, std::vector<float>(64)};
  refused(biased, {"'conv1.bias'", "[64]"});
  // A BatchNorm that lacks what tells it apart from none.
  Entries half = unfolded_entries();
  half.erase("bn1.running_var");
  refused(half, {"'bn1.running_var'", "missing"});
}

TEST(Teacher, WeightsThatAreNoNumbersAreNamed) {
  const testing::ScratchFolder folder;
  for (const float bad : {std::nanf(""), HUGE_VALF}) {
    Entries entries = folded_entries(unfolded_entries());
    entries["layer2.1.conv2.weight"].values[77] = bad;
    expect_error<FileError>([&] { load(write(folder / "a.safetensors", entries)); },
                            {"a.safetensors", "'layer2.1.conv2'", "not finite"});
  }
  Entries entries = unfolded_entries();
  entries["layer3.0.downsample.1.running_var"].values[3] = -1.0f;
  expect_error<FileError>([&] { load(write(folder / "b.safetensors", entries)); },
                          {"b.safetensors", "'layer3.0.downsample.0'", "not finite"});
}

TEST(Teacher, StudentCannotStartFromAResNet34) {
  const testing::ScratchFolder folder;
  write_random_teacher(folder / "teacher.safetensors", 3, TeacherDepth::resnet34);
  const SafetensorsFile file(folder / "teacher.safetensors");
  Detector detector(NamedTensors(file, WeightOrder::oihw), small_config(), 1, Device{});
  EXPECT_EQ(detector.teacher().depth(), TeacherDepth::resnet34);
  const NamedTensorList before = snapshot(detector);
  const Tensor pictures = part_pictures(4, 64, 9);
  expect_error<Error>(
      [&] { detector.student().start_from_teacher(detector.teacher(), detector.normalize(pictures)); },
      {"ResNet-18", "ResNet-34"});
  EXPECT_TRUE(differences(before, snapshot(detector)).empty());
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
