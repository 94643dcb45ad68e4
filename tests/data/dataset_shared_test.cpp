// The real sets of the tests, where they are at hand.
#include <gtest/gtest.h>

#include <set>

#include "data/dataset_load.h"
#include "generated/test_paths.h"
#include "tests/engine/files_scratch.h"
#include "tests/shared_data.h"

namespace ddpmts {
namespace {

namespace fs = std::filesystem;

struct Expected {
  const char* folder;
  std::size_t train, test_good, test_bad, masks;
};
constexpr Expected kSets[] = {{"mvtec/screw", 320, 41, 119, 119},
                              {"mvtec/bottle", 209, 20, 63, 0},
                              {"magnetic_tile", 762, 190, 392, 392}};

class DatasetShared : public ::testing::TestWithParam<Expected> {};

TEST_P(DatasetShared, Counts) {
  const fs::path root = fs::path(DDPMTS_SHARED_DIR) / "data" / GetParam().folder;
  DDPMTS_NEED_SHARED(root);
  const Dataset dataset = scan_dataset(root);
  EXPECT_EQ(dataset.layout, Layout::mvtec);
  EXPECT_EQ(dataset.train_good.size(), GetParam().train);
  std::size_t good = 0, bad = 0, masks = 0;
  for (const Sample& sample : dataset.test) {
    ASSERT_TRUE(sample.defective.has_value());
    ++(*sample.defective ? bad : good);
    masks += sample.mask.has_value();
  }
  EXPECT_EQ(good, GetParam().test_good);
  EXPECT_EQ(bad, GetParam().test_bad);
  EXPECT_EQ(masks, GetParam().masks);
  for (const Skipped& skipped : dataset.skipped) ADD_FAILURE() << skipped.path << ": " << skipped.reason;
}

TEST_P(DatasetShared, EveryTestPictureLoads) {
  const fs::path root = fs::path(DDPMTS_SHARED_DIR) / "data" / GetParam().folder;
  DDPMTS_NEED_SHARED(root);
  const Dataset dataset = scan_dataset(root);
  const std::vector<LoadedPicture> rows = load_pictures(dataset.test, 256);
  std::set<std::string> unmarked;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    EXPECT_TRUE(rows[i].loaded()) << rows[i].error;
    if (rows[i].mask_state == MaskState::unmarked) unmarked.insert(dataset.test[i].path.stem().string());
    EXPECT_NE(static_cast<int>(rows[i].mask_state), static_cast<int>(MaskState::lost))
        << dataset.test[i].path;
  }
  const std::set<std::string> tiles = {"exp3_num_45042", "exp4_num_124690", "exp4_num_352527",
                                       "exp4_num_45057"};
  EXPECT_EQ(unmarked, std::string(GetParam().folder) == "magnetic_tile" ? tiles : std::set<std::string>{});
}

INSTANTIATE_TEST_SUITE_P(Sets, DatasetShared, ::testing::ValuesIn(kSets), [](const auto& set) {
  std::string name = set.param.folder;
  for (char& c : name) {
    if (c == '/') c = '_';
  }
  return name;
});

}  // namespace
}  // namespace ddpmts
