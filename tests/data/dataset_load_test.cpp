#include "data/dataset_load.h"

#include <gtest/gtest.h>

#include <stdexcept>

#include "data/image_codec.h"
#include "data/resize.h"
#include "tests/engine/files_scratch.h"

namespace ddpmts {
namespace {

namespace fs = std::filesystem;
using testing::ScratchFolder;

Image noise(int width, int height, std::uint32_t seed) {
  testing::TestRandom random(seed);
  Image image(width, height);
  for (std::uint8_t& value : image.rgb) value = static_cast<std::uint8_t>(random.next());
  return image;
}

/// A mask with a square of `value` from (2, 2) to (2 + side, 2 + side).
Mask square(int width, int height, int side, std::uint8_t value) {
  Mask mask(width, height);
  for (int y = 2; y < 2 + side; ++y) {
    for (int x = 2; x < 2 + side; ++x) mask.at(x, y) = value;
  }
  return mask;
}

TEST(DatasetLoad, MasksAndTheirStates) {
  const ScratchFolder scratch;
  const auto load = [&](const Mask& mask, int size) {
    write_png(scratch / "mask.png", mask);
    return load_mask(scratch / "mask.png", mask.height, mask.width, size);
  };
  const LoadedMask marked = load(square(16, 16, 4, 255), 16);
  EXPECT_EQ(marked.state, MaskState::marked);
  EXPECT_EQ(marked.mask, square(16, 16, 4, 1));
  const LoadedMask labels = load(square(16, 16, 4, 1), 16);  // 0 and 1 instead of 0 and 255
  EXPECT_EQ(labels.mask, marked.mask);
  EXPECT_EQ(load(Mask(16, 16), 16).state, MaskState::unmarked);
  EXPECT_EQ(load(square(64, 64, 1, 255), 8).state, MaskState::lost);
  EXPECT_EQ(load(square(64, 64, 30, 255), 8).state, MaskState::marked);
}

TEST(DatasetLoad, MaskOfAnotherSizeNamesBoth) {
  const ScratchFolder scratch;
  write_png(scratch / "mask.png", Mask(16, 12));
  try {
    load_mask(scratch / "mask.png", 16, 12, 8);  // height and width exchanged
    FAIL();
  } catch (const ImageError& error) {
    const std::string message = error.what();
    EXPECT_NE(message.find("16 x 12"), std::string::npos) << message;
    EXPECT_NE(message.find("12 x 16"), std::string::npos) << message;
    EXPECT_NE(message.find("mask.png"), std::string::npos) << message;
  }
}

TEST(DatasetLoad, OneRowASampleWhateverHappens) {
  const ScratchFolder scratch;
  write_png(scratch / "a.png", noise(20, 10, 1));
  write_png(scratch / "b.png", noise(20, 10, 2));
  write_png(scratch / "mask.png", square(20, 10, 5, 255));
  write_png(scratch / "unmarked.png", Mask(20, 10));
  write_png(scratch / "small.png", Mask(5, 5));
  testing::put(scratch / "broken.png", "x");
  const auto sample = [&](const char* name, std::optional<bool> defective, const char* mask) {
    Sample out{scratch / name, "", defective, std::nullopt, 20, 10};
    if (mask != nullptr) out.mask = scratch / mask;
    return out;
  };
  const std::vector<Sample> samples = {
      sample("a.png", false, nullptr),       sample("b.png", true, "mask.png"),
      sample("b.png", true, nullptr),        sample("broken.png", false, nullptr),
      sample("a.png", true, "unmarked.png"), sample("a.png", true, "small.png"),
      sample("a.png", true, "broken.png"),   sample("a.png", std::nullopt, nullptr),
      sample("gone.png", true, "mask.png")};
  const std::vector<LoadedPicture> rows = load_pictures(samples, 16);
  ASSERT_EQ(rows.size(), samples.size());
  const bool loaded[] = {true, true, true, false, true, false, false, true, false};
  const MaskState states[] = {MaskState::all_good, MaskState::marked,   MaskState::unknown,
                              MaskState::unknown,  MaskState::unmarked, MaskState::unknown,
                              MaskState::unknown,  MaskState::unknown,  MaskState::unknown};
  for (std::size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(rows[i].loaded(), loaded[i]) << i << ": " << rows[i].error;
    EXPECT_EQ(rows[i].image.empty(), !loaded[i]) << i;
    EXPECT_EQ(static_cast<int>(rows[i].mask_state), static_cast<int>(states[i])) << i;
    EXPECT_EQ(rows[i].mask.empty(), states[i] == MaskState::unknown) << i;
    EXPECT_EQ(rows[i].counts_for_pixel_metrics(), i < 2) << i;
  }
  EXPECT_EQ(rows[0].image, resize_antialiased(read_image(scratch / "a.png"), 16, 16));
  EXPECT_EQ(rows[0].mask, Mask(16, 16));
  EXPECT_NE(rows[3].error.find("broken.png"), std::string::npos);
  EXPECT_NE(rows[5].error.find("small.png"), std::string::npos);
  EXPECT_NE(rows[6].error.find("broken.png"), std::string::npos);
  EXPECT_NE(rows[8].error.find("gone.png"), std::string::npos);
  EXPECT_THROW(load_pictures(samples, 0), std::invalid_argument);
  EXPECT_TRUE(load_pictures({}, 16).empty());
}

}  // namespace
}  // namespace ddpmts
