// The program makes a teacher of its own: interrupted it goes on to the same file, and a detector learns from it.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "engine/files/safetensors.h"
#include "tests/app/running.h"

namespace ddpmts::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

class Pretrain : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { setenv("OMP_NUM_THREADS", "1", 1); }
  static void TearDownTestSuite() { unsetenv("OMP_NUM_THREADS"); }

  std::string at(const std::string& name) const { return folder_ / name; }
  std::string pretraining(const std::string& teacher) const {
    return "pretrain -o " + at(teacher) + " --steps 9 --batch 4 --size 32 --final-size 64 --seed 3";
  }
  void expect_failure(const std::string& arguments, const std::vector<std::string>& says,
                      int code = 1) const {
    const Finished finished = run_program(arguments);
    EXPECT_EQ(finished.code, code) << arguments << "\n" << finished.output;
    for (const std::string& text : says) {
      EXPECT_NE(finished.output.find(text), std::string::npos) << arguments << "\n" << finished.output;
    }
  }

 private:
  TemporaryFolder folder_;
};

TEST_F(Pretrain, InterruptedGoesOnBitForBit) {
  const Finished straight = run_program(pretraining("straight/teacher.safetensors"));
  ASSERT_EQ(straight.code, 0) << straight.output;
  Running running(pretraining("stopped.safetensors"), at("stopped.txt"));
  ASSERT_TRUE(running.printed("step     1"));
  const Finished stopped = running.end_with(SIGINT);
  EXPECT_EQ(stopped.code, 0) << stopped.output;
  EXPECT_NE(stopped.output.find("interrupted after"), std::string::npos) << stopped.output;
  EXPECT_NE(stopped.output.find("--resume"), std::string::npos) << stopped.output;
  EXPECT_TRUE(fs::exists(at("stopped.safetensors"))) << "a teacher to try lies there at any time";
  expect_failure(pretraining("stopped.safetensors"), {"stopped.safetensors", "--resume", "--overwrite"});
  const Finished resumed = run_program("pretrain --resume -o " + at("stopped.safetensors"));
  ASSERT_EQ(resumed.code, 0) << resumed.output;

  const SafetensorsFile a(at("straight/teacher.safetensors")), b(at("stopped.safetensors"));
  ASSERT_EQ(a.tensors().size(), b.tensors().size());
  for (const TensorInfo& tensor : a.tensors())
    EXPECT_EQ(a.bytes(tensor.name), b.bytes(tensor.name)) << tensor.name;
  EXPECT_EQ(a.metadata().at("steps"), "9");
  EXPECT_EQ(json::parse(a.metadata().at("config")).at("seed"), 3);
  EXPECT_LT(fs::file_size(a.path()), 6'000'000u);
  const std::string log = read_text(at("straight/teacher.safetensors.jsonl"));
  EXPECT_EQ(json::parse(log.substr(0, log.find('\n'))).at("step"), 9);
  EXPECT_TRUE(fs::exists(at("straight/teacher.safetensors.png")));
}

TEST_F(Pretrain, ADetectorLearnsFromTheTeacher) {
  ASSERT_EQ(run_program(pretraining("teacher.safetensors")).code, 0);
  const Finished drawn =
      run_program("draw -o " + at("parts") + " --size 64 --train 12 --test-good 2 --test-defect 1");
  ASSERT_EQ(drawn.code, 0) << drawn.output;
  const Finished trained = run_program("train " + at("parts/blister") + " -o " + at("run") + " --teacher " +
                                       at("teacher.safetensors") + " --size 64 --steps 2 --no-test");
  EXPECT_EQ(trained.code, 0) << trained.output;
  EXPECT_NE(trained.output.find("teacher.safetensors"), std::string::npos) << trained.output;
}

TEST_F(Pretrain, SaysWhatIsWrong) {
  expect_failure("pretrain", {"--output"}, 2);
  expect_failure("pretrain -o " + at("a") + " --size 0", {"--size"}, 2);
  expect_failure("pretrain -o " + at("a") + " --temperature 0", {"--temperature"}, 2);
  expect_failure("pretrain -o " + at("a") + " --size 40 --steps 1", {"40", "multiples of 32"});
  expect_failure("pretrain -o " + at("a") + " --resume", {"a.checkpoint"});
  ASSERT_EQ(run_program(pretraining("teacher")).code, 0);
  fs::copy(at("teacher"), at("b.checkpoint"));
  expect_failure("pretrain -o " + at("b") + " --resume",
                 {"b.checkpoint", "no checkpoint of a teacher", "--overwrite"});
}

}  // namespace
}  // namespace ddpmts::test
