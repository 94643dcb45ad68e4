#include "data/image_png.h"

#include <gtest/gtest.h>

#include <stdexcept>

#include "data/image_codec.h"
#include "tests/engine/files_scratch.h"

namespace ddpmts {
namespace {

template <class T>
void fill(std::vector<T>& values, int kind, testing::TestRandom& random) {
  std::uint32_t i = 0;
  for (T& value : values) {
    ++i;
    value = static_cast<T>(kind == 0   ? random.next()
                           : kind == 1 ? i * 3
                                       : i / 50 % 2 * 255);  // noise, ramp, stripes
  }
}

TEST(ImagePng, RoundTripOfColourAndGrey) {
  testing::TestRandom random(3);
  for (const auto& [width, height] : {std::pair{1, 1}, {1, 9}, {9, 1}, {17, 5}, {256, 256}, {301, 67}}) {
    for (int kind = 0; kind < 3; ++kind) {
      Image image(width, height);
      fill(image.rgb, kind, random);
      EXPECT_EQ(decode_image(encode_png(image), "a.png"), image) << width << " x " << height;
      Mask mask(width, height);
      fill(mask.value, kind, random);
      EXPECT_EQ(decode_grey(encode_png(mask), "a.png"), mask) << width << " x " << height;
    }
  }
}

TEST(ImagePng, SixteenBitsComeBackAsEightRounded) {
  Grey16 map(257, 255);
  for (std::size_t i = 0; i < map.value.size(); ++i) map.value[i] = static_cast<std::uint16_t>(i);
  const std::vector<std::byte> file = encode_png(map);
  const auto header = parse_image_header(file, file.size(), "a.png");
  ASSERT_TRUE(header);
  EXPECT_EQ(header->bits, 16);
  const Mask back = decode_grey(file, "a.png");
  for (std::size_t i = 0; i < map.value.size(); ++i) {
    ASSERT_EQ(back.value[i], static_cast<int>(static_cast<double>(map.value[i]) / 257 + 0.5)) << map.value[i];
  }
}

TEST(ImagePng, SmoothPicturesShrink) {
  Image image(256, 256);
  for (int y = 0; y < 256; ++y) {
    for (int x = 0; x < 256; ++x) {
      for (int c = 0; c < 3; ++c) image.pixel(x, y)[c] = static_cast<std::uint8_t>((x + y * 2 + c * 40) / 3);
    }
  }
  EXPECT_LT(encode_png(image).size(), image.rgb.size() / 10);
}

TEST(ImagePng, WritesFiles) {
  const testing::ScratchFolder scratch;
  Image image(3, 2);
  image.pixel(2, 1)[0] = 200;
  write_png(scratch / "a.png", image);
  EXPECT_EQ(read_image(scratch / "a.png"), image);
  write_png(scratch / "b.png", Mask(4, 4));
  write_png(scratch / "c.png", Grey16(4, 4));
  EXPECT_EQ(read_image_header(scratch / "c.png").bits, 16);
  EXPECT_THROW(write_png(scratch / "none/a.png", image), FileError);
}

TEST(ImagePng, RefusesPicturesThatContradictThemselves) {
  EXPECT_THROW(encode_png(Image()), std::invalid_argument);
  Image image(3, 2);
  image.rgb.pop_back();
  EXPECT_THROW(encode_png(image), std::invalid_argument);
  Mask mask(3, 2);
  mask.width = -3;
  EXPECT_THROW(encode_png(mask), std::invalid_argument);
  EXPECT_THROW(Image(0, 4), std::invalid_argument);
  EXPECT_THROW(FloatMap(4, -1), std::invalid_argument);
}

}  // namespace
}  // namespace ddpmts
