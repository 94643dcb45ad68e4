// The program makes a teacher of its own: interrupted it goes on to the same file, and a detector learns from it.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <list>
#include <nlohmann/json.hpp>
#include <regex>

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
  std::string pretraining(const std::string& teacher, int steps = 9) const {
    return "pretrain -o " + at(teacher) + " --steps " + std::to_string(steps) +
           " --batch 4 --size 32 --final-size 64 --seed 3";
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

/// A file of its own with tensors and metadata changed: `change(name, bytes)` may write over a tensor's.
void rewrite(const std::string& from, const std::string& to, const Metadata& metadata,
             const std::function<void(const std::string&, std::span<std::byte>)>& change) {
  const SafetensorsFile file(from);
  std::list<std::vector<std::byte>> bytes;
  std::vector<TensorToWrite> tensors;
  for (const TensorInfo& tensor : file.tensors()) {
    bytes.push_back(file.bytes(tensor.name));
    change(tensor.name, bytes.back());
    tensors.push_back({tensor.name, tensor.type, tensor.shape, bytes.back()});
  }
  write_safetensors(to, tensors, metadata);
}

void expect_same_tensors(const std::string& first, const std::string& second) {
  const SafetensorsFile a(first), b(second);
  ASSERT_EQ(a.tensors().size(), b.tensors().size());
  for (const TensorInfo& tensor : a.tensors())
    EXPECT_EQ(a.bytes(tensor.name), b.bytes(tensor.name)) << tensor.name;
}

TEST_F(Pretrain, InterruptedGoesOnBitForBit) {
  // Where the machine got through the run before the signal came, a longer one is interrupted.
  int steps = 9;
  Finished stopped;
  for (;; steps *= 4) {
    ASSERT_LT(steps, 5000) << stopped.output;
    Running running(pretraining("stopped.safetensors", steps) + " --overwrite",
                    at(std::to_string(steps) + ".txt"));
    ASSERT_TRUE(running.printed("step     1"));
    stopped = running.end_with(SIGINT);
    ASSERT_EQ(stopped.code, 0) << stopped.output;
    if (stopped.output.find("interrupted after") != std::string::npos) break;
  }
  EXPECT_NE(stopped.output.find("--resume"), std::string::npos) << stopped.output;
  EXPECT_TRUE(fs::exists(at("stopped.safetensors"))) << "a teacher to try lies there at any time";
  expect_failure(pretraining("stopped.safetensors", steps),
                 {"stopped.safetensors", "--resume", "--overwrite"});
  const Finished resumed = run_program("pretrain --resume -o " + at("stopped.safetensors"));
  ASSERT_EQ(resumed.code, 0) << resumed.output;
  const Finished straight = run_program(pretraining("straight/teacher.safetensors", steps));
  ASSERT_EQ(straight.code, 0) << straight.output;
  expect_same_tensors(at("straight/teacher.safetensors"), at("stopped.safetensors"));
}

TEST_F(Pretrain, ATeacherSaysHowItWasMade) {
  const Finished made = run_program(pretraining("made/teacher.safetensors"));
  ASSERT_EQ(made.code, 0) << made.output;
  const SafetensorsFile teacher(at("made/teacher.safetensors"));
  EXPECT_EQ(teacher.metadata().at("steps"), "9");
  EXPECT_EQ(json::parse(teacher.metadata().at("config")).at("seed"), 3);
  EXPECT_NE(teacher.metadata().at("version").find("ddpmts"), std::string::npos);
  EXPECT_TRUE(std::regex_match(teacher.metadata().at("commit"), std::regex("unknown|[0-9a-f]{12}\\+?")))
      << teacher.metadata().at("commit");
  EXPECT_LT(fs::file_size(teacher.path()), 6'000'000u);
  const std::string log = read_text(at("made/teacher.safetensors.jsonl"));
  EXPECT_EQ(json::parse(log.substr(0, log.find('\n'))).at("step"), 9);
  EXPECT_TRUE(fs::exists(at("made/teacher.safetensors.png")));

  const std::string command = teacher.metadata().at("command"), program = "ddpmts ";
  ASSERT_TRUE(command.starts_with(program)) << command;
  fs::create_directory(at("again"));
  const Finished again =
      run_shell("cd \"" + at("again") + "\" && \"" + DDPMTS_PROGRAM + "\" " + command.substr(program.size()));
  ASSERT_EQ(again.code, 0) << command << "\n" << again.output;
  expect_same_tensors(at("made/teacher.safetensors"), at("again/teacher.safetensors"));
}

TEST_F(Pretrain, ATeacherThatIsNotFiniteReplacesNothing) {
  ASSERT_EQ(run_program(pretraining("teacher", 1)).code, 0);
  const std::string checkpoint = at("teacher.checkpoint"), teacher = read_text(at("teacher"));
  rewrite(checkpoint, checkpoint, Metadata(SafetensorsFile(checkpoint).metadata()),
          [](const std::string& name, std::span<std::byte> bytes) {
            const float nan = std::nanf("");
            if (name == "layer2.0.bn1.running_var") std::memcpy(bytes.data(), &nan, sizeof nan);
          });
  const std::string before = read_text(checkpoint);
  expect_failure("pretrain --resume -o " + at("teacher"), {"layer2.0.conv1.weight", "not finite"});
  EXPECT_TRUE(read_text(at("teacher")) == teacher);
  EXPECT_TRUE(read_text(checkpoint) == before);
}

TEST_F(Pretrain, AHostileCheckpointIsRefused) {
  ASSERT_EQ(run_program(pretraining("good", 1)).code, 0);
  const Metadata good = SafetensorsFile(at("good.checkpoint")).metadata();
  const float one = 1.0f;
  const TensorToWrite tensor{"one", StoredType::f32, {1}, std::as_bytes(std::span(&one, 1))};
  const auto expect_refused = [&](const char* part, const char* key, const json& value,
                                  const std::vector<std::string>& says) {
    Metadata metadata = good;
    json changed = json::parse(metadata.at(part));
    ASSERT_TRUE(changed.contains(key)) << key;
    changed[key] = value;
    metadata[part] = changed.dump();
    write_safetensors(at("bad.checkpoint"), {&tensor, 1}, metadata);
    std::vector<std::string> all = says;
    all.insert(all.end(), {"bad.checkpoint", "no checkpoint of a teacher", "--overwrite"});
    expect_failure("pretrain --resume -o " + at("bad"), all);
  };
  write_safetensors(at("bad.checkpoint"), {&tensor, 1}, good);
  expect_failure("pretrain --resume -o " + at("bad"), {"first_moment.conv1.weight"});  // got as far as that

  expect_refused("training", "steps", -1, {"-1"});
  expect_refused("training", "steps", 7, {"plan stands at step 7"});
  expect_refused("training", "steps", 1.5, {"'steps' is 1.5"});
  expect_refused("training", "seconds", -1, {"-1 seconds"});
  expect_refused("training", "trainer_steps", -1, {"-1 steps"});
  expect_refused("training", "trainer_steps", std::int64_t{1} << 62, {"4611686018427387904 steps"});
  expect_refused("training", "trainer_steps", 1e30, {"no whole number"});
  expect_refused("training", "optimizer_steps", -3, {"-3 updates"});
  expect_refused("training", "optimizer_steps", 2, {"2 updates"});
  expect_refused("training", "skipped_in_a_row", -1, {"-1 skipped"});
  expect_refused("training", "skipped_in_a_row", json(), {"skipped_in_a_row"});
  expect_refused("config", "steps", -1, {"-1 steps"});
  expect_refused("config", "steps", std::int64_t{1} << 62, {"steps"});
  expect_refused("config", "minutes", -1, {"-1 minutes"});
  expect_refused("config", "batch", std::int64_t{1} << 40, {"batch", "4096"});
  expect_refused("config", "batch", 6, {"batch of 6"});
  expect_refused("config", "batch", 4.5, {"'batch' is 4.5"});
  expect_refused("config", "size", 1 << 20, {"1048576 pixels"});
  expect_refused("config", "final_size", 33, {"33 pixels"});
  expect_refused("config", "final_share", 2, {"final share of 2"});
  expect_refused("config", "temperature", 0, {"temperature of 0"});
  expect_refused("config", "layer2_weight", -1, {"weight of layer2"});
  expect_refused("config", "learning_rate", 0, {"learning rate of 0"});
  expect_refused("config", "learning_rate", "fast", {"type"});
  expect_refused("config", "warmup", 7, {"warm-up of 7"});
  expect_refused("config", "weight_decay", -1, {"weight decay"});
  expect_refused("config", "precision", "f8", {"f8"});
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
  expect_failure("pretrain -o " + at("a") + " --batch 2", {"--batch"}, 2);
  expect_failure("pretrain -o " + at("a") + " --batch 6 --steps 1", {"batch of 6", "multiple of 4"});
  EXPECT_EQ(run_program("pretrain -o " + at("cpu") +
                        " --steps 1 --batch 4 --size 32 --final-size 32 --deterministic")
                .code,
            0);
  expect_failure("pretrain -o " + at("a") + " --size 40 --steps 1", {"40", "multiples of 32"});
  expect_failure("pretrain -o " + at("a") + " --resume", {"a.checkpoint"});
  ASSERT_EQ(run_program(pretraining("teacher")).code, 0);
  fs::copy(at("teacher"), at("b.checkpoint"));
  expect_failure("pretrain -o " + at("b") + " --resume",
                 {"b.checkpoint", "no checkpoint of a teacher", "--overwrite"});
}

}  // namespace
}  // namespace ddpmts::test
