// The program paints: it teaches a diffusion model, paints banks of defects, and learns from them; interrupted anywhere it
// goes on to the same result. Where no training is tested a tiny network of made-up weights stands in for a taught one.
#include "tests/models/diffusion_test.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "data/dataset.h"
#include "data/image_codec.h"
#include "engine/files/safetensors.h"
#include "models/diffusion_file.h"
#include "tests/app/running.h"

namespace ddpmts::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

/// Every file of a folder with its bytes.
std::map<std::string, std::string> contents(const std::string& root) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    if (entry.is_regular_file()) files[fs::relative(entry.path(), root).string()] = read_text(entry.path());
  }
  return files;
}

void expect_same_tensors(const std::string& a, const std::string& b) {
  const SafetensorsFile first(a), second(b);
  ASSERT_EQ(first.tensors().size(), second.tensors().size());
  for (const TensorInfo& tensor : first.tensors()) {
    EXPECT_EQ(first.bytes(tensor.name), second.bytes(tensor.name)) << tensor.name;
  }
}

std::int64_t lines_of(const std::string& file) {
  const std::string text = read_text(file);
  return std::count(text.begin(), text.end(), '\n');
}

class Diffusion : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    setenv("OMP_NUM_THREADS", "1", 1);  // two threads on such small work only wait for each other
    folder = new TemporaryFolder;
    const Finished drawn =
        run_program("draw -o " + *folder / "parts" + " --size 64 --train 12 --test-good 2 --test-defect 1");
    ASSERT_EQ(drawn.code, 0) << drawn.output;
  }
  static void TearDownTestSuite() {
    delete folder;
    unsetenv("OMP_NUM_THREADS");
  }

  static std::string part() { return *folder / "parts/blister"; }
  static std::string at(const std::string& name) { return *folder / name; }
  static Finished expect_success(const std::string& arguments) {
    Finished finished = run_program(arguments);
    EXPECT_EQ(finished.code, 0) << arguments << "\n" << finished.output;
    return finished;
  }
  static void expect_failure(const std::string& arguments, const std::vector<std::string>& says,
                             int code = 1) {
    const Finished finished = run_program(arguments);
    EXPECT_EQ(finished.code, code) << arguments << "\n" << finished.output;
    for (const std::string& text : says) {
      EXPECT_NE(finished.output.find(text), std::string::npos) << arguments << "\n" << finished.output;
    }
  }
  /// A run with a network of 16 pixels for pictures of 64; how it was trained is what the program writes at a start.
  static void make_tiny_run(const std::string& run, std::uint64_t seed = 1) {
    if (configuration.empty()) {
      Running training("train-diffusion " + part() + " -o " + at("begun") + " --steps 1 --picture-size 64",
                       at("begun.txt"));
      ASSERT_TRUE(training.wrote(at("begun/diffusion.json"), "}"));
      training.end_with(SIGKILL);
      configuration = read_text(at("begun/diffusion.json"));
    }
    UNet network(tiny_unet(), seed, Device{});
    make_up_weights(network);
    if (seed > 1)
      set_values(
          *network.parameters().front(),
          std::vector<float>(static_cast<std::size_t>(network.parameters().front()->shape().count()), 0.01f));
    fs::create_directories(at(run));
    save_diffusion_model(at(run) + "/diffusion.safetensors", tiny_unet(), NoiseSchedule(), Prediction::noise,
                         network.tensors(), configuration);
  }

  static TemporaryFolder* folder;
  static std::string configuration;
};
TemporaryFolder* Diffusion::folder = nullptr;
std::string Diffusion::configuration;

TEST_F(Diffusion, InterruptedTrainingGoesOnBitForBit) {
  const auto training = [](const std::string& run) {
    return "train-diffusion " + part() + " -o " + at(run) +
           " --size 64 --picture-size 64 --batch 1 --steps 13 --seed 3";
  };
  expect_success(training("straight"));
  Running running(training("stopped"), at("stopped.txt"));
  ASSERT_TRUE(running.printed("step     1"));
  const Finished stopped = running.end_with(SIGINT);
  EXPECT_EQ(stopped.code, 0) << stopped.output;
  EXPECT_NE(stopped.output.find("interrupted after"), std::string::npos) << stopped.output;
  EXPECT_NE(stopped.output.find("--resume"), std::string::npos) << stopped.output;
  ASSERT_FALSE(fs::exists(at("stopped/diffusion.safetensors")));
  EXPECT_FALSE(fs::exists(at("stopped/samples"))) << "who wants to stop does not wait for samples";
  const json state =
      json::parse(SafetensorsFile(at("stopped/diffusion_checkpoint.safetensors")).metadata().at("training"));
  ASSERT_GE(state.at("steps"), 1);
  ASSERT_LE(state.at("steps"), 3);
  fs::create_directory(at("spoilt"));
  fs::copy(at("stopped/diffusion_checkpoint.safetensors"), at("spoilt/diffusion_checkpoint.safetensors"));

  expect_failure(training("stopped"), {"--resume", "--overwrite"});
  expect_success("train-diffusion " + part() + " -o " + at("stopped") + " --resume");
  expect_same_tensors(at("straight/diffusion.safetensors"), at("stopped/diffusion.safetensors"));
  expect_same_tensors(at("straight/diffusion_checkpoint.safetensors"),
                      at("stopped/diffusion_checkpoint.safetensors"));
  const DiffusionModel model = load_diffusion_model(at("straight/diffusion.safetensors"), Device{});
  EXPECT_EQ(model.network->config(), preset(UNetPreset::xs, 64));
  const Image samples = read_image(at("straight/samples/step_000013.png"));
  EXPECT_EQ(samples.width, 8 * 66 - 2);
  EXPECT_EQ(samples.height, 2 * 66 - 2);
  EXPECT_EQ(lines_of(at("straight/diffusion.jsonl")), 2) << "the tenth step and the last";

  // A weight that went bad: ten steps are tried, the layer is named, and the checkpoint stays as it was.
  {
    std::fstream file(at("spoilt/diffusion_checkpoint.safetensors"),
                      std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(
        SafetensorsFile(at("spoilt/diffusion_checkpoint.safetensors")).info("out.2.bias").offset));
    const float bad = std::nanf("");
    file.write(reinterpret_cast<const char*>(&bad), sizeof bad);
  }
  const std::string before = read_text(at("spoilt/diffusion_checkpoint.safetensors"));
  expect_failure("train-diffusion " + part() + " -o " + at("spoilt") + " --resume",
                 {"the step was skipped", "10 steps in a row", "the weight out.2.bias"});
  EXPECT_TRUE(read_text(at("spoilt/diffusion_checkpoint.safetensors")) == before);
  EXPECT_FALSE(fs::exists(at("spoilt/diffusion.safetensors")));
}

TEST_F(Diffusion, AnInterruptedBankGoesOnToTheSameBytes) {
  make_tiny_run("tiny");
  const auto painting = [](const std::string& bank, std::int64_t count, const std::string& more = "") {
    return "paint " + at("tiny") + " -o " + at(bank) + " --seed 3 --count " + std::to_string(count) + " " +
           more;
  };
  Running running(painting("half", 5000, "--batch 2"), at("half.txt"));
  ASSERT_TRUE(running.wrote(at("half/bank.jsonl"), "000003.png"));
  const Finished stopped = running.end_with(SIGINT);
  EXPECT_EQ(stopped.code, 0) << stopped.output;
  EXPECT_NE(stopped.output.find("interrupted; the same command goes on"), std::string::npos)
      << stopped.output;
  const std::int64_t done = lines_of(at("half/bank.jsonl")), count = done + 5;
  ASSERT_GE(done, 4);
  ASSERT_LT(done, 5000);
  // What a killed program may leave: half of a line, and of a picture that has no line yet.
  std::ofstream(at("half/bank.jsonl"), std::ios::app) << "{\"name\":\"0000";
  std::ofstream(at("half/bad") + fmt::format("/{:06d}.png", done)) << "half a picture";
  expect_success(painting("half", count));
  expect_success(painting("full", count, "--batch 3"));
  const auto bank = contents(at("full"));
  EXPECT_EQ(lines_of(at("full/bank.jsonl")), count);
  const auto differing = [&](const std::string& other) {
    std::vector<std::string> names;
    const auto files = contents(at(other));
    for (const auto& [name, bytes] : bank) {
      if (!files.contains(name) || files.at(name) != bytes) names.push_back(name);
    }
    for (const auto& [name, bytes] : files) {
      if (!bank.contains(name)) names.push_back(name);
    }
    return names;
  };
  EXPECT_EQ(differing("half"), std::vector<std::string>());

  // A full bank stays as it is, and so does one that other settings, another model or fewer pictures are asked of.
  expect_success(painting("full", count));
  expect_success(painting("full", 2));
  expect_failure(painting("full", count, "--delta 0.3"), {"full", "other settings", "--overwrite"});
  expect_failure(painting("full", count, "--form h1"), {"other settings"});
  make_tiny_run("tiny", 2);
  expect_failure(painting("full", count), {"by another model"});
  EXPECT_EQ(differing("full"), std::vector<std::string>());
  EXPECT_EQ(differing("half"), std::vector<std::string>());
  expect_success(painting("half", count, "--overwrite"));
  EXPECT_GE(differing("half").size(), static_cast<std::size_t>(count)) << "painted anew, by the other model";

  // Nothing but a bank is ever overwritten.
  fs::copy(part() + "/train", at("mine"), fs::copy_options::recursive);
  const auto mine = contents(at("mine"));
  expect_failure(painting("mine", 1, "--overwrite"), {"mine", "other files"});
  EXPECT_EQ(contents(at("mine")), mine);
}

TEST_F(Diffusion, ABankIsAnOrdinaryFolder) {
  make_tiny_run("tiny");
  expect_success("paint " + at("tiny") + " -o " + at("bank") +
                 " --count 12 --masks blob=1,stroke=1 --form inpaint --s 0.3 0.4");
  const json settings = json::parse(read_text(at("bank/bank.json")));
  EXPECT_EQ(settings["form"], "inpaint");
  EXPECT_EQ(settings["s"], json({0.3, 0.4}));
  EXPECT_EQ(settings["masks"]["perlin"], 0.0);
  EXPECT_EQ(settings["masks"]["stroke"], 1.0);

  const Dataset dataset = scan_dataset(at("bank"));
  EXPECT_EQ(dataset.layout, Layout::good_and_bad);
  EXPECT_TRUE(dataset.skipped.empty());
  std::istringstream list(read_text(at("bank/bank.jsonl")));
  int painted = 0;
  std::set<std::string> bases;
  for (std::string line; std::getline(list, line); ++painted) {
    const json entry = json::parse(line);
    const std::string name = entry["name"], base = entry["base"];
    bases.insert(base);
    const Image good = read_image(at("bank/good/") + base), bad = read_image(at("bank/bad/") + name);
    const Mask mask = read_grey(at("bank/masks/") + name);
    EXPECT_EQ(good, read_image(part() + "/train/good/" + base));
    ASSERT_EQ(bad.width, 64);
    ASSERT_EQ(mask.width, 64);
    int marked = 0, changed = 0;
    for (int y = 0; y < 64; ++y) {
      for (int x = 0; x < 64; ++x) {
        const bool differs = !std::equal(bad.pixel(x, y), bad.pixel(x, y) + 3, good.pixel(x, y));
        ASSERT_TRUE(mask.at(x, y) == 0 || mask.at(x, y) == 255);
        ASSERT_FALSE(differs && mask.at(x, y) == 0) << name << " at " << x << "," << y;
        marked += mask.at(x, y) == 255 ? 1 : 0;
        changed += differs ? 1 : 0;
      }
    }
    EXPECT_GT(changed, marked / 2) << name;
  }
  EXPECT_EQ(painted, 12);
  std::size_t files = 0;
  for ([[maybe_unused]] const auto& entry : fs::directory_iterator(at("bank/good"))) ++files;
  EXPECT_EQ(files, bases.size()) << "the pictures that were painted on, once each";
  int with_mask = 0;
  for (const Sample& sample : dataset.test) with_mask += sample.mask.has_value() ? 1 : 0;
  EXPECT_EQ(with_mask, 12);
}

TEST_F(Diffusion, GoodPicturesOfOneStemAreKeptApart) {
  const std::string good = at("stems");
  fs::create_directory(good);
  for (int i = 0; i < 6; ++i) {
    const fs::path from = part() + fmt::format("/train/good/{:03d}.png", i);
    fs::copy(from, good + "/" + (i % 2 == 0 ? fmt::format("{}.png", i / 2) : fmt::format("{}.PNG", i / 2)));
  }
  make_tiny_run("tiny");
  expect_success("paint " + at("tiny") + " -o " + at("apart") + " --count 20 --chain 4 --data " + good);
  std::istringstream list(read_text(at("apart/bank.jsonl")));
  std::set<std::string> bases;
  for (std::string line; std::getline(list, line);) {
    const json entry = json::parse(line);
    bases.insert(entry["base"].get<std::string>());
    const Image base = read_image(at("apart/good/") + entry["base"].get<std::string>());
    const Image bad = read_image(at("apart/bad/") + entry["name"].get<std::string>());
    const Mask mask = read_grey(at("apart/masks/") + entry["name"].get<std::string>());
    for (int p = 0; p < 64 * 64; ++p) {
      if (mask.at(p % 64, p / 64) != 0) continue;
      ASSERT_TRUE(
          std::equal(bad.pixel(p % 64, p / 64), bad.pixel(p % 64, p / 64) + 3, base.pixel(p % 64, p / 64)))
          << line;
    }
  }
  EXPECT_EQ(bases.size(), 5u) << "six pictures, one of them held out";
}

TEST_F(Diffusion, TheDetectorLearnsFromTheBankAndGoesOn) {
  const std::string options =
      " --steps 6 --size 64 --batch 2 --seed 3 --no-test --source self=0.5,diffusion=0.5";
  make_tiny_run("one");
  expect_success("train " + part() + " -o " + at("one") + options + " --paint 8 --teacher random");
  EXPECT_EQ(lines_of(at("one/defects/bank.jsonl")), 8);
  const auto bank = contents(at("one/defects"));
  const json config = json::parse(read_text(at("one/config.json")));
  EXPECT_EQ(config["bank"], at("one/defects"));
  EXPECT_EQ(config["synthesis"]["diffusion_weight"], 0.5);

  // Interrupted while the detector trains: nothing but --resume is needed, the run knows the rest.
  make_tiny_run("two");
  Running running("train " + part() + " -o " + at("two") + options + " --paint 8 --teacher random",
                  at("two.txt"));
  ASSERT_TRUE(running.printed("step     1"));
  EXPECT_EQ(running.end_with(SIGINT).code, 0);
  ASSERT_TRUE(fs::exists(at("two/checkpoint.safetensors")));
  ASSERT_FALSE(fs::exists(at("two/model.safetensors")));
  expect_success("train " + part() + " -o " + at("two") + " --source diffusion --resume --no-test");
  expect_same_tensors(at("one/model.safetensors"), at("two/model.safetensors"));
  EXPECT_EQ(contents(at("two/defects")), bank);

  // Stopped between the bank and the detector: the teacher is looked for as at a start.
  make_tiny_run("three");
  fs::copy(at("one/defects"), at("three/defects"), fs::copy_options::recursive);
  setenv("DDPMTS_TEACHER", (at("one/random_teacher.safetensors")).c_str(), 1);
  expect_success("train " + part() + " -o " + at("three") + options + " --paint 8 --resume");
  unsetenv("DDPMTS_TEACHER");
  expect_same_tensors(at("one/model.safetensors"), at("three/model.safetensors"));

  // Another run's bank, by name; and it matters which.
  expect_success("train " + part() + " -o " + at("four") + options + " --teacher random --bank " +
                 at("one/defects"));
  expect_same_tensors(at("one/model.safetensors"), at("four/model.safetensors"));

  // The bank is a test set, too.
  expect_success("test " + at("one") + " " + at("one/defects") + " -o " + at("tested"));
  const json results = json::parse(read_text(at("tested/results.json")));
  EXPECT_TRUE(results.contains("image_auroc"));
  EXPECT_TRUE(results.contains("pixel_auroc"));
}

TEST_F(Diffusion, OneCommandDoesItAll) {
  const Finished finished = expect_success("train " + part() + " -o " + at("run") +
                                           " --source self=0.5,diffusion=0.5 --diffusion-steps 2 --paint 4 "
                                           "--steps 4 --size 64 --batch 2 --teacher random");
  for (const char* file :
       {"diffusion.safetensors", "diffusion.jsonl", "defects/bank.json", "defects/bad/000003.png",
        "model.safetensors", "training.jsonl", "results.json", "report.html"}) {
    EXPECT_TRUE(fs::exists(at("run/") + file)) << file << "\n" << finished.output;
  }
  EXPECT_EQ(lines_of(at("run/defects/bank.jsonl")), 4);
  const json results = json::parse(read_text(at("run/results.json")));
  EXPECT_TRUE(results["image_auroc"].is_number()) << results;
}

TEST_F(Diffusion, SaysWhatIsMissing) {
  fs::create_directory(at("bare"));
  expect_failure("paint " + at("bare") + " -o " + at("none"),
                 {"no diffusion model", "ddpmts train-diffusion", at("bare")});
  EXPECT_FALSE(fs::exists(at("none")));
  std::ofstream(at("bare/diffusion.safetensors")) << "no model";
  expect_failure("paint " + at("bare") + " -o " + at("none"), {"diffusion.safetensors"});

  make_tiny_run("tiny");
  const std::string learn = "train " + part() + " --teacher random --steps 1 --no-test --source diffusion";
  expect_failure(learn + " -o " + at("tiny") + " --size 96", {"pictures of 64 pixels", "96", "--size 64"});
  EXPECT_FALSE(fs::exists(at("tiny/defects")));
  expect_failure(learn + " -o " + at("other") + " --size 64 --bank " + part(),
                 {"no defect bank", "ddpmts paint"});
  const std::string paint = "paint " + at("tiny") + " -o " + at("none") + " --count 1 ";
  expect_failure(paint + "--masks perlin=1,square=2", {"'square'", "rectangle"}, 2);
  expect_failure(paint + "--masks perlin=many", {"'many'"}, 2);
  expect_failure(paint + "--masks perlin=0", {"mask kinds"});
  expect_failure(paint + "--s 0.3 0.1", {"0.3 to 0.1"});
  expect_failure(paint + "--start 1000", {"1000 of 1000"});
  EXPECT_FALSE(fs::exists(at("none"))) << "nothing was begun";
  expect_failure(paint + "--form h2", {"--form"}, 2);
  expect_failure(paint + "--data " + at("bare"), {at("bare")});

  const std::string teach = "train-diffusion " + part() + " -o " + at("taught");
  expect_failure(teach + " --steps 1 --picture-size 32", {"64 pixels", "32"});
  expect_failure(teach + " --resume", {"diffusion_checkpoint.safetensors"});
  expect_failure(teach + " --size 96", {"--size"}, 2);
  EXPECT_FALSE(fs::exists(at("taught")));
}

}  // namespace
}  // namespace ddpmts::test
