#include "data/image_codec.h"

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <nlohmann/json.hpp>

#include "engine/files/crc32.h"
#include "engine/files/input_file.h"
#include "generated/test_paths.h"
#include "tests/engine/files_scratch.h"

namespace ddpmts {
namespace {

namespace fs = std::filesystem;
using testing::get;
using testing::put;
using testing::ScratchFolder;

const fs::path kImages = fs::path(DDPMTS_GOLDEN_DIR) / "images";

std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

/// Message of the ImageError that `f` must throw: one line naming the file, with a remedy.
std::string error_of(const std::function<void()>& f, const fs::path& path) {
  try {
    f();
  } catch (const ImageError& error) {
    const std::string message = error.what();
    EXPECT_NE(message.find(path.string()), std::string::npos) << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    return message;
  } catch (const std::exception& error) {
    ADD_FAILURE() << "another error: " << error.what();
    return {};
  }
  ADD_FAILURE() << "no ImageError for " << path;
  return {};
}
std::string error_of(const std::string& content) {
  return error_of([&] { decode_image(bytes_of(content), "some.png"); }, "some.png");
}

std::string be32(std::uint32_t value) {
  std::string out;
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(value >> shift);
  return out;
}
std::string le(std::uint32_t value, int bytes) {
  std::string out;
  for (int i = 0; i < bytes; ++i) out += static_cast<char>(i < 4 ? value >> (8 * i) : 0u);
  return out;
}
std::string png_chunk(const std::string& name, const std::string& data) {
  return be32(static_cast<std::uint32_t>(data.size())) + name + data + be32(crc32(bytes_of(name + data)));
}
/// A PNG that claims these sizes; its picture data is nearly nothing.
std::string lying_png(std::uint32_t width, std::uint32_t height) {
  using namespace std::string_literals;
  return "\x89PNG\r\n\x1a\n"s + png_chunk("IHDR", be32(width) + be32(height) + "\x08\x02\0\0\0"s) +
         png_chunk("IDAT", "\x78\x9c\x03\0\0\0\0\x01"s) + png_chunk("IEND", "");
}
std::string lying_bmp(std::uint32_t width, std::uint32_t height, std::uint32_t bits,
                      std::uint32_t data_begin = 54) {
  return "BM" + le(54, 4) + le(0, 4) + le(data_begin, 4) + le(40, 4) + le(width, 4) + le(height, 4) +
         le(1, 2) + le(bits, 2) + le(0, 24);
}

TEST(ImageCodec, DecodesAsPillowDoes) {
  const auto expected = nlohmann::json::parse(get(fs::path(DDPMTS_GOLDEN_DIR) / "images.json"));
  ASSERT_GE(expected.size(), 28u);
  for (const auto& [name, entry] : expected.items()) {
    const Image image = read_image(kImages / name);
    ASSERT_EQ(image.width, entry["width"].get<int>()) << name;
    ASSERT_EQ(image.height, entry["height"].get<int>()) << name;
    const auto values = entry["rgb"].get<std::vector<int>>();
    ASSERT_EQ(image.rgb.size(), values.size()) << name;
    const bool lossless = !name.ends_with(".jpg");
    // JPEG decoders differ in rounding, and more where they spread colours of half resolution.
    const int tolerance = lossless ? 0 : name == "subsampled.jpg" ? 8 : 3;
    int worst = 0;
    for (std::size_t i = 0; i < values.size(); ++i)
      worst = std::max(worst, std::abs(image.rgb[i] - values[i]));
    EXPECT_LE(worst, tolerance) << name;
  }
}

TEST(ImageCodec, GreyIsLumaAndTransparentIsBackground) {
  const Image colour = read_image(kImages / "rgb.png");
  const Mask grey = read_grey(kImages / "rgb.png");
  for (int y = 0; y < colour.height; ++y) {
    for (int x = 0; x < colour.width; ++x) {
      const std::uint8_t* p = colour.pixel(x, y);
      EXPECT_NEAR(grey.at(x, y), 0.299 * p[0] + 0.587 * p[1] + 0.114 * p[2], 0.51);
    }
  }
  // Transparent there where alpha is 0; the file's alpha at (0, 0) is.
  EXPECT_EQ(read_grey(kImages / "rgba.png").at(0, 0), 0);
  const Image over_white = read_image(kImages / "rgba.png");
  EXPECT_EQ(over_white.pixel(0, 0)[0], 255);
}

TEST(ImageCodec, HeaderSaysWhatDecodingGives) {
  for (const auto& entry : fs::directory_iterator(kImages)) {
    const ImageHeader header = read_image_header(entry.path());
    const Image image = read_image(entry.path());
    EXPECT_EQ(header.width, image.width) << entry.path();
    EXPECT_EQ(header.height, image.height) << entry.path();
    const std::string name = entry.path().filename().string();
    const ImageFormat format = name.ends_with(".png")   ? ImageFormat::png
                               : name.ends_with(".jpg") ? ImageFormat::jpeg
                                                        : ImageFormat::bmp;
    EXPECT_EQ(header.format, format) << entry.path();
    if (name.starts_with("orientation")) {
      EXPECT_EQ(header.orientation, name[11] - '0');
    }
  }
}

TEST(ImageCodec, ContentDecidesNotTheName) {
  const ScratchFolder scratch;
  fs::copy_file(kImages / "rgb.png", scratch / "png.jpg");
  fs::copy_file(kImages / "rgb.jpg", scratch / "jpg.bmp");
  EXPECT_EQ(read_image(scratch / "png.jpg"), read_image(kImages / "rgb.png"));
  EXPECT_EQ(read_image(scratch / "jpg.bmp"), read_image(kImages / "rgb.jpg"));
  put(scratch / "text.png", "These are my notes.\n");
  EXPECT_NE(error_of([&] { read_image(scratch / "text.png"); }, scratch / "text.png")
                .find("neither PNG, JPEG nor BMP"),
            std::string::npos);
  EXPECT_NE(error_of("GIF89a......").find("GIF"), std::string::npos);
  EXPECT_NE(error_of(std::string("II*\0....", 8)).find("TIFF"), std::string::npos);
  EXPECT_NE(error_of("RIFF....WEBPVP8 ").find("WebP"), std::string::npos);
}

TEST(ImageCodec, MissingAndEmptyFiles) {
  const ScratchFolder scratch;
  EXPECT_THROW(read_image(scratch / "none.png"), FileError);
  EXPECT_THROW(read_image(scratch.path()), FileError);
  put(scratch / "empty.png", "");
  EXPECT_NE(error_of([&] { read_image(scratch / "empty.png"); }, scratch / "empty.png").find("is empty"),
            std::string::npos);
  EXPECT_NE(
      error_of([&] { read_image_header(scratch / "empty.png"); }, scratch / "empty.png").find("is empty"),
      std::string::npos);
}

TEST(ImageCodec, EveryTruncationIsRefused) {
  for (const char* name :
       {"rgb.png", "grey16.png", "interlaced.png", "palette.png", "rgb.jpg", "progressive.jpg", "restart.jpg",
        "orientation6.jpg", "rgb.bmp", "grey.bmp", "one_bit.bmp"}) {
    const std::string whole = get(kImages / name);
    for (std::size_t size = 0; size < whole.size(); ++size) {
      EXPECT_THROW(decode_image(bytes_of(whole).first(size), name), ImageError) << name << " cut to " << size;
    }
    EXPECT_NO_THROW(decode_image(bytes_of(whole + "what a camera appends"), name));
  }
}

TEST(ImageCodec, SizesAreLimitedBeforeAnythingIsAllocated) {
  EXPECT_NE(error_of(lying_png(16'385, 1)).find("16385 x 1 pixels, the limit is 16384"), std::string::npos);
  EXPECT_NE(error_of(lying_png(16'384, 16'385)).find("limit"), std::string::npos);
  EXPECT_NE(error_of(lying_png(0xffffffffu, 1)).find("cannot have"), std::string::npos);
  EXPECT_NE(error_of(lying_png(0, 5)).find("0 x 5"), std::string::npos);
  error_of(lying_png(16'384, 16'384));  // allowed by its header; its data is not there
  EXPECT_NE(error_of(lying_bmp(20'000, 20'000, 24)).find("limit"), std::string::npos);
  EXPECT_NE(error_of(lying_bmp(16'000, 16'000, 24)).find("ends too early"), std::string::npos);
  EXPECT_NE(error_of(lying_bmp(0x80000000u, 1, 24)).find("cannot have"), std::string::npos);
  EXPECT_NE(error_of(lying_bmp(1, 0x80000000u, 24)).find("cannot have"), std::string::npos);
  EXPECT_NE(error_of(lying_bmp(5, 0, 24)).find("5 x 0"), std::string::npos);
  EXPECT_NE(error_of(lying_bmp(5, 5, 7)).find("7 bits"), std::string::npos);
  error_of(lying_bmp(1, 1, 24, 0xffffffffu));
  error_of(lying_bmp(1, 1, 24, 0));

  ImageLimits small;
  small.max_side = 10;
  const fs::path path = kImages / "rgb.png";  // 11 × 7
  EXPECT_NE(error_of([&] { read_image(path, small); }, path).find("limit is 10 a side"), std::string::npos);
  EXPECT_NE(error_of([&] { read_image_header(path, small); }, path).find("limit is 10 a side"),
            std::string::npos);
  small = {};
  small.max_pixels = 76;
  error_of([&] { read_image(path, small); }, path);
  small = {};
  small.max_file_bytes = 50;
  EXPECT_THROW(read_image(path, small), FileError);
  EXPECT_NE(error_of([&] { read_image_header(path, small); }, path).find("limit is 50"), std::string::npos);
}

TEST(ImageCodec, DecompressionBombIsStopped) {
  using namespace std::string_literals;
  // A long run of zeros compresses a hundredfold and more.
  const Mask zeros(4096, 4096);
  const std::vector<std::byte> honest = encode_png(zeros);
  EXPECT_LT(honest.size(), std::size_t{1} << 20);
  std::string bomb(reinterpret_cast<const char*>(honest.data()), honest.size());
  // The same data in a picture that claims one pixel.
  const std::string header = "IHDR" + be32(1) + be32(1) + "\x08\0\0\0\0"s;
  bomb.replace(12, header.size() + 4, header + be32(crc32(bytes_of(header))));
  error_of(bomb);
}

TEST(ImageCodec, CorruptFilesAreRefused) {
  std::string png = get(kImages / "rgb.png");
  png[png.size() - 20] ^= 1;
  EXPECT_NE(error_of(png).find("wrong checksum"), std::string::npos);
  EXPECT_NE(error_of("BM" + std::string(60, '\x7f')).find("unknown kind"), std::string::npos);
  std::string rle = lying_bmp(4, 4, 8);
  rle[30] = 1;
  EXPECT_NE(error_of(rle).find("compressed"), std::string::npos);
  std::string arithmetic = get(kImages / "rgb.jpg");
  arithmetic[arithmetic.find("\xff\xc0") + 1] = '\xc9';
  EXPECT_NE(error_of(arithmetic).find("arithmetic-coded"), std::string::npos);
  std::string garbage = get(kImages / "rgb.jpg");
  garbage.insert(2, "xx");
  error_of(garbage);
  // A Huffman table of 17 × 16 symbols where the decoder has room for 256, then one that is longer than its segment.
  using namespace std::string_literals;
  const auto with_table = [](const std::string& counts, std::size_t symbols) {
    const std::string content = "\x10" + counts + std::string(symbols, '\x01');
    const std::size_t length = content.size() + 2;
    std::string file = get(kImages / "rgb.jpg");
    return file.insert(2, "\xff\xc4"s + static_cast<char>(length >> 8) + static_cast<char>(length) + content);
  };
  EXPECT_NE(error_of(with_table(std::string(16, '\x11'), 272)).find("Huffman"), std::string::npos);
  EXPECT_NE(error_of(with_table(std::string(16, '\x01'), 15)).find("Huffman"), std::string::npos);
  EXPECT_NE(error_of(with_table(std::string(5, '\0'), 0)).find("Huffman"), std::string::npos);
  const std::string good_table = with_table(std::string(16, '\x01'), 16);
  EXPECT_NO_THROW(decode_image(bytes_of(good_table), "some.jpg"));
  // As many scans as one likes, each of which costs the decoder a walk over the picture.
  std::string scans = get(kImages / "progressive.jpg");
  const std::size_t first = scans.find("\xff\xda");
  const std::size_t second = scans.find("\xff\xda", first + 2);
  ASSERT_NE(second, std::string::npos);
  const std::string scan = scans.substr(first, second - first);
  for (int i = 0; i < 200; ++i) scans.insert(first, scan);
  EXPECT_NE(error_of(scans).find("more than 100 scans"), std::string::npos);
}

/// rgb.jpg with an EXIF block of these bytes.
std::string with_exif(const std::string& tiff) {
  using namespace std::string_literals;
  const std::string content = "Exif\0\0"s + tiff;
  const auto length = static_cast<std::uint32_t>(content.size() + 2);
  std::string out = get(kImages / "rgb.jpg");
  out.insert(2, "\xff\xe1"s + static_cast<char>(length >> 8) + static_cast<char>(length) + content);
  return out;
}

TEST(ImageCodec, ExifOrientationInBothByteOrdersAndDamaged) {
  using namespace std::string_literals;
  const auto orientation = [](const std::string& tiff) {
    const std::string file = with_exif(tiff);
    return parse_image_header(bytes_of(file), file.size(), "some.jpg").value().orientation;
  };
  const std::string big = "MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"s;
  const std::string little = "II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x08\0\0\0\0\0\0\0"s;
  EXPECT_EQ(orientation(big), 6);
  EXPECT_EQ(orientation(little), 8);
  for (std::size_t size = 0; size < 20; ++size) EXPECT_EQ(orientation(big.substr(0, size)), 1) << size;
  const auto changed = [&](std::size_t at, char value) {
    std::string tiff = big;
    tiff[at] = value;
    return orientation(tiff);
  };
  EXPECT_EQ(changed(0, 'X'), 1);
  EXPECT_EQ(changed(3, '+'), 1);
  EXPECT_EQ(changed(4, '\xff'), 1);   // the directory lies outside
  EXPECT_EQ(changed(8, '\xff'), 6);   // more entries promised than there are, found before the end
  EXPECT_EQ(changed(11, '\x13'), 1);  // another tag
  EXPECT_EQ(changed(13, '\x04'), 1);  // not a SHORT
  EXPECT_EQ(changed(17, '\x02'), 1);  // two of them
  EXPECT_EQ(changed(19, '\x09'), 1);
  EXPECT_EQ(changed(19, '\x00'), 1);
}

TEST(ImageCodec, HeaderBehindLongSegmentsIsFound) {
  const ScratchFolder scratch;
  std::string file = get(kImages / "rgb.jpg");
  std::string profile = "\xff\xe2\xff\xff" + std::string(65'533, 'p');
  for (int i = 0; i < 20; ++i) file.insert(2, profile);
  put(scratch / "long.jpg", file);
  EXPECT_EQ(read_image_header(scratch / "long.jpg").width, 11);
  EXPECT_EQ(read_image(scratch / "long.jpg"), read_image(kImages / "rgb.jpg"));
  const auto start = bytes_of(file).first(1000);
  EXPECT_FALSE(parse_image_header(start, file.size(), "long.jpg").has_value());
  EXPECT_THROW(parse_image_header(start, start.size(), "long.jpg"), ImageError);
}

}  // namespace
}  // namespace ddpmts
