// Pictures, masks and disks that fail in the middle of good ones: the rest is still inspected, and what was written stays.
#include <gtest/gtest.h>

#include <algorithm>
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
  EXPECT_FALSE(row("good.png").contains("error"));
  for (const char* name : {"truncated.png", "empty.png", "renamed.jpg", "huge.png", "absent.png"}) {
    ASSERT_TRUE(row(name).contains("error")) << name;
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
  EXPECT_NE(done.output.find("1 pictures could not be judged"), std::string::npos) << done.output;
}

TEST_F(BadPictures, AFullDiskIsSaidAndNothingIsDamaged) {
  // Files of more than 64 blocks of 512 or 1024 bytes cannot be written: the model is larger.
  const std::string before = read_text(run() + "/model.safetensors");
  const std::string train = std::string("'") + DDPMTS_PROGRAM + "' train " + part() + " -o " + run() +
                            " --teacher random --size 64 --batch 2 --steps 2 --no-test --overwrite";
  const Finished full = run_shell("trap '' XFSZ; ulimit -f 64; " + train);
  EXPECT_EQ(full.code, 1) << full.output;
  EXPECT_NE(full.output.find("safetensors"), std::string::npos) << full.output;
  EXPECT_EQ(read_text(run() + "/model.safetensors"), before);
  for (const auto& entry : std::filesystem::directory_iterator(run())) {
    EXPECT_EQ(entry.path().string().find(".tmp."), std::string::npos) << entry.path();
  }
}

TEST_F(BadPictures, AFolderThatCannotBeWrittenIsNamed) {
  for (const std::string& command :
       {"train " + part() + " --teacher random --size 64 --steps 1 -o /proc/ddpmts",
        "test " + run() + " " + part() + " -o /proc/ddpmts",
        "predict " + run() + " " + part() + "/test/good -o /proc/ddpmts"}) {
    const Finished done = run_program(command);
    EXPECT_EQ(done.code, 1) << command << "\n" << done.output;
    EXPECT_NE(done.output.find("/proc/ddpmts"), std::string::npos) << done.output;
  }
}

}  // namespace
}  // namespace ddpmts::test
