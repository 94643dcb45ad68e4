// The autotuner's file: found again, kept apart by machine, and ignored by name when it is damaged.
#include "engine/cuda/autotune_store.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "tests/engine/files_scratch.h"

namespace ddpmts::cuda {
namespace {

class AutotuneStoreTest : public ::testing::Test {
 protected:
  AutotuneStoreTest() : file_(scratch_.path() / "deep" / "cudnn_plans.json") {}
  testing::ScratchFolder scratch_;
  std::filesystem::path file_;
};

TEST_F(AutotuneStoreTest, FindsWhatItRememberedAlsoInAnotherProcess) {
  AutotuneStore store(file_);
  EXPECT_FALSE(store.find("H200", "conv a"));
  store.remember("H200", "conv a", "eng1_k2=3");
  store.remember("H200", "conv b", "eng0");
  store.remember("H200", "conv a", "eng7");
  AutotuneStore later(file_);
  EXPECT_EQ(later.find("H200", "conv a"), "eng7");
  EXPECT_EQ(later.find("H200", "conv b"), "eng0");
  EXPECT_FALSE(later.find("H100", "conv a"));
  EXPECT_FALSE(later.find("H200", "conv c"));
}

TEST_F(AutotuneStoreTest, DamagedFilesAreNamedAndReplaced) {
  for (const char* text : {"", "not json", "[]", "{\"format\": 2, \"plans\": {}}", "{\"format\": 1}",
                           "{\"format\": 1, \"plans\": {\"H200\": {\"conv a\": 3}}}",
                           "{\"format\": 1, \"plans\": [1]}", "{\"format\": \"1\", \"plans\": {}}"}) {
    SCOPED_TRACE(text);
    testing::put(file_, std::string_view(text));
    AutotuneStore store(file_);
    ::testing::internal::CaptureStderr();
    EXPECT_FALSE(store.find("H200", "conv a"));
    EXPECT_FALSE(store.find("H200", "conv b"));
    const std::string said = ::testing::internal::GetCapturedStderr();
    EXPECT_NE(said.find(file_.string()), std::string::npos) << said;
    EXPECT_EQ(said.find(file_.string()), said.rfind(file_.string())) << "one warning, not two: " << said;
    store.remember("H200", "conv a", "eng1");
    EXPECT_EQ(AutotuneStore(file_).find("H200", "conv a"), "eng1");
  }
}

TEST_F(AutotuneStoreTest, AFileThatCannotBeWrittenIsSaidOnce) {
  std::filesystem::create_directories(file_);  // a folder stands where the file should
  AutotuneStore store(file_);
  ::testing::internal::CaptureStderr();
  store.remember("H200", "conv a", "eng1");
  const std::string first = ::testing::internal::GetCapturedStderr();
  EXPECT_NE(first.find(file_.string()), std::string::npos) << first;
  ::testing::internal::CaptureStderr();
  store.remember("H200", "conv b", "eng2");
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
  EXPECT_EQ(store.find("H200", "conv b"), "eng2") << "this run still knows";
}

TEST_F(AutotuneStoreTest, LeavesNoHalfWrittenFileBehind) {
  AutotuneStore store(file_);
  store.remember("H200", "conv a", "eng1");
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(file_.parent_path()))
    files += entry.is_regular_file();
  EXPECT_EQ(files, 1);
  EXPECT_NE(testing::get(file_).find("\"format\": 1"), std::string::npos);
}

TEST(AutotuneFile, FollowsTheUsersCacheFolder) {
  const char* before = std::getenv("XDG_CACHE_HOME");
  const std::string kept = before != nullptr ? before : "";
  setenv("XDG_CACHE_HOME", "/somewhere/cache", 1);
  EXPECT_EQ(autotune_file(), "/somewhere/cache/ddpmts/cudnn_plans.json");
  setenv("XDG_CACHE_HOME", "relative", 1);  // the specification says to ignore that
  EXPECT_TRUE(autotune_file().string().ends_with(".cache/ddpmts/cudnn_plans.json"));
  before != nullptr ? setenv("XDG_CACHE_HOME", kept.c_str(), 1) : unsetenv("XDG_CACHE_HOME");
}

TEST(AutotuneFile, KeysByGpuAndLibrary) {
  EXPECT_EQ(machine_key("NVIDIA H200", 91900), "NVIDIA H200 | cuDNN 9.19.0");
}

}  // namespace
}  // namespace ddpmts::cuda
