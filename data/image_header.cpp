#include "data/image_header.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <string_view>
#include <utility>

#include "engine/files/crc32.h"

namespace ddpmts {
namespace {

namespace fs = std::filesystem;

constexpr const char* kCopyAgain = "copy it again from where it came";

/// Reads integers at any position; one that is not there throws EndOfData.
struct EndOfData {};
class Bytes {
 public:
  explicit Bytes(std::span<const std::byte> data) : data_(data) {}
  std::size_t size() const { return data_.size(); }
  const std::byte* data() const { return data_.data(); }
  std::span<const std::byte> part(std::size_t at, std::size_t count) const {
    if (at > data_.size() || count > data_.size() - at) throw EndOfData{};
    return data_.subspan(at, count);
  }
  bool starts_with(std::string_view text, std::size_t at = 0) const {
    return at <= data_.size() && text.size() <= data_.size() - at &&
           std::memcmp(data_.data() + at, text.data(), text.size()) == 0;
  }
  std::uint32_t u8(std::size_t at) const { return std::to_integer<std::uint32_t>(part(at, 1)[0]); }
  std::uint32_t be16(std::size_t at) const { return u8(at) << 8 | u8(at + 1); }
  std::uint32_t be32(std::size_t at) const { return be16(at) << 16 | be16(at + 2); }
  std::uint32_t le16(std::size_t at) const { return u8(at) | u8(at + 1) << 8; }
  std::uint32_t le32(std::size_t at) const { return le16(at) | le16(at + 2) << 16; }

 private:
  std::span<const std::byte> data_;
};

constexpr std::string_view kPngSignature("\x89PNG\r\n\x1a\n", 8);
constexpr std::string_view kJpegSignature("\xff\xd8\xff", 3);
constexpr std::string_view kBmpSignature("BM", 2);

ImageFormat format_of(const Bytes& file, const fs::path& path) {
  if (file.starts_with(kPngSignature)) return ImageFormat::png;
  if (file.starts_with(kJpegSignature)) return ImageFormat::jpeg;
  if (file.starts_with(kBmpSignature)) return ImageFormat::bmp;
  constexpr std::string_view kConvert = "convert it to PNG, JPEG or BMP";
  const auto other = [&](std::string_view kind) {
    throw_image(path, fmt::format("it is a {} file; {}", kind, kConvert));
  };
  using namespace std::string_view_literals;
  if (file.starts_with("II*\0"sv) || file.starts_with("MM\0*"sv)) other("TIFF");
  if (file.starts_with("GIF8")) other("GIF");
  if (file.starts_with("RIFF") && file.starts_with("WEBP", 8)) other("WebP");
  if (file.starts_with("ftyp", 4)) other("HEIF, AVIF or film");
  if (file.starts_with("\0\0\0\x0cjP  "sv)) other("JPEG 2000");
  if (file.starts_with("%PDF")) other("PDF");
  throw_image(path,
              fmt::format("its content is neither PNG, JPEG nor BMP, whatever its name says; {} or remove it",
                          kConvert));
}

// ---- PNG -----------------------------------------------------------------------------------------------------------

ImageHeader png_header(const Bytes& file, const fs::path& path) {
  file.part(0, 26);  // signature, length, name and the fields read here
  if (file.be32(8) != 13 || !file.starts_with("IHDR", 12)) {
    throw_image(path, fmt::format("a PNG must begin with the chunk IHDR; {}", kCopyAgain));
  }
  const std::uint32_t width = file.be32(16);
  const std::uint32_t height = file.be32(20);
  constexpr std::uint32_t kLargest = std::numeric_limits<int>::max();
  if (width > kLargest || height > kLargest) {
    throw_image(path, fmt::format("a PNG cannot have {} x {} pixels; {}", width, height, kCopyAgain));
  }
  ImageHeader header;
  header.format = ImageFormat::png;
  header.width = static_cast<int>(width);
  header.height = static_cast<int>(height);
  header.bits = static_cast<int>(file.u8(24));
  return header;
}

void check_png(const Bytes& file, const fs::path& path) {
  std::size_t at = kPngSignature.size();
  for (bool ended = false; !ended;) {
    const std::size_t length = file.be32(at);
    const std::span<const std::byte> name_and_data = file.part(at + 4, 4 + length);
    if (file.be32(at + 8 + length) != crc32(name_and_data)) {
      throw_image(path,
                  fmt::format("a chunk of this PNG has a wrong checksum (at byte {}); {}", at, kCopyAgain));
    }
    ended = file.starts_with("IEND", at + 4);
    at += 12 + length;
  }
}

// ---- JPEG ----------------------------------------------------------------------------------------------------------

/// Orientation tag of an EXIF block (a small TIFF file); 1 when it has none or is damaged, for then it says nothing.
int exif_orientation(const Bytes& tiff) try {
  const bool little = tiff.starts_with("II");
  if (!little && !tiff.starts_with("MM")) return 1;
  const auto u16 = [&](std::size_t at) { return little ? tiff.le16(at) : tiff.be16(at); };
  const auto u32 = [&](std::size_t at) { return little ? tiff.le32(at) : tiff.be32(at); };
  if (u16(2) != 42) return 1;
  const std::size_t directory = u32(4);
  const std::uint32_t entries = u16(directory);
  for (std::uint32_t i = 0; i < entries; ++i) {
    const std::size_t entry = directory + 2 + std::size_t{12} * i;
    constexpr std::uint32_t kOrientation = 0x0112, kShort = 3;
    if (u16(entry) != kOrientation) continue;
    const std::uint32_t value = u16(entry + 8);
    const bool valid = u16(entry + 2) == kShort && u32(entry + 4) == 1 && value >= 1 && value <= 8;
    return valid ? static_cast<int>(value) : 1;
  }
  return 1;
} catch (const EndOfData&) {
  return 1;
}

bool stands_alone(std::uint32_t marker) { return marker == 0x01 || (marker >= 0xd0 && marker <= 0xd7); }

/// Code of the marker at `at`, which moves behind it.
std::uint32_t take_marker(const Bytes& file, std::size_t& at, const fs::path& path) {
  if (file.u8(at) != 0xff)
    throw_image(path, fmt::format("the JPEG is corrupt at byte {}; {}", at, kCopyAgain));
  while (file.u8(at) == 0xff) ++at;  // fill bytes
  return file.u8(at++);
}

/// Content of the segment at `at`, which moves behind it.
Bytes take_segment(const Bytes& file, std::size_t& at, const fs::path& path) {
  const std::size_t length = file.be16(at);
  if (length < 2) throw_image(path, fmt::format("the JPEG is corrupt at byte {}; {}", at, kCopyAgain));
  const Bytes segment(file.part(at + 2, length - 2));
  at += length;
  return segment;
}

ImageHeader jpeg_frame(const Bytes& segment, std::uint32_t marker, const fs::path& path) {
  constexpr std::uint32_t kBaseline = 0xc0, kExtended = 0xc1, kProgressive = 0xc2;
  const std::uint32_t bits = segment.u8(0);
  if ((marker != kBaseline && marker != kExtended && marker != kProgressive) || bits != 8) {
    throw_image(path,
                "it is a lossless, arithmetic-coded or 12-bit JPEG; save it as an ordinary JPEG or as PNG");
  }
  ImageHeader header;
  header.format = ImageFormat::jpeg;
  header.height = static_cast<int>(segment.be16(1));
  header.width = static_cast<int>(segment.be16(3));
  return header;
}

ImageHeader jpeg_header(const Bytes& file, const fs::path& path) {
  std::size_t at = 2;
  int orientation = 1;
  for (;;) {
    const std::uint32_t marker = take_marker(file, at, path);
    if (stands_alone(marker)) continue;
    constexpr std::uint32_t kEnd = 0xd9, kScan = 0xda, kApp1 = 0xe1;
    if (marker == kEnd || marker == kScan)
      throw_image(path, fmt::format("this JPEG holds no frame header; {}", kCopyAgain));
    const Bytes segment = take_segment(file, at, path);
    constexpr std::string_view kExif("Exif\0\0", 6);
    if (marker == kApp1 && segment.starts_with(kExif)) {
      orientation = exif_orientation(Bytes(segment.part(kExif.size(), segment.size() - kExif.size())));
    }
    const bool is_table =
        marker == 0xc4 || marker == 0xc8 || marker == 0xcc;  // DHT, JPG, DAC share the frames' range
    if (marker < 0xc0 || marker > 0xcf || is_table) continue;
    ImageHeader header = jpeg_frame(segment, marker, path);
    header.orientation = orientation;
    if (header.turned()) std::swap(header.width, header.height);
    return header;
  }
}

/// Moves `at` behind entropy-coded data, to the next marker that is not a restart.
void skip_scan_data(const Bytes& file, std::size_t& at) {
  for (;;) {
    const std::span<const std::byte> rest = file.part(at, file.size() - at);
    const void* found = rest.empty() ? nullptr : std::memchr(rest.data(), 0xff, rest.size());
    if (found == nullptr) throw EndOfData{};
    at = static_cast<std::size_t>(static_cast<const std::byte*>(found) - file.data());
    const std::uint32_t next = file.u8(at + 1);
    if (next == 0xff) {
      ++at;
    } else if (next == 0 || stands_alone(next)) {
      at += 2;
    } else {
      return;
    }
  }
}

/// Huffman tables: the decoder has room for 256 symbols a table, and trusts the file.
void check_huffman_tables(const Bytes& segment, const fs::path& path) {
  constexpr std::size_t kLengths = 16, kMostSymbols = 256;
  for (std::size_t at = 0; at < segment.size();) {
    std::size_t symbols = 0;
    if (segment.size() - at > kLengths) {
      for (std::size_t i = 0; i < kLengths; ++i) symbols += segment.u8(at + 1 + i);
    }
    at += 1 + kLengths + symbols;
    if (symbols > kMostSymbols || at > segment.size()) {
      throw_image(path, fmt::format("the JPEG has an impossible Huffman table; {}", kCopyAgain));
    }
  }
}

void check_jpeg(const Bytes& file, const fs::path& path) {
  // A progressive JPEG has about ten scans; each makes the decoder walk over the whole picture again.
  constexpr int kMaxScans = 100;
  int scans = 0;
  std::size_t at = 2;
  for (;;) {
    const std::uint32_t marker = take_marker(file, at, path);
    if (marker == 0xd9) break;
    if (stands_alone(marker)) continue;
    const Bytes segment = take_segment(file, at, path);
    if (marker == 0xc4) check_huffman_tables(segment, path);
    if (marker != 0xda) continue;
    if (++scans > kMaxScans)
      throw_image(path, fmt::format("this JPEG has more than {} scans; save it anew", kMaxScans));
    skip_scan_data(file, at);
  }
  if (scans == 0) throw_image(path, fmt::format("this JPEG holds no picture data; {}", kCopyAgain));
}

// ---- BMP -----------------------------------------------------------------------------------------------------------

struct BmpLayout {
  std::int64_t width, height;  ///< height below 0: rows stored top to bottom
  std::uint32_t bits;
  std::uint64_t data_begin;
};

BmpLayout bmp_layout(const Bytes& file, const fs::path& path) {
  BmpLayout bmp{};
  bmp.data_begin = file.le32(10);
  const std::uint32_t info_bytes = file.le32(14);
  std::uint32_t compression = 0;
  if (info_bytes == 12) {  // OS/2
    bmp.width = file.le16(18);
    bmp.height = file.le16(20);
    bmp.bits = file.le16(24);
  } else if (info_bytes == 40 || info_bytes == 56 || info_bytes == 108 || info_bytes == 124) {
    bmp.width = static_cast<std::int32_t>(file.le32(18));
    bmp.height = static_cast<std::int32_t>(file.le32(22));
    bmp.bits = file.le16(28);
    compression = file.le32(30);
  } else {
    throw_image(path, "its content is neither PNG nor JPEG, and a BMP of an unknown kind; convert it to PNG");
  }
  constexpr std::uint32_t kUncompressed = 0, kBitFields = 3;
  if ((compression != kUncompressed && compression != kBitFields) || (info_bytes == 12 && bmp.bits < 24)) {
    throw_image(path, "it is a compressed or OS/2 BMP; convert it to PNG or an uncompressed BMP");
  }
  if (bmp.bits != 1 && bmp.bits != 4 && bmp.bits != 8 && bmp.bits != 16 && bmp.bits != 24 && bmp.bits != 32) {
    throw_image(path, fmt::format("a BMP cannot have {} bits a pixel; {}", bmp.bits, kCopyAgain));
  }
  return bmp;
}

ImageHeader bmp_header(const Bytes& file, const fs::path& path) {
  const BmpLayout bmp = bmp_layout(file, path);
  constexpr std::int64_t kLargest = std::numeric_limits<int>::max();
  if (bmp.width < 0 || bmp.height < -kLargest) {
    throw_image(path, fmt::format("a BMP cannot have {} x {} pixels; {}", bmp.width, bmp.height, kCopyAgain));
  }
  ImageHeader header;
  header.format = ImageFormat::bmp;
  header.width = static_cast<int>(bmp.width);
  header.height = static_cast<int>(std::abs(bmp.height));
  return header;
}

void check_bmp(const Bytes& file, const fs::path& path) {
  const BmpLayout bmp = bmp_layout(file, path);
  const std::uint64_t row_bytes = (static_cast<std::uint64_t>(bmp.width) * bmp.bits + 31) / 32 * 4;
  const std::uint64_t rows = static_cast<std::uint64_t>(std::abs(bmp.height));
  if (bmp.data_begin > file.size() || rows * row_bytes > file.size() - bmp.data_begin) throw EndOfData{};
}

void check_limits(const ImageHeader& header, const fs::path& path, const ImageLimits& limits) {
  if (header.width < 1 || header.height < 1) {
    throw_image(path,
                fmt::format("its header says {} x {} pixels; {}", header.width, header.height, kCopyAgain));
  }
  if (header.width > limits.max_side || header.height > limits.max_side ||
      std::int64_t{header.width} * header.height > limits.max_pixels) {
    throw_image(
        path,
        fmt::format("its header says {} x {} pixels, the limit is {} a side and {} in all; cut or shrink it",
                    header.width, header.height, limits.max_side, limits.max_pixels));
  }
}

[[noreturn]] void throw_cut_short(ImageFormat format, const fs::path& path) {
  throw_image(path, fmt::format("this {} ends too early; {}", name_of(format), kCopyAgain));
}

void check_file_size(std::uint64_t bytes, const fs::path& path, const ImageLimits& limits) {
  if (bytes == 0) throw_image(path, fmt::format("it is empty; {}, or remove it", kCopyAgain));
  const std::uint64_t most = std::min<std::uint64_t>(limits.max_file_bytes, std::numeric_limits<int>::max());
  if (bytes > most)
    throw_image(path, fmt::format("it has {} bytes, the limit is {}; shrink it", bytes, most));
}

}  // namespace

void throw_image(const fs::path& path, std::string_view what) {
  throw ImageError(fmt::format("cannot use the picture {}: {}", in_quotes(path), what), path);
}

const char* name_of(ImageFormat format) {
  constexpr std::array<const char*, 3> kNames = {"PNG", "JPEG", "BMP"};
  return kNames[static_cast<std::size_t>(format)];
}

std::optional<ImageHeader> parse_image_header(std::span<const std::byte> start, std::uint64_t file_bytes,
                                              const fs::path& path, const ImageLimits& limits) {
  check_file_size(file_bytes, path, limits);
  const Bytes file(start);
  const ImageFormat format = format_of(file, path);
  try {
    ImageHeader header;
    switch (format) {
      case ImageFormat::png:
        header = png_header(file, path);
        break;
      case ImageFormat::jpeg:
        header = jpeg_header(file, path);
        break;
      case ImageFormat::bmp:
        header = bmp_header(file, path);
        break;
    }
    check_limits(header, path, limits);
    return header;
  } catch (const EndOfData&) {
    if (start.size() < file_bytes) return std::nullopt;
    throw_cut_short(format, path);
  }
}

ImageHeader read_image_header(const fs::path& path, const ImageLimits& limits) {
  const InputFile file(path);
  check_file_size(file.size(), path, limits);
  // Nearly always enough; EXIF and colour profiles can push a JPEG's frame header far down.
  constexpr std::uint64_t kFirstRead = 64 * 1024;
  std::vector<std::byte> start;
  for (std::uint64_t wanted = kFirstRead;; wanted *= 16) {
    start.resize(std::min(wanted, file.size()));
    file.read(0, start);
    if (const std::optional<ImageHeader> header = parse_image_header(start, file.size(), path, limits))
      return *header;
  }
}

void check_complete(std::span<const std::byte> file, const ImageHeader& header, const fs::path& path) try {
  switch (header.format) {
    case ImageFormat::png:
      return check_png(Bytes(file), path);
    case ImageFormat::jpeg:
      return check_jpeg(Bytes(file), path);
    case ImageFormat::bmp:
      return check_bmp(Bytes(file), path);
  }
} catch (const EndOfData&) {
  throw_cut_short(header.format, path);
}

}  // namespace ddpmts
