// The teacher that ships with the program: what it is, and when it is taken.
#include <gtest/gtest.h>

#include <cmath>
#include <regex>

#include "engine/files/safetensors.h"
#include "models/named_tensors.h"
#include "models/resnet_teacher.h"
#include "tests/app/program.h"

namespace ddpmts::test {
namespace {

namespace fs = std::filesystem;

const std::string shipped_file = DDPMTS_SOURCE_DIR "/weights/teacher.safetensors";

TEST(ShippedTeacher, IsWhatItsCardSays) {
  EXPECT_LE(fs::file_size(shipped_file), 6'000'000u);
  const std::string card = read_text(DDPMTS_SOURCE_DIR "/weights/teacher.md");
  const Finished sum = run_shell("sha256sum < \"" + shipped_file + "\"");
  ASSERT_EQ(sum.code, 0) << sum.output;
  EXPECT_NE(card.find(sum.output.substr(0, 64)), std::string::npos) << sum.output;
  // The card's command and commit are the file's own.
  const SafetensorsFile file(shipped_file);
  for (const char* key : {"command", "commit"}) {
    ASSERT_TRUE(file.metadata().contains(key)) << key;
    EXPECT_NE(card.find(file.metadata().at(key)), std::string::npos) << file.metadata().at(key);
  }
}

TEST(ShippedTeacher, LoadsAndItsFeaturesAreFiniteAndVaried) {
  const SafetensorsFile file(shipped_file);
  for (const TensorInfo& tensor : file.tensors()) {
    if (!tensor.name.ends_with(".weight")) continue;
    EXPECT_EQ(tensor.type, StoredType::bf16) << tensor.name;
  }
  const ResNetTeacher teacher(NamedTensors(file, WeightOrder::oihw), DType::f32, Device());
  EXPECT_EQ(teacher.depth(), TeacherDepth::resnet18);
  constexpr std::int64_t size = 64;
  std::vector<float> pixels(size * size * 3);
  for (std::size_t i = 0; i < pixels.size(); ++i) {
    const std::size_t x = i / 3 % size, y = i / 3 / size;
    pixels[i] = (x / 8 + y / 8) % 2 == 0 ? 1.5f : -1.0f + 0.01f * static_cast<float>(x);
  }
  const std::vector<Tensor> features = teacher.features(Tensor::from_host<float>({1, size, size, 3}, pixels));
  ASSERT_EQ(features.size(), 3u);
  for (const Tensor& level : features) {
    double sum = 0, squares = 0;
    const std::vector<float> values = level.to_floats();
    for (const float value : values) {
      ASSERT_TRUE(std::isfinite(value));
      sum += static_cast<double>(value);
      squares += static_cast<double>(value) * static_cast<double>(value);
    }
    const double mean = sum / static_cast<double>(values.size());
    EXPECT_GT(squares / static_cast<double>(values.size()), mean * mean * 1.01);
  }
}

// The program in a folder of its own, <folder>/somewhere/bin/ddpmts, with parts to learn from.
class TeacherSearch : public ::testing::Test {
 protected:
  void SetUp() override {
    unsetenv("DDPMTS_TEACHER");
    fs::create_directories(at("somewhere/bin"));
    fs::copy_file(DDPMTS_PROGRAM, at("somewhere/bin/ddpmts"));
    fs::create_directories(at("elsewhere/weights"));
    const Finished drawn =
        run_program("draw -o " + at("parts") + " --size 64 --train 8 --test-good 1 --test-defect 1");
    ASSERT_EQ(drawn.code, 0) << drawn.output;
  }
  std::string at(const std::string& name) const { return folder_ / name; }

  void put_teacher(const std::string& name) const {
    fs::create_directories(fs::path(at(name)).parent_path());
    fs::copy_file(shipped_file, at(name));
  }
  // Run from `elsewhere`.
  Finished train(const std::string& options, const std::string& environment = "") const {
    return run_shell("cd \"" + at("elsewhere") + "\" && OMP_NUM_THREADS=1 " + environment + " \"" +
                     at("somewhere/bin/ddpmts") + "\" train \"" + at("parts/blister") + "\" -o \"" +
                     at("run") + "\" --size 64 --batch 2 --steps 2 --memory 0 --no-test --overwrite " +
                     options);
  }
  void expect_teacher(const Finished& finished, const std::string& file) const {
    EXPECT_EQ(finished.code, 0) << finished.output;
    EXPECT_NE(finished.output.find("teacher " + file + ","), std::string::npos) << finished.output;
  }

 private:
  TemporaryFolder folder_;
};

TEST_F(TeacherSearch, TakesTheShippedOneWhereverItIsStarted) {
  // None of these ships with the program: another name, and other folders.
  put_teacher("somewhere/weights/a.safetensors");
  put_teacher("elsewhere/teacher.safetensors");
  put_teacher("elsewhere/weights/teacher.safetensors");
  const Finished none = train("");
  EXPECT_EQ(none.code, 1);
  EXPECT_NE(none.output.find("no teacher found: put the program's weights/teacher.safetensors beside"),
            std::string::npos)
      << none.output;

  put_teacher("somewhere/weights/teacher.safetensors");
  const Finished shipped = train("");
  expect_teacher(shipped, at("somewhere/weights/teacher.safetensors"));
  // It says what ImageNet's would bring and the line that gets it; nobody who names a teacher is told.
  EXPECT_TRUE(
      std::regex_search(shipped.output, std::regex("ImageNet[^]*\n *curl .* && .*ddpmts convert .* -o ")))
      << shipped.output;
  put_teacher("somewhere/bin/teacher.safetensors");
  expect_teacher(train(""), at("somewhere/bin/teacher.safetensors"));

  const std::string by_environment = at("somewhere/weights/a.safetensors");
  const Finished variable = train("", "DDPMTS_TEACHER=\"" + by_environment + "\"");
  expect_teacher(variable, by_environment);
  EXPECT_EQ(variable.output.find("curl"), std::string::npos) << variable.output;
  expect_teacher(train("--teacher random", "DDPMTS_TEACHER=\"" + by_environment + "\""), "random");
}

}  // namespace
}  // namespace ddpmts::test
