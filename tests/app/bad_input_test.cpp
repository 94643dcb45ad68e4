// Wrong calls and hostile input: one clear line, the right exit code, nothing damaged.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>

#include "data/image_png.h"
#include "engine/files/safetensors.h"
#include "tests/app/program.h"

namespace ddpmts::test {
namespace {

// Exit code, and one line that says all of `says`.
void expect_failure(const std::string& arguments, int code, const std::vector<std::string>& says) {
  const Finished finished = run_program(arguments);
  EXPECT_EQ(finished.code, code) << arguments << "\n" << finished.output;
  EXPECT_EQ(std::ranges::count(finished.output, '\n'), 1) << arguments << "\n" << finished.output;
  EXPECT_TRUE(finished.output.starts_with("ddpmts: ")) << finished.output;
  for (const std::string& part : says) {
    EXPECT_NE(finished.output.find(part), std::string::npos) << arguments << "\n" << finished.output;
  }
}
void expect_failure(const std::string& arguments, int code, const char* says) {
  expect_failure(arguments, code, std::vector<std::string>{says});
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
  expect_failure("train x -o y --size 100", 2, "no multiple of 32");
  expect_failure("train x -o y --batch 1", 2, "--batch");
  expect_failure("train x -o y --source bogus", 2, {"bogus", "self, texture, folder, diffusion"});
  expect_failure("train x -o y --source self=much", 2, "much");
  expect_failure("train x -o y --masks perlin,bogus", 2,
                 {"--masks", "bogus", "perlin, blob, stroke, rectangle, smooth"});
  expect_failure("train x -o y --folder z", 2, {"--folder", "--source"});
  expect_failure("train x -o y --bank z", 2, {"--bank", "--source"});
  expect_failure("test x y --precision f64", 2, "--precision");
  expect_failure("frobnicate", 2, "frobnicate");
  EXPECT_EQ(run_program("--help").code, 0);
  EXPECT_EQ(run_program("train --help").code, 0);
  EXPECT_EQ(run_program("--version").code, 0);
}

// An option that takes a value shows what it is without, behind an equals sign or in its text.
TEST(BadInput, HelpShowsEveryDefault) {
  for (const char* command : {"train", "train-diffusion", "paint", "test", "predict", "draw"}) {
    std::istringstream help(run_program(std::string(command) + " --help").output);
    std::vector<std::string> options;  // each with the lines of its text
    for (std::string line; std::getline(help, line);) {
      if (line.starts_with("  -")) {
        options.push_back(line);
      } else if (!options.empty()) {
        options.back() += line;
      }
    }
    int with_value = 0;
    for (const std::string& option : options) {
      const bool takes_value =
          std::ranges::any_of(std::array{" TEXT", " INT", " UINT", " FLOAT"},
                              [&](const char* type) { return option.find(type) != std::string::npos; });
      if (!takes_value) continue;
      ++with_value;
      const bool shown = option.find('=') != std::string::npos ||
                         option.find("REQUIRED") != std::string::npos ||
                         option.find("default:") != std::string::npos;
      EXPECT_TRUE(shown && option.find("=-1") == std::string::npos) << command << ": " << option;
    }
    EXPECT_GE(with_value, 5) << command;
  }
}

TEST(BadInput, AGpuThatCannotBeUsedIsOneClearLine) {
  const Finished check = run_program("check");
  EXPECT_EQ(check.code, 0) << check.output;
  const bool absent = check.output.find("cuda       not in this build") != std::string::npos;
  const bool refused = check.output.find("cuda:0 cannot be used") != std::string::npos;
  expect_failure("train x -o y --device gpu", 2, "unknown device 'gpu'");
  expect_failure("train x -o y --device cuda:-1", 2, "unknown device 'cuda:-1'");
  expect_failure("train x -o y --device cuda:99", 1,
                 absent    ? "built without CUDA"
                 : refused ? "cuda:99 cannot be used"
                           : "there is no cuda:99");
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
  EXPECT_FALSE(std::filesystem::exists(folder / "run"));
}

// A header of eight bytes that say how long it is, and JSON; then the data.
void write_raw(const std::string& path, const std::string& json, std::uint64_t length,
               std::size_t data_bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(&length), sizeof length);
  file << json << std::string(data_bytes, '\0');
}

TEST(BadInput, HostileTensorFiles) {
  const TemporaryFolder folder;
  write_good_pictures(folder / "good", 5);
  const auto tensor = [](const std::string& shape, const std::string& offsets) {
    return R"({"conv1.weight":{"dtype":"F32","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}";
  };
  const std::string fits = tensor("[2,2]", "[0,16]");
  const struct {
    const char* name;
    std::string json;
    std::uint64_t length;
    const char* says;
  } cases[] = {
      {"offsets past the end", tensor("[2,2]", "[64,80]"), 0, "data byte"},
      {"offsets of another size", tensor("[2,2]", "[0,12]"), 0, "needs 16 bytes"},
      {"backward offsets", tensor("[2,2]", "[16,0]"), 0, "before it begins"},
      {"overflowing shape", tensor("[4294967296,4294967296,4294967296]", "[0,16]"), 0, "impossible shape"},
      {"header longer than the file", fits, 100'000, "100000 bytes"},
      {"header of 2^63 bytes", fits, std::uint64_t{1} << 63, "its header claims"},
      {"no JSON", "[1, 2", 0, "header"},
  };
  for (const auto& c : cases) {
    const std::string file = folder / (std::string(c.name) + ".safetensors");
    write_raw(file, c.json, c.length == 0 ? c.json.size() : c.length, 16);
    const std::vector<std::string> says = {c.name, c.says, "copy or download it again"};
    expect_failure("train " + folder / "good" + " --size 64 --steps 1 -o " + folder / "run" + " --teacher '" +
                       file + "'",
                   1, says);
    expect_failure("info '" + file + "'", 1, says);
  }
  EXPECT_FALSE(std::filesystem::exists(folder / "run"));
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
