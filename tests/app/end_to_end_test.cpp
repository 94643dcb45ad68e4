// The program on parts that it draws itself, with a teacher of random weights: train, test, predict, resume.
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "engine/files/safetensors.h"
#include "tests/app/running.h"

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
  for (const char* part : {"distance", "segmentation", "memory"}) {
    EXPECT_GT(results["parts"].at(part).at("image_auroc").get<double>(), 0.5) << part;
  }
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
    if (!picture["error"].is_null()) {
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
  const std::string options = "--steps 44 --seed 5 --no-test --log-every 1";
  ASSERT_EQ(run_program(train("straight", options)).code, 0);

  Running running(train("resumed", options), *folder / "resumed.txt");
  ASSERT_TRUE(running.wrote(*folder / "resumed/training.jsonl", "\"step\":3"));
  const Finished stopped = running.end_with(SIGTERM);
  EXPECT_EQ(stopped.code, 0) << stopped.output;
  EXPECT_NE(stopped.output.find("--resume"), std::string::npos) << stopped.output;
  ASSERT_TRUE(std::filesystem::exists(*folder / "resumed/checkpoint.safetensors"));
  ASSERT_FALSE(std::filesystem::exists(*folder / "resumed/model.safetensors"));
  const Finished resumed = run_program("train " + part("blister") + " -o " + *folder / "resumed" +
                                       " --resume --no-test --log-every 1 --steps 99 --size 64");
  ASSERT_EQ(resumed.code, 0) << resumed.output;
  EXPECT_NE(resumed.output.find("not taken from the call: --steps --size"), std::string::npos)
      << resumed.output;
  expect_same_tensors(*folder / "straight/model.safetensors", *folder / "resumed/model.safetensors");
  const std::string log = read_text(*folder / "resumed/training.jsonl");
  EXPECT_EQ(std::count(log.begin(), log.end(), '\n'), 44) << "one line a step, none twice";
}

// When the last step is done, what is left to do is not worth a failure.
TEST_F(EndToEnd, AskedToEndDuringTheTestItEndsWell) {
  Running running(train("late", "--steps 2"), *folder / "late.txt");
  ASSERT_TRUE(running.wrote(*folder / "late/model.safetensors", "ddpmts-detector"));
  const Finished stopped = running.end_with(SIGINT);
  EXPECT_EQ(stopped.code, 0) << stopped.output;
  const bool tested = std::filesystem::exists(*folder / "late/report.html");
  EXPECT_EQ(stopped.output.find("ddpmts test") == std::string::npos, tested) << stopped.output;
}

TEST_F(EndToEnd, ATrainingThatDivergesEndsWithAReason) {
  const Finished diverged =
      run_program(train("diverged", "--steps 60 --no-test --precision f32 --learning-rate 1e30"));
  EXPECT_EQ(diverged.code, 1) << diverged.output;
  EXPECT_NE(diverged.output.find("10 steps in a row were not finite"), std::string::npos) << diverged.output;
  EXPECT_NE(diverged.output.find("--learning-rate"), std::string::npos) << diverged.output;
  EXPECT_FALSE(std::filesystem::exists(*folder / "diverged/model.safetensors"));
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

TEST_F(EndToEnd, MasksAreOfTheKindsAskedFor) {
  const Finished trained =
      run_program(train("masked", "--steps 1 --no-test --memory 0 --masks rectangle,smooth=0.5"));
  ASSERT_EQ(trained.code, 0) << trained.output;
  const json synthesis = json::parse(read_text(*folder / "masked/config.json")).at("synthesis");
  const std::pair<const char*, double> weights[] = {
      {"perlin", 0.0}, {"blob", 0.0}, {"stroke", 0.0}, {"rectangle", 1.0}, {"smooth_noise", 0.5}};
  for (const auto& [kind, weight] : weights) {
    EXPECT_EQ(synthesis.at(std::string(kind) + "_weight").get<double>(), weight) << kind;
  }
}

}  // namespace
}  // namespace ddpmts::test
