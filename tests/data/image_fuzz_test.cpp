// Damaged pictures must be refused with an ImageError or decode to a picture of the size they claim, never anything else.
#include <gtest/gtest.h>

#include <filesystem>

#include "data/image_codec.h"
#include "engine/files/crc32.h"
#include "generated/test_paths.h"
#include "tests/engine/files_scratch.h"

namespace ddpmts {
namespace {

namespace fs = std::filesystem;

struct Outcome {
  int refused = 0, decoded = 0;
};

void try_decode(const std::string& file, Outcome& outcome) {
  ImageLimits limits;
  limits.max_pixels = 1 << 20;  // keeps the test short where a flipped bit makes a large size
  try {
    const Image image = decode_image(std::as_bytes(std::span(file)), "damaged", limits);
    if (image.rgb.size() !=
        static_cast<std::size_t>(image.width) * static_cast<std::size_t>(image.height) * 3) {
      ADD_FAILURE() << image.width << " x " << image.height;
    }
    ++outcome.decoded;
  } catch (const ImageError&) {
    ++outcome.refused;
  }
}

/// Makes the checksums of a damaged PNG right again, so that the damage reaches the decoder.
void repair_checksums(std::string& png) {
  std::size_t at = 8;
  while (at + 12 <= png.size()) {
    std::size_t length = 0;
    for (std::size_t i = 0; i < 4; ++i) length = length << 8 | static_cast<unsigned char>(png[at + i]);
    if (length > png.size() - at - 12) return;
    const std::uint32_t crc = crc32(std::as_bytes(std::span(png)).subspan(at + 4, length + 4));
    for (std::size_t i = 0; i < 4; ++i) png[at + 8 + length + i] = static_cast<char>(crc >> (24 - 8 * i));
    at += length + 12;
  }
}

TEST(ImageFuzz, FlippedAndCutFiles) {
  testing::TestRandom random(11);
  for (const auto& entry : fs::directory_iterator(fs::path(DDPMTS_GOLDEN_DIR) / "images")) {
    const std::string whole = testing::get(entry.path());
    const bool png = entry.path().extension() == ".png";
    Outcome outcome;
    constexpr int kRounds = 600;
    for (int round = 0; round < kRounds; ++round) {
      std::string file = whole;
      for (std::size_t flips = 1 + random.below(6); flips > 0; --flips) {
        file[random.below(file.size())] = static_cast<char>(random.next());
      }
      if (round % 5 == 0) file.resize(random.below(file.size()));
      if (png && round % 3 != 0) repair_checksums(file);
      try_decode(file, outcome);
    }
    EXPECT_EQ(outcome.refused + outcome.decoded, kRounds);
    EXPECT_GT(outcome.refused, kRounds / 10) << entry.path();
  }
}

TEST(ImageFuzz, NoiseBehindEachSignature) {
  testing::TestRandom random(12);
  using namespace std::string_literals;
  for (const std::string& signature :
       {"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\x10\0\0\0\x10"s, "\xff\xd8\xff\xc0"s, "\xff\xd8\xff\xe1"s,
        "BM"s, "BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x08\0\0\0\x08\0\0\0\x01\0"s, ""s}) {
    Outcome outcome;
    for (int round = 0; round < 1000; ++round) {
      std::string file = signature;
      for (std::size_t size = random.below(400); size > 0; --size) file += static_cast<char>(random.next());
      try_decode(file, outcome);
    }
    EXPECT_GT(outcome.refused, 500);
  }
}

}  // namespace
}  // namespace ddpmts
