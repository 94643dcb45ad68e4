// Wrong calls and hostile input: one clear line, the right exit code, nothing damaged.
#include <gtest/gtest.h>

#include <algorithm>

#include "data/image_png.h"
#include "engine/files/safetensors.h"
#include "tests/app/program.h"

namespace ddpmts::test {
namespace {

// Exit code and a part of the one line that says why.
void expect_failure(const std::string& arguments, int code, const std::string& says) {
  const Finished finished = run_program(arguments);
  EXPECT_EQ(finished.code, code) << arguments << "\n" << finished.output;
  EXPECT_NE(finished.output.find(says), std::string::npos) << arguments << "\n" << finished.output;
  EXPECT_EQ(finished.output.find("terminate called"), std::string::npos) << finished.output;
}

void write_good_pictures(const std::filesystem::path& folder, int count) {
  std::filesystem::create_directories(folder);
  for (int i = 0; i < count; ++i) {
    Image image(40, 30);
    for (std::size_t p = 0; p < image.rgb.size(); ++p)
      image.rgb[p] = static_cast<std::uint8_t>(p * 7 + static_cast<std::size_t>(i));
    write_png(folder / (std::to_string(i) + ".png"), image);
  }
}

void write_one_tensor(const std::filesystem::path& path) {
  const std::vector<float> few(4, 0.0f);
  const TensorToWrite tensor{"conv1.weight", StoredType::f32, {2, 2}, std::as_bytes(std::span(few))};
  write_safetensors(path, {&tensor, 1}, {});
}

TEST(BadInput, WrongCallsExitWithTwo) {
  expect_failure("", 2, "subcommand");
  expect_failure("train", 2, "data");
  expect_failure("train x -o y --no-such-option", 2, "--no-such-option");
  expect_failure("train x -o y --head huge", 2, "--head");
  expect_failure("frobnicate", 2, "frobnicate");
  EXPECT_EQ(run_program("--help").code, 0);
  EXPECT_EQ(run_program("train --help").code, 0);
  EXPECT_EQ(run_program("--version").code, 0);
}

TEST(BadInput, HelpShowsEveryDefault) {
  const std::string help = run_program("train --help").output;
  for (const char* text : {"--minutes", "--steps", "--seed", "--precision", "--size", "--head", "--augment",
                           "256", "joint", "self=0.6,texture=0.4"}) {
    EXPECT_NE(help.find(text), std::string::npos) << text << "\n" << help;
  }
}

TEST(BadInput, AGpuThatCannotBeUsedIsOneClearLine) {
  const Finished check = run_program("check");
  EXPECT_EQ(check.code, 0) << check.output;
  const bool absent = check.output.find("cuda       not in this build") != std::string::npos;
  const bool refused = check.output.find("cuda:0 cannot be used") != std::string::npos;
  expect_failure("train x -o y --device gpu", 1, "unknown device 'gpu'");
  expect_failure("train x -o y --device cuda:-1", 1, "unknown device 'cuda:-1'");
  expect_failure("train x -o y --device cuda:99", 1,
                 absent ? "built without CUDA" : refused ? "cuda:99 cannot be used" : "there is no cuda:99");
  if (!absent && !refused) GTEST_SKIP() << "there is a GPU";
  const Finished finished = run_program("train x -o y --device cuda");
  EXPECT_EQ(finished.code, 1);
  EXPECT_EQ(std::count(finished.output.begin(), finished.output.end(), '\n'), 1) << finished.output;
  EXPECT_NE(finished.output.find("--device cpu"), std::string::npos) << finished.output;
  EXPECT_EQ(finished.output.find("terminate called"), std::string::npos) << finished.output;
}

TEST(BadInput, Datasets) {
  const TemporaryFolder folder;
  const std::string rest = " -o " + folder / "run" + " --steps 1 --teacher random";
  expect_failure("train " + folder / "missing" + rest, 1, "missing");
  std::filesystem::create_directory(folder / "empty");
  expect_failure("train " + folder / "empty" + rest, 1, "empty");
  write_good_pictures(folder / "one", 1);
  expect_failure("train " + folder / "one" + rest, 1, "at least 4");
  EXPECT_FALSE(std::filesystem::exists(folder / "run"));
}

TEST(BadInput, Teachers) {
  const TemporaryFolder folder;
  write_good_pictures(folder / "good", 5);
  const std::string start =
      "train " + folder / "good" + " --size 64 --steps 1 -o " + folder / "run" + " --teacher ";
  expect_failure(start + folder / "absent.safetensors", 1, "absent.safetensors");
  std::ofstream(folder / "garbage.safetensors") << "this is no tensor file at all";
  expect_failure(start + folder / "garbage.safetensors", 1, "garbage.safetensors");
  write_one_tensor(folder / "other.safetensors");
  expect_failure(start + folder / "other.safetensors", 1, "conv1.weight");
}

TEST(BadInput, Outputs) {
  const TemporaryFolder folder;
  write_good_pictures(folder / "good", 5);
  std::ofstream(folder / "file") << "x";
  expect_failure(
      "train " + folder / "good" + " --size 64 --steps 1 -o " + folder / "file" + "/run --teacher random", 1,
      "file/run");
}

TEST(BadInput, RunsThatAreNone) {
  const TemporaryFolder folder;
  write_good_pictures(folder / "good", 1);
  expect_failure("predict " + folder / "none" + " " + folder / "good", 1, "none");
  expect_failure("info " + folder / "good", 1, "no finished model");
  write_one_tensor(folder / "other.safetensors");
  expect_failure("info " + folder / "other.safetensors", 1, "no ddpmts model");
  expect_failure("train " + folder / "good" + " -o " + folder / "none" + " --resume", 1,
                 "checkpoint.safetensors");
}

}  // namespace
}  // namespace ddpmts::test
