// The drawn data set on disk: MVTec AD's folders, no part twice, what is read back is what was drawn.
#include "data/drawn_set.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <set>
#include <stdexcept>
#include <string>

#include "data/image_codec.h"

namespace ddpmts {
namespace {

namespace fs = std::filesystem;

class DrawnSet : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "ddpmts_drawn_set_XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { fs::remove_all(folder_); }

  fs::path folder_;
};

TEST_F(DrawnSet, ListsEachPictureOnceAndNeverAPartTwice) {
  const DrawnSetCounts counts;
  for (const PartKind part : kPartKinds) {
    const auto pictures = drawn_set(part, counts);
    EXPECT_EQ(pictures.size(), 48 + 16 + 6 * defects_of(part).size());
    std::set<std::uint64_t> indices;
    std::set<fs::path> paths;
    for (const DrawnPicture& picture : pictures) {
      EXPECT_TRUE(indices.insert(picture.index).second);
      EXPECT_TRUE(paths.insert(picture.image).second);
      EXPECT_EQ(picture.mask.empty(), picture.defect == DefectKind::none);
    }
    EXPECT_TRUE(paths.contains("train/good/047.png"));
    EXPECT_TRUE(paths.contains("test/good/015.png"));
    const fs::path last(name_of(defects_of(part).back()));
    EXPECT_EQ(pictures.back().image, fs::path("test") / last / "005.png");
    EXPECT_EQ(pictures.back().mask, fs::path("ground_truth") / last / "005_mask.png");
  }
}

TEST_F(DrawnSet, RefusesCountsOutOfRange) {
  EXPECT_THROW(drawn_set(PartKind::flange, {-1, 1, 1}), std::invalid_argument);
  EXPECT_THROW(drawn_set(PartKind::flange, {1, 1'000'001, 1}), std::invalid_argument);
  EXPECT_THROW(drawn_set(PartKind::flange, {1, 1, -1}), std::invalid_argument);
}

TEST_F(DrawnSet, WrittenFilesHoldTheDrawnParts) {
  const DrawnSetCounts counts{2, 1, 1};
  constexpr int kSize = 64;
  write_drawn_set(folder_, 12, kSize, counts);
  std::size_t expected = 0;
  for (const PartKind part : kPartKinds) {
    const fs::path part_folder = folder_ / name_of(part);
    for (const DrawnPicture& picture : drawn_set(part, counts)) {
      SCOPED_TRACE((part_folder / picture.image).string());
      const DrawnPart drawn = draw_part(part, picture.defect, 12, picture.index, kSize);
      EXPECT_EQ(read_image(part_folder / picture.image), drawn.image);
      ++expected;
      if (picture.mask.empty()) continue;
      ++expected;
      const Mask mask = read_grey(part_folder / picture.mask);
      ASSERT_EQ(mask.value.size(), drawn.mask.value.size());
      for (std::size_t i = 0; i < mask.value.size(); ++i) ASSERT_EQ(mask.value[i], 255 * drawn.mask.value[i]);
    }
  }
  std::size_t files = 0;
  for (const auto& entry : fs::recursive_directory_iterator(folder_)) files += entry.is_regular_file();
  EXPECT_EQ(files, expected);
}

TEST_F(DrawnSet, ErrorsOfTheThreadsReachTheCaller) {
  EXPECT_THROW(write_drawn_set(folder_, 1, 8, {1, 0, 0}), std::invalid_argument);
  fs::create_directories(folder_ / "flange");
  fs::create_directory_symlink(folder_ / "nowhere", folder_ / "flange" / "train");
  EXPECT_ANY_THROW(write_drawn_set(folder_, 1, 64, {1, 0, 0}));
}

}  // namespace
}  // namespace ddpmts
