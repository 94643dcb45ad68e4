// The program on parts that it draws itself, with a teacher of random weights: train, test, predict, resume.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <thread>

#include "engine/files/safetensors.h"
#include "tests/app/program.h"

namespace ddpmts::test {
namespace {

using nlohmann::json;

// Drawn once for all tests of this file.
class EndToEnd : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder = new TemporaryFolder;
    const Finished drawn =
        run_program("draw -o " + *folder / "parts" + " --size 96 --train 24 --test-good 8 --test-defect 3");
    ASSERT_EQ(drawn.code, 0) << drawn.output;
  }
  static void TearDownTestSuite() { delete folder; }

  static std::string part(const std::string& name) { return *folder / "parts" + "/" + name; }
  static std::string train(const std::string& run, const std::string& options) {
    return "train " + part("blister") + " -o " + *folder / run + " --teacher random --size 96 --batch 4 " +
           options;
  }
  static TemporaryFolder* folder;
};
TemporaryFolder* EndToEnd::folder = nullptr;

void expect_same_tensors(const std::string& a, const std::string& b) {
  const SafetensorsFile first(a), second(b);
  ASSERT_EQ(first.tensors().size(), second.tensors().size());
  for (const TensorInfo& tensor : first.tensors()) {
    EXPECT_EQ(first.bytes(tensor.name), second.bytes(tensor.name)) << tensor.name;
  }
}

TEST_F(EndToEnd, TrainTestPredict) {
  const Finished trained = run_program(train("run", "--steps 400 --seed 1"));
  ASSERT_EQ(trained.code, 0) << trained.output;

  // The log has one object a line, and the losses fall.
  std::istringstream log(read_text(*folder / "run/training.jsonl"));
  std::vector<double> losses;
  for (std::string line; std::getline(log, line);) {
    const json record = json::parse(line);
    losses.push_back(record.at("cosine").get<double>() + record.at("l1").get<double>());
  }
  ASSERT_GE(losses.size(), 5u);
  EXPECT_LT(losses.back(), losses.front());

  // The results have the promised keys; even a random teacher tells missing capsules from good trays.
  const json results = json::parse(read_text(*folder / "run/results.json"));
  for (const char* key : {"image_auroc", "pixel_auroc", "pixel_ap", "aupro", "f1_max"}) {
    ASSERT_TRUE(results.contains(key)) << key;
    EXPECT_GE(results[key].get<double>(), 0.0) << key;
    EXPECT_LE(results[key].get<double>(), 1.0) << key;
  }
  EXPECT_GT(results["pixel_auroc"].get<double>(), 0.7);
  EXPECT_GT(read_text(*folder / "run/report.html").size(), 100'000u);

  // A model asked again gives the same numbers.
  const Finished again =
      run_program("test " + *folder / "run" + " " + part("blister") + " -o " + *folder / "again");
  ASSERT_EQ(again.code, 0) << again.output;
  EXPECT_EQ(json::parse(read_text(*folder / "again/results.json"))["image_auroc"], results["image_auroc"]);

  const Finished info = run_program("info " + *folder / "run" + " --verify");
  EXPECT_EQ(info.code, 0) << info.output;
  EXPECT_NE(info.output.find("probes"), std::string::npos) << info.output;

  // Pictures of a folder with one bad file among them: that one is an error row, the rest is inspected.
  std::filesystem::copy(part("blister") + "/test/missing", *folder / "inbox",
                        std::filesystem::copy_options::recursive);
  std::ofstream(*folder / "inbox/broken.png") << "no picture";
  const Finished predicted =
      run_program("predict " + *folder / "run" + " " + *folder / "inbox" + " -o " + *folder / "out");
  ASSERT_EQ(predicted.code, 0) << predicted.output;
  const json predictions = json::parse(read_text(*folder / "out/predictions.json"));
  ASSERT_EQ(predictions["pictures"].size(), 4u);
  int errors = 0;
  for (const json& picture : predictions["pictures"]) {
    if (picture.contains("error")) {
      ++errors;
      EXPECT_NE(picture["error"].get<std::string>().find("broken.png"), std::string::npos);
      continue;
    }
    EXPECT_EQ(picture["verdict"] == "defective", picture["score"].get<double>() >= 0.5);
    const std::string stem = std::filesystem::path(picture["path"].get<std::string>()).stem().string();
    EXPECT_TRUE(std::filesystem::exists(*folder / "out" + "/" + stem + "_overlay.png"));
    EXPECT_TRUE(std::filesystem::exists(*folder / "out" + "/" + stem + "_map.png"));
  }
  EXPECT_EQ(errors, 1);
}

TEST_F(EndToEnd, SameSeedSameModelAndResumedEqualsStraight) {
  const std::string options = "--steps 14 --seed 5 --no-test --log-every 5";
  ASSERT_EQ(run_program(train("straight", options)).code, 0);
  const std::string log = read_text(*folder / "straight/training.jsonl");
  EXPECT_EQ(std::count(log.begin(), log.end(), '\n'), 3) << "steps 5, 10 and the last";

  // A run that is told to end after a few steps, then resumed.
  const std::string command =
      std::string(DDPMTS_PROGRAM) + " " + train("resumed", options + " >/dev/null 2>&1 & echo $!");
  FILE* pipe = popen(command.c_str(), "r");
  ASSERT_NE(pipe, nullptr);
  int pid = 0;
  ASSERT_EQ(fscanf(pipe, "%d", &pid), 1);
  pclose(pipe);
  for (int i = 0; i < 600 && read_text(*folder / "resumed/config.json").empty(); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  kill(pid, SIGTERM);
  for (int i = 0; i < 1200 && kill(pid, 0) == 0; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  ASSERT_TRUE(std::filesystem::exists(*folder / "resumed/checkpoint.safetensors"));
  const Finished resumed =
      run_program("train " + part("blister") + " -o " + *folder / "resumed" + " --resume --no-test");
  ASSERT_EQ(resumed.code, 0) << resumed.output;
  expect_same_tensors(*folder / "straight/model.safetensors", *folder / "resumed/model.safetensors");
}

TEST_F(EndToEnd, RunThatExistsIsNotOverwritten) {
  ASSERT_EQ(run_program(train("kept", "--steps 2 --no-test")).code, 0);
  const std::string before = read_text(*folder / "kept/model.safetensors");
  const Finished refused = run_program(train("kept", "--steps 2 --no-test"));
  EXPECT_EQ(refused.code, 1);
  EXPECT_NE(refused.output.find("--resume"), std::string::npos) << refused.output;
  EXPECT_EQ(read_text(*folder / "kept/model.safetensors"), before);
  EXPECT_EQ(run_program(train("kept", "--steps 2 --no-test --overwrite")).code, 0);
}

}  // namespace
}  // namespace ddpmts::test
