#include <gtest/gtest.h>

#include <algorithm>
#include <array>

#include "data/dataset.h"
#include "data/dataset_load.h"
#include "data/image_png.h"
#include "tests/engine/files_scratch.h"

namespace ddpmts {
namespace {

namespace fs = std::filesystem;
using testing::put;
using testing::ScratchFolder;

void put_picture(const fs::path& path, int width = 4, int height = 3) {
  put(path, encode_png(Image(width, height)));
}

std::vector<std::string> names(const std::vector<Sample>& samples) {
  std::vector<std::string> out;
  for (const Sample& sample : samples) out.push_back(sample.path.filename().string());
  return out;
}

/// Reason why this file was skipped; empty when it was not.
std::string reason(const std::vector<Skipped>& skipped, const fs::path& path) {
  for (const Skipped& entry : skipped) {
    if (entry.path == path) return entry.reason;
  }
  return {};
}

std::string error_of(const fs::path& root) {
  try {
    scan_dataset(root);
  } catch (const DatasetError& error) {
    const std::string message = error.what();
    EXPECT_NE(message.find(root.string()), std::string::npos) << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    return message;
  }
  ADD_FAILURE() << "no DatasetError for " << root;
  return {};
}

TEST(DatasetScan, NaturalOrder) {
  const std::vector<std::string> sorted = {"",
                                           "1.png",
                                           "01.png",
                                           "2.png",
                                           "10.png",
                                           "10a.png",
                                           "A.png",
                                           "a.png",
                                           "a1b2.png",
                                           "a1b10.png",
                                           "a2.png",
                                           "a002b1",
                                           "a2b2",
                                           "b",
                                           "b0",
                                           "b18446744073709551616",
                                           "b18446744073709551617",
                                           "\xc3\xa4"};
  for (std::size_t i = 0; i < sorted.size(); ++i) {
    for (std::size_t k = 0; k < sorted.size(); ++k) {
      const bool expected = sorted[i] == "01.png" && sorted[k] == "1.png"   ? true
                            : sorted[i] == "1.png" && sorted[k] == "01.png" ? false
                                                                            : i < k;
      EXPECT_EQ(natural_less(sorted[i], sorted[k]), expected) << sorted[i] << " < " << sorted[k];
    }
  }
}

TEST(DatasetScan, Mvtec) {
  const ScratchFolder root;
  for (const char* name : {"10.png", "9.PNG", "x.JPG"}) put_picture(root.path() / "train/good" / name);
  put_picture(root / "test/good/000.png");
  put_picture(root / "test/scratch/000.png", 6, 5);
  put_picture(root / "test/scratch/001.png");
  put_picture(root / "test/scratch/002.png");
  put_picture(root / "test/hole/000.png");
  put_picture(root / "ground_truth/scratch/000_mask.png", 6, 5);
  put_picture(root / "ground_truth/scratch/001.png");
  put_picture(root / "ground_truth/scratch/009_mask.png");
  put_picture(root / "ground_truth/dent/000_mask.png");
  put(root / "license.txt", "words");
  put_picture(root / "overview.png");
  put_picture(root / "train/bad/000.png");

  const Dataset dataset = scan_dataset(root.path());
  EXPECT_EQ(dataset.layout, Layout::mvtec);
  EXPECT_EQ(names(dataset.train_good), (std::vector<std::string>{"9.PNG", "10.png", "x.JPG"}));
  ASSERT_EQ(dataset.test.size(), 5u);
  for (const Sample& sample : dataset.train_good) {
    EXPECT_EQ(sample.type, "good");
    EXPECT_EQ(sample.defective, false);
    EXPECT_FALSE(sample.mask);
  }
  EXPECT_EQ(dataset.test[0].type, "good");
  EXPECT_EQ(dataset.test[0].defective, false);
  EXPECT_EQ(dataset.test[1].type, "hole");
  EXPECT_EQ(dataset.test[1].defective, true);
  EXPECT_FALSE(dataset.test[1].mask);
  EXPECT_EQ(dataset.test[2].type, "scratch");
  EXPECT_EQ(dataset.test[2].mask, root / "ground_truth/scratch/000_mask.png");
  EXPECT_EQ(dataset.test[2].width, 6);
  EXPECT_EQ(dataset.test[2].height, 5);
  EXPECT_EQ(dataset.test[3].mask, root / "ground_truth/scratch/001.png");
  EXPECT_FALSE(dataset.test[4].mask);
  EXPECT_NE(
      reason(dataset.skipped, root / "ground_truth/scratch/009_mask.png").find("without a defective picture"),
      std::string::npos);
  EXPECT_NE(reason(dataset.skipped, root / "ground_truth/dent").find("without a folder"), std::string::npos);
  EXPECT_NE(reason(dataset.skipped, root / "overview.png"), "");
  EXPECT_NE(reason(dataset.skipped, root / "train/bad"), "");
  EXPECT_EQ(reason(dataset.skipped, root / "license.txt"), "");
}

TEST(DatasetScan, MvtecWithoutTest) {
  const ScratchFolder root;
  put_picture(root / "Train/Good/1.png");
  const Dataset dataset = scan_dataset(root.path());
  EXPECT_EQ(dataset.layout, Layout::mvtec);
  EXPECT_EQ(dataset.train_good.size(), 1u);
  EXPECT_TRUE(dataset.test.empty());
}

// A picture that cannot be judged must not vanish from the metrics without a word.
TEST(DatasetScan, UnreadableTestPicturesKeepTheirPlace) {
  const ScratchFolder root;
  put_picture(root / "train/good/1.png");
  put_picture(root / "test/dent/1.png");
  put(root / "test/dent/2.png", "words");
  put(root / "ground_truth/dent/1_mask.png", "words");
  put_picture(root / "ground_truth/dent/2_mask.png");
  const Dataset dataset = scan_dataset(root.path());
  EXPECT_EQ(names(dataset.test), (std::vector<std::string>{"1.png", "2.png"}));
  EXPECT_EQ(dataset.test[0].mask, root / "ground_truth/dent/1_mask.png");
  EXPECT_EQ(dataset.test[1].defective, true);
  EXPECT_TRUE(dataset.skipped.empty());
  for (const LoadedPicture& row : load_pictures(dataset.test, 16)) {
    EXPECT_NE(row.error.find("neither PNG"), std::string::npos) << row.error;
  }
}

TEST(DatasetScan, GoodPicturesOnly) {
  const ScratchFolder root;
  put_picture(root / "part2.png");
  put_picture(root / "part10.BMP");
  put_picture(root / ".hidden.png");
  put_picture(root / "more/part3.png");
  put(root / "notes.txt", "words");
  put(root / "broken.jpg", "words");
  put(root / "empty.png", "");
  fs::create_symlink("gone.png", root / "dangling.png");
  fs::create_symlink("part2.png", root / "part20.png");
  const Dataset dataset = scan_dataset(root.path());
  EXPECT_EQ(dataset.layout, Layout::good_only);
  EXPECT_EQ(names(dataset.train_good), (std::vector<std::string>{"part2.png", "part10.BMP", "part20.png"}));
  EXPECT_TRUE(dataset.test.empty());
  EXPECT_EQ(dataset.skipped.size(), 6u);
  EXPECT_EQ(reason(dataset.skipped, root / ".hidden.png"), "hidden");
  EXPECT_NE(reason(dataset.skipped, root / "more").find("not mixed in"), std::string::npos);
  EXPECT_NE(reason(dataset.skipped, root / "notes.txt").find("does not end in"), std::string::npos);
  EXPECT_NE(reason(dataset.skipped, root / "broken.jpg").find("neither PNG"), std::string::npos);
  EXPECT_NE(reason(dataset.skipped, root / "empty.png").find("is empty"), std::string::npos);
  EXPECT_NE(reason(dataset.skipped, root / "dangling.png").find("no such file"), std::string::npos);
}

TEST(DatasetScan, GoodAndBadSplitIsStable) {
  const ScratchFolder root;
  for (int i = 0; i < 23; ++i) put_picture(root.path() / "good" / fmt::format("{:03}.png", i));
  put_picture(root / "bad/a.png");
  put_picture(root / "bad/b.png");
  put_picture(root / "bad/c.png");
  put_picture(root / "masks/a.png");
  put_picture(root / "masks/b_mask.bmp");
  put_picture(root / "masks/b.png");
  put_picture(root / "other/b.png");
  const Dataset dataset = scan_dataset(root.path());
  EXPECT_EQ(dataset.layout, Layout::good_and_bad);
  EXPECT_EQ(dataset.train_good.size(), 18u);
  ASSERT_EQ(dataset.test.size(), 8u);
  EXPECT_EQ(dataset.test[0].mask, root / "masks/a.png");
  EXPECT_EQ(dataset.test[1].mask, root / "masks/b_mask.bmp");
  EXPECT_FALSE(dataset.test[2].mask);
  EXPECT_EQ(dataset.test[2].defective, true);
  EXPECT_NE(reason(dataset.skipped, root / "masks/b.png"), "");
  EXPECT_NE(reason(dataset.skipped, root / "other"), "");
  const std::vector<Sample> held(dataset.test.begin() + 3, dataset.test.end());
  // Fixed once: a change of the split would change everybody's results.
  EXPECT_EQ(names(held), (std::vector<std::string>{"005.png", "012.png", "017.png", "019.png", "021.png"}));
  for (const Sample& sample : held) EXPECT_EQ(sample.defective, false);
  EXPECT_TRUE(std::ranges::is_sorted(names(dataset.train_good)));
}

TEST(DatasetScan, GoodAndBadOfFewPictures) {
  for (const auto& [good, train, test] : {std::array{1, 1, 1}, {2, 1, 2}, {3, 2, 2}, {8, 6, 3}}) {
    const ScratchFolder root;
    for (int i = 0; i < good; ++i) put_picture(root.path() / "good" / fmt::format("{}.png", i));
    put_picture(root / "bad/x.png");
    const Dataset dataset = scan_dataset(root.path());
    EXPECT_EQ(dataset.train_good.size(), static_cast<std::size_t>(train)) << good;
    EXPECT_EQ(dataset.test.size(), static_cast<std::size_t>(test)) << good;
  }
  const ScratchFolder root;
  for (int i = 0; i < 10; ++i) put_picture(root.path() / "GOOD" / fmt::format("{}.png", i));
  EXPECT_EQ(scan_dataset(root.path()).train_good.size(), 10u);  // nothing bad, nothing to test
}

TEST(DatasetScan, SaysWhatIsExpected) {
  const ScratchFolder root;
  EXPECT_NE(error_of(root.path()).find("it is empty; expected is one of"), std::string::npos);
  put(root / "a.txt", "x");
  put(root / "b.png", "x");
  put_picture(root / "c/x.png");
  put_picture(root / "d/x.png");
  const std::string message = error_of(root.path());
  EXPECT_NE(message.find("it holds 'a.txt', 'b.png', 'c' and 1 more"), std::string::npos) << message;
  EXPECT_NE(message.find("neither PNG"), std::string::npos) << message;
  EXPECT_NE(error_of(root / "nowhere").find("no such file"), std::string::npos);
  EXPECT_NE(error_of(root / "a.txt").find("not a directory"), std::string::npos);
  put_picture(root / "good/1.png");
  put_picture(root / "Good/1.png");
  EXPECT_NE(error_of(root.path()).find("mean the same"), std::string::npos);
}

TEST(DatasetScan, PicturesToInspect) {
  const ScratchFolder root;
  EXPECT_TRUE(scan_pictures(root.path()).pictures.empty());
  put_picture(root / "1.png");
  put(root / "2.png", "x");
  put(root / "notes.txt", "x");
  const PictureList list = scan_pictures(root.path());
  ASSERT_EQ(list.pictures.size(), 2u);
  EXPECT_FALSE(list.pictures[0].defective.has_value());
  EXPECT_GT(list.pictures[0].width, 0);
  EXPECT_EQ(list.pictures[1].path, root / "2.png") << "it keeps its place; loading it says what is wrong";
  EXPECT_EQ(list.pictures[1].width, 0);
  EXPECT_EQ(list.skipped.size(), 1u);
  EXPECT_THROW(scan_pictures(root / "none"), DatasetError);
}

}  // namespace
}  // namespace ddpmts
