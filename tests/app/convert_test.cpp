// `ddpmts convert`: what it writes is the teacher that the file holds, and what it cannot use is said in one line.
#include <gtest/gtest.h>

#include <algorithm>

#include "data/image_png.h"
#include "engine/files/safetensors.h"
#include "models/random_teacher.h"
#include "tests/app/program.h"
#include "tests/engine/files_scratch.h"
#include "tests/engine/torch_bytes.h"
#include "tests/models/teacher_entries.h"

namespace ddpmts::test {
namespace {

using testing::py_text;

/// The entries as torch.save writes them, in either of its forms.
std::string torch_bytes(const Entries& entries, bool in_stream) {
  std::vector<std::pair<std::string, std::string>> items, storages;
  std::vector<std::string> keys;
  std::string data;
  for (const auto& [name, entry] : entries) {
    const auto extents = entry.shape.extents();
    const std::string key = std::to_string(keys.size());
    testing::PyTensor tensor = testing::py_tensor(key, {extents.begin(), extents.end()}, in_stream);
    items.emplace_back(py_text(name), tensor.text());
    const std::string bytes(reinterpret_cast<const char*>(entry.values.data()), 4 * entry.values.size());
    if (in_stream) {
      data += testing::stream_storage(tensor.count, bytes);
    } else {
      storages.emplace_back(key, bytes);
    }
    keys.push_back(key);
  }
  const std::string object = testing::kNoHooks + testing::py_entries(items);
  if (in_stream) return testing::stream_head(object, keys) + data;
  return testing::zip_bytes(testing::torch_pieces(testing::py_pickle(object), storages));
}

ResNetTeacher load(const std::string& path) {
  const SafetensorsFile file(path);
  return {NamedTensors(file, WeightOrder::oihw), DType::f32, Device{}};
}

void expect_same_teacher(const std::string& path, const ResNetTeacher& expected, double tolerance) {
  const ResNetTeacher teacher = load(path);
  EXPECT_EQ(teacher.depth(), expected.depth());
  const auto a = teacher.tensors(), b = expected.tensors();
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].first, b[i].first);
    if (tolerance == 0) {
      expect_same_values(a[i].second, b[i].second, a[i].first);
    } else {
      expect_close(a[i].second, doubles(b[i].second), tolerance, a[i].first);
    }
  }
}

void expect_success(const std::string& arguments, const std::vector<std::string>& says) {
  const Finished finished = run_program("convert " + arguments);
  ASSERT_EQ(finished.code, 0) << arguments << "\n" << finished.output;
  for (const std::string& part : says) {
    EXPECT_NE(finished.output.find(part), std::string::npos) << part << "\n" << finished.output;
  }
}

void expect_failure(const std::string& arguments, const std::vector<std::string>& says) {
  const Finished finished = run_program(arguments);
  EXPECT_EQ(finished.code, 1) << arguments << "\n" << finished.output;
  EXPECT_EQ(std::count(finished.output.begin(), finished.output.end(), '\n'), 1) << finished.output;
  for (const std::string& part : says) {
    EXPECT_NE(finished.output.find(part), std::string::npos) << part << "\n" << finished.output;
  }
}

TEST(Convert, EveryFormGivesTheTeacherThatTheFileHolds) {
  const TemporaryFolder folder;
  const Entries entries = unfolded_entries();
  write(folder / "net.safetensors", entries);
  testing::put(folder / "zip.pth", torch_bytes(entries, false));
  testing::put(folder / "stream.pth", torch_bytes(entries, true));
  const ResNetTeacher expected = load(folder / "net.safetensors");

  expect_success(
      folder / "net.safetensors" + " -o " + folder / "a",
      {"(safetensors)", "ResNet-18", "a ResNet-18 with its BatchNorms", "15 convolutions", "f32, 11.1 MB"});
  expect_success(folder / "zip.pth" + " -o " + folder / "b", {"(PyTorch, ZIP): 78 tensors"});
  expect_success(folder / "stream.pth" + " -o " + folder / "c", {"(PyTorch, stream): 78 tensors"});
  expect_same_teacher(folder / "a", expected, 0);
  EXPECT_EQ(read_text(folder / "a"), read_text(folder / "b"));
  EXPECT_EQ(read_text(folder / "a"), read_text(folder / "c"));

  const SafetensorsFile file(folder / "a");
  EXPECT_EQ(file.tensors().size(), 30u);  // no layer4, no fc
  EXPECT_EQ(file.tensors()[0].name, "conv1.weight");
  EXPECT_EQ(file.tensors()[0].shape, (std::vector<std::int64_t>{64, 3, 7, 7}));
  EXPECT_EQ(file.metadata().at("teacher"), "ResNet-18 up to layer3, BatchNorm folded");

  // Once more, from its own result.
  expect_success(folder / "a" + " -o " + folder / "again", {"folded already"});
  EXPECT_EQ(read_text(folder / "a"), read_text(folder / "again"));
}

TEST(Convert, HalfTheSizeRounded) {
  const TemporaryFolder folder;
  write_random_teacher(folder / "net.safetensors", 7, TeacherDepth::resnet34);
  expect_success(folder / "net.safetensors" + " -o " + folder / "low --precision bf16",
                 {"ResNet-34", "29 convolutions", "bf16, 16.3 MB"});
  const SafetensorsFile file(folder / "low");
  EXPECT_EQ(file.info("layer3.5.conv2.weight").type, StoredType::bf16);
  EXPECT_EQ(file.info("layer3.5.conv2.bias").type, StoredType::f32);
  expect_same_teacher(folder / "low", load(folder / "net.safetensors"), 0x1p-8);
}

TEST(Convert, AFileThatIsThereIsKept) {
  const TemporaryFolder folder;
  write_random_teacher(folder / "net.safetensors", 7);
  testing::put(folder / "there", std::string_view("precious"));
  const std::string convert = "convert " + folder / "net.safetensors" + " -o ";
  expect_failure(convert + folder / "there", {"there", "--overwrite"});
  EXPECT_EQ(read_text(folder / "there"), "precious");
  expect_failure(convert + folder / "net.safetensors" + " --overwrite", {"its own conversion"});
  EXPECT_EQ(run_program(convert + folder / "there" + " --overwrite").code, 0);
  expect_same_teacher(folder / "there", load(folder / "net.safetensors"), 0);
}

TEST(Convert, WhatCannotBeUsedIsSaid) {
  const TemporaryFolder folder;
  const std::string out = " -o " + folder / "out";
  const auto refused = [&](const std::string& name, const std::string& bytes, std::vector<std::string> says) {
    testing::put(folder / name, bytes);
    says.push_back(name);
    expect_failure("convert " + folder / name + out, says);
    EXPECT_FALSE(std::filesystem::exists(folder / "out"));
  };
  expect_failure("convert " + folder / "absent.pth" + out, {"absent.pth"});
  refused("text.pth", "these are no weights", {"safetensors"});

  Entries entries = folded_entries(unfolded_entries());
  for (const bool in_stream : {false, true}) {
    const std::string whole = torch_bytes(entries, in_stream);
    refused("cut.pth", whole.substr(0, whole.size() / 2), {"cut short"});
  }
  const std::string system =
      testing::py_call(testing::py_global("os", "system"), {py_text("touch " + folder / "out")});
  refused("evil.pth", testing::zip_bytes(testing::torch_pieces(testing::py_pickle(system), {})),
          {"'os.system'"});
  refused("tar.pth", std::string(257, '\0') + "ustar" + std::string(250, '\0'), {"resnet18-f37072fd.pth"});
  entries["layer1.0.conv1.weight"] = {{64, 64, 1, 1}, std::vector<float>(64 * 64)};
  refused("bottleneck.pth", torch_bytes(entries, false),
          {"'layer1.0.conv1.weight'", "[64, 64, 1, 1]", "[64, 64, 3, 3]"});
  entries.erase("layer1.0.conv1.weight");
  refused("lacking.pth", torch_bytes(entries, true), {"'layer1.0.conv1.weight'", "missing"});
}

/// The start of a command that trains for one step on pictures put into the folder.
std::string train_one_step(const TemporaryFolder& folder) {
  std::filesystem::create_directory(folder / "good");
  for (int i = 0; i < 5; ++i) {
    Image image(40, 30);
    std::ranges::fill(image.rgb, static_cast<std::uint8_t>(40 * i));
    write_png(folder / "good" + "/" + std::to_string(i) + ".png", image);
  }
  return "train " + folder / "good" + " --size 64 --batch 2 --steps 1 -o " + folder / "run" + " --teacher ";
}

TEST(Convert, ATeacherOfPyTorchIsSentHere) {
  const TemporaryFolder folder;
  testing::put(folder / "net.pth", std::string("PK\3\4 and so on"));
  expect_failure(train_one_step(folder) + folder / "net.pth",
                 {"net.pth' is a file of PyTorch",
                  "ddpmts convert '" + folder / "net.pth' -o '" + folder / "net.safetensors'"});
}

TEST(Convert, AStudentBesideAResNet34StartsAtRandomAndTheRunSaysSo) {
  const TemporaryFolder folder;
  write_random_teacher(folder / "net.safetensors", 7, TeacherDepth::resnet34);
  const Finished trained = run_program(train_one_step(folder) + folder / "net.safetensors");
  EXPECT_EQ(trained.code, 0) << trained.output;
  EXPECT_NE(trained.output.find("net.safetensors, ResNet-34;"), std::string::npos) << trained.output;
  EXPECT_NE(trained.output.find("the student starts at random"), std::string::npos) << trained.output;
  const Finished shown = run_program("info --verify " + folder / "run");
  EXPECT_EQ(shown.code, 0) << shown.output;
  EXPECT_NE(shown.output.find("teacher ResNet-34"), std::string::npos) << shown.output;
}

TEST(Convert, TheScriptRunsTheProgram) {
  if (!std::filesystem::exists(DDPMTS_SOURCE_DIR "/build/ddpmts"))
    GTEST_SKIP() << "the build is in another folder";
  const Finished finished = run_command(DDPMTS_SOURCE_DIR "/weights/convert", "--help");
  EXPECT_EQ(finished.code, 0) << finished.output;
  EXPECT_NE(finished.output.find("--precision"), std::string::npos) << finished.output;
}

}  // namespace
}  // namespace ddpmts::test
