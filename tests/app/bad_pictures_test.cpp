// Pictures, masks and disks that fail in the middle of good ones: the rest is still inspected, and what was written stays.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "data/image_png.h"
#include "tests/app/program.h"

namespace ddpmts::test {
namespace {

using nlohmann::json;

// A run of two steps on drawn parts, made once.
class BadPictures : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder = new TemporaryFolder;
    Finished done =
        run_program("draw -o " + *folder / "parts" + " --size 64 --train 6 --test-good 2 --test-defect 1");
    ASSERT_EQ(done.code, 0) << done.output;
    done = run_program("train " + part() + " -o " + run() +
                       " --teacher random --size 64 --batch 2 --steps 2 --no-test");
    ASSERT_EQ(done.code, 0) << done.output;
  }
  static void TearDownTestSuite() { delete folder; }

  static std::string part() { return *folder / "parts/flange"; }
  static std::string run() { return *folder / "run"; }
  static TemporaryFolder* folder;
};
TemporaryFolder* BadPictures::folder = nullptr;

void write_bytes(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

TEST_F(BadPictures, EachBadFileIsARowAndTheRestIsInspected) {
  const std::string inbox = *folder / "inbox";
  std::filesystem::create_directory(inbox);
  write_png(inbox + "/good.png", Image(48, 40));
  const std::string whole = read_text(inbox + "/good.png");
  write_bytes(inbox + "/truncated.png", whole.substr(0, whole.size() / 2));
  write_bytes(inbox + "/empty.png", "");
  write_bytes(inbox + "/renamed.jpg", "GIF89a, which is not read");
  write_png(inbox + "/huge.png", Image(16'385, 1));
  const Finished done =
      run_program("predict " + run() + " " + inbox + " " + inbox + "/absent.png -o " + *folder / "out");
  ASSERT_EQ(done.code, 0) << done.output;
  const json pictures = json::parse(read_text(*folder / "out/predictions.json"))["pictures"];
  ASSERT_EQ(pictures.size(), 6u);
  const auto row = [&](const std::string& name) {
    return *std::find_if(pictures.begin(), pictures.end(), [&](const json& picture) {
      return std::filesystem::path(picture["path"].get<std::string>()).filename() == name;
    });
  };
  EXPECT_TRUE(row("good.png")["error"].is_null());
  EXPECT_EQ(row("good.png")["overlay"], "good_overlay.png");
  EXPECT_EQ(row("good.png")["map"], "good_map.png");
  for (const char* name : {"truncated.png", "empty.png", "renamed.jpg", "huge.png", "absent.png"}) {
    ASSERT_TRUE(row(name)["error"].is_string()) << name;
    const std::string error = row(name)["error"];
    EXPECT_NE(error.find(name), std::string::npos) << error;
    EXPECT_EQ(error.find('\n'), std::string::npos) << error;
  }
  EXPECT_NE(row("huge.png")["error"].get<std::string>().find("16384"), std::string::npos) << row("huge.png");
}

TEST_F(BadPictures, AMaskOfAnotherSizeIsAnErrorRow) {
  const std::string set = *folder / "masked";
  std::filesystem::create_directory(set);
  std::filesystem::copy(part() + "/test/good", set + "/good", std::filesystem::copy_options::recursive);
  std::filesystem::create_directories(set + "/bad");
  std::filesystem::create_directories(set + "/masks");
  for (const char* name : {"a.png", "b.png"}) write_png(set + "/bad/" + name, Image(64, 64));
  Mask fits(64, 64), other(64, 50);
  fits.at(20, 20) = fits.at(21, 20) = fits.at(20, 21) = fits.at(21, 21) = 255;
  write_png(set + "/masks/a.png", fits);
  write_png(set + "/masks/b.png", other);
  const Finished done = run_program("test " + run() + " " + set + " -o " + *folder / "masked_out");
  ASSERT_EQ(done.code, 0) << done.output;
  const std::string csv = read_text(*folder / "masked_out/results.csv");
  EXPECT_NE(csv.find("64 x 50"), std::string::npos) << csv;
  EXPECT_NE(done.output.find("1 picture could not be judged"), std::string::npos) << done.output;
}

TEST_F(BadPictures, ATestPictureThatCannotBeReadIsAnErrorRow) {
  const std::string set = *folder / "torn";
  std::filesystem::copy(part(), set, std::filesystem::copy_options::recursive);
  write_bytes(set + "/test/good/torn.png", "no picture");
  const Finished done = run_program("test " + run() + " " + set + " -o " + *folder / "torn_out");
  ASSERT_EQ(done.code, 0) << done.output;
  EXPECT_NE(done.output.find("1 picture could not be judged"), std::string::npos) << done.output;
  const json results = json::parse(read_text(*folder / "torn_out/results.json"));
  EXPECT_EQ(results["counts"]["errors"], 1);
  EXPECT_NE(read_text(*folder / "torn_out/report.html").find("torn.png"), std::string::npos);
}

TEST_F(BadPictures, MasksThatSayNothingAreNamedAndCounted) {
  const std::string set = *folder / "small";
  std::filesystem::create_directories(set + "/bad");
  std::filesystem::create_directories(set + "/masks");
  std::filesystem::copy(part() + "/test/good", set + "/good");
  for (const char* name : {"dot.png", "empty.png", "patch.png"})
    write_png(set + "/bad/" + name, Image(640, 640));
  Mask dot(640, 640), empty(640, 640), patch(640, 640);
  dot.at(100, 100) = 255;
  for (int i = 0; i < 100 * 100; ++i) patch.at(100 + i % 100, 100 + i / 100) = 255;
  write_png(set + "/masks/dot.png", dot);
  write_png(set + "/masks/empty.png", empty);
  write_png(set + "/masks/patch.png", patch);
  const Finished done = run_program("test " + run() + " " + set + " -o " + *folder / "small_out");
  ASSERT_EQ(done.code, 0) << done.output;
  EXPECT_NE(done.output.find("dot.png: what its mask marks is too small"), std::string::npos) << done.output;
  EXPECT_NE(done.output.find("empty.png: its mask marks nothing"), std::string::npos) << done.output;
  const json results = json::parse(read_text(*folder / "small_out/results.json"));
  EXPECT_EQ(results["counts"]["masks_left_out"], 2);
  EXPECT_TRUE(results["pixel_auroc"].is_number());
}

TEST_F(BadPictures, AThresholdByHandIsSaidToBeOne) {
  const Finished done = run_program("predict " + run() + " " + part() + "/test/good -o " +
                                    *folder / "by_hand" + " --threshold 1e6 --no-overlays");
  ASSERT_EQ(done.code, 0) << done.output;
  const json predictions = json::parse(read_text(*folder / "by_hand/predictions.json"));
  EXPECT_EQ(predictions["threshold"]["raw"], 1e6);
  EXPECT_TRUE(predictions["threshold"]["false_alarm_rate"].is_null());
  EXPECT_NE(predictions["threshold"]["meaning"].get<std::string>().find("by hand"), std::string::npos);
  for (const json& row : predictions["pictures"]) {
    EXPECT_EQ(row["verdict"], "good");
    EXPECT_EQ(row["threshold"], 1e6);
    EXPECT_TRUE(row["overlay"].is_null());
  }
}

// What lies in a folder and below, name by name.
std::map<std::string, std::string> contents(const std::string& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) files[entry.path()] = read_text(entry.path());
  }
  return files;
}

TEST_F(BadPictures, ACallThatFailsLeavesTheRunAsItWas) {
  const std::string once = *folder / "once";
  std::filesystem::copy(run(), once);
  const auto before = contents(once);
  const std::string start = " -o " + once + " --steps 2 --batch 2 --no-test";
  for (const std::string& call :
       {"train " + part() + start + " --size 64 --teacher random",
        "train " + part() + start + " --size 64 --overwrite --teacher absent.safetensors",
        "train " + part() + start + " --size 40 --overwrite --teacher random",
        "train " + *folder / "nothing" + start + " --overwrite --teacher random",
        "test " + once + " " + *folder / "nothing",
        "predict " + once + " " + *folder / "nothing" + " -o " + *folder / "nowhere"}) {
    const Finished done = run_program(call);
    EXPECT_NE(done.code, 0) << call;
    EXPECT_TRUE(contents(once) == before) << call << "\n" << done.output;
  }
}

TEST_F(BadPictures, AFullDiskIsSaidAndNothingIsDamaged) {
  const std::string full = *folder / "full";
  std::filesystem::copy(run(), full);
  const std::string model = read_text(full + "/model.safetensors");
  const std::string train = std::string("'") + DDPMTS_PROGRAM + "' train " + part() + " -o " + full +
                            " --teacher " + run() +
                            "/random_teacher.safetensors --size 64 --batch 2 --steps 2 --no-test --overwrite";
  // Files of more than so many blocks of 512 or 1024 bytes cannot be written; the trap makes that an error like a full disk's.
  const Finished stopped = run_shell("trap '' XFSZ; ulimit -f 64; " + train);
  EXPECT_EQ(stopped.code, 1) << stopped.output;
  EXPECT_NE(stopped.output.find("checkpoint.safetensors"), std::string::npos) << stopped.output;
  EXPECT_EQ(read_text(full + "/previous/model.safetensors"), model);
  const std::string config = read_text(full + "/previous/config.json");
  EXPECT_EQ(run_shell("trap '' XFSZ; ulimit -f 64; " + train + " --seed 7").code, 1);
  EXPECT_EQ(read_text(full + "/previous/model.safetensors"), model);
  EXPECT_EQ(read_text(full + "/previous/config.json"), config)
      << "the kept model stays beside its own settings";
  const Finished unfinished =
      run_program("predict " + full + " " + part() + "/test/good -o " + *folder / "full_out");
  EXPECT_EQ(unfinished.code, 1) << "the old model must not be taken for the new one's";
  EXPECT_NE(unfinished.output.find("previous/model.safetensors"), std::string::npos) << unfinished.output;

  // Overlays are small, maps of 64x64 too: two blocks take neither.
  const Finished predicted =
      run_shell("trap '' XFSZ; ulimit -f 2; '" + std::string(DDPMTS_PROGRAM) + "' predict " + run() + " " +
                part() + "/test/good -o " + *folder / "full_out");
  EXPECT_EQ(predicted.code, 1) << predicted.output;
  EXPECT_NE(predicted.output.find("full_out/"), std::string::npos) << predicted.output;

  for (const std::string& where : {full, *folder / "full_out"}) {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(where)) {
      EXPECT_EQ(entry.path().string().find(".tmp."), std::string::npos) << entry.path();
    }
  }
  // With room again the same call succeeds, and the old model goes.
  EXPECT_EQ(run_shell(train).code, 0);
  EXPECT_FALSE(std::filesystem::exists(full + "/previous"));
}

TEST_F(BadPictures, AFolderThatCannotBeWrittenIsNamed) {
  // One that cannot be made, and one that is there and takes no files, not even root's.
  for (const std::string target : {"/proc/ddpmts", "/proc/sys"}) {
    for (const std::string& command :
         {"train " + part() + " --teacher random --size 64 --steps 1 -o " + target,
          "test " + run() + " " + part() + " -o " + target,
          "predict " + run() + " " + part() + "/test/good -o " + target}) {
      const Finished done = run_program(command);
      EXPECT_EQ(done.code, 1) << command << "\n" << done.output;
      EXPECT_NE(done.output.find(target), std::string::npos) << done.output;
    }
  }
}

}  // namespace
}  // namespace ddpmts::test
