#include "data/image_png.h"

#include <fmt/format.h>

#include <array>
#include <cstdlib>
#include <limits>
#include <memory>
#include <new>
#include <stdexcept>
#include <string_view>

#include "engine/files/atomic_file.h"
#include "engine/files/crc32.h"

#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STB_IMAGE_WRITE_STATIC
#define STBI_WRITE_NO_STDIO
#include <stb/stb_image_write.h>

namespace ddpmts {
namespace {

/// The header's colour types.
enum class Colour : std::uint8_t { grey = 0, rgb = 2, rgba = 6 };

/// Rows of samples as PNG wants them, most significant byte first.
struct Samples {
  std::uint32_t width, height;
  std::uint32_t bits;             ///< a sample: 8 or 16
  std::uint32_t bytes_per_pixel;  ///< 1 to 4
  Colour colour;
  std::vector<std::uint8_t> bytes;
};

/// PNG's predictor of a byte from its left, upper and upper left neighbours, for filter types 0 to 4.
int predict(int filter, int left, int up, int corner) {
  switch (filter) {
    case 1:
      return left;
    case 2:
      return up;
    case 3:
      return (left + up) / 2;
    case 4: {  // Paeth: whichever is nearest to left + up - corner
      const int to_left = std::abs(up - corner);
      const int to_up = std::abs(left - corner);
      const int to_corner = std::abs(left + up - 2 * corner);
      if (to_left <= to_up && to_left <= to_corner) return left;
      return to_up <= to_corner ? up : corner;
    }
    default:
      return 0;
  }
}

/// Every row with the filter that leaves the smallest sum of absolute differences, preceded by that filter's number.
std::vector<std::uint8_t> filter_rows(const Samples& samples) {
  const std::size_t row_bytes = std::size_t{samples.width} * samples.bytes_per_pixel;
  const std::size_t step = samples.bytes_per_pixel;
  std::vector<std::uint8_t> out;
  out.reserve((row_bytes + 1) * samples.height);
  const std::vector<std::uint8_t> above_first(row_bytes, 0);
  std::vector<std::uint8_t> candidate(row_bytes), best(row_bytes);
  for (std::size_t y = 0; y < samples.height; ++y) {
    const std::uint8_t* row = samples.bytes.data() + y * row_bytes;
    const std::uint8_t* above = y == 0 ? above_first.data() : row - row_bytes;
    std::uint64_t best_cost = std::numeric_limits<std::uint64_t>::max();
    std::uint8_t best_filter = 0;
    for (std::uint8_t filter = 0; filter < 5; ++filter) {
      std::uint64_t cost = 0;
      for (std::size_t i = 0; i < row_bytes; ++i) {
        const int left = i < step ? 0 : row[i - step];
        const int corner = i < step ? 0 : above[i - step];
        candidate[i] = static_cast<std::uint8_t>(row[i] - predict(filter, left, above[i], corner));
        cost += static_cast<std::uint64_t>(std::abs(static_cast<std::int8_t>(candidate[i])));
      }
      if (cost < best_cost) {
        best_cost = cost;
        best_filter = filter;
        best.swap(candidate);
      }
    }
    out.push_back(best_filter);
    out.insert(out.end(), best.begin(), best.end());
  }
  return out;
}

void append_be32(std::vector<std::byte>& out, std::uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<std::byte>(value >> shift));
}

void append_chunk(std::vector<std::byte>& out, std::string_view name, std::span<const std::byte> data) {
  append_be32(out, static_cast<std::uint32_t>(data.size()));
  const std::size_t begin = out.size();
  const auto name_bytes = std::as_bytes(std::span(name));
  out.insert(out.end(), name_bytes.begin(), name_bytes.end());
  out.insert(out.end(), data.begin(), data.end());
  append_be32(out, crc32(std::span(out).subspan(begin)));
}

std::vector<std::byte> encode(const Samples& samples) {
  const std::size_t row_bytes = std::size_t{samples.width} * samples.bytes_per_pixel;
  if (samples.width == 0 || samples.height == 0 || samples.bytes.size() != row_bytes * samples.height) {
    throw std::invalid_argument(fmt::format(
        "PNG: {} x {} pixels of {} bytes need {} bytes, the picture has {}", samples.width, samples.height,
        samples.bytes_per_pixel, row_bytes * samples.height, samples.bytes.size()));
  }
  // The compressor counts in int, and its output may be a little larger than its input.
  constexpr std::size_t kMostBytes = std::numeric_limits<int>::max() / 8 * 7;
  if (samples.bytes.size() + samples.height > kMostBytes) {
    throw std::length_error(
        fmt::format("PNG: a picture of {} x {} pixels is too large", samples.width, samples.height));
  }
  std::vector<std::uint8_t> filtered = filter_rows(samples);
  constexpr int kEffort = 8;  // the library's own default
  int compressed_bytes = 0;
  const std::unique_ptr<unsigned char, decltype(&std::free)> compressed(
      stbi_zlib_compress(filtered.data(), static_cast<int>(filtered.size()), &compressed_bytes, kEffort),
      &std::free);
  if (!compressed) throw std::bad_alloc();

  std::vector<std::byte> header;
  append_be32(header, samples.width);
  append_be32(header, samples.height);
  header.push_back(static_cast<std::byte>(samples.bits));
  header.push_back(static_cast<std::byte>(samples.colour));
  header.insert(header.end(), 3, std::byte{0});  // deflate, adaptive filters, not interlaced

  constexpr std::array<std::uint8_t, 8> kSignature = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
  const auto signature = std::as_bytes(std::span(kSignature));
  std::vector<std::byte> out(signature.begin(), signature.end());
  append_chunk(out, "IHDR", header);
  append_chunk(out, "IDAT",
               std::as_bytes(std::span(compressed.get(), static_cast<std::size_t>(compressed_bytes))));
  append_chunk(out, "IEND", {});
  return out;
}

}  // namespace

std::vector<std::byte> encode_png(const Image& image) {
  return encode({static_cast<std::uint32_t>(image.width), static_cast<std::uint32_t>(image.height), 8, 3,
                 Colour::rgb, image.rgb});
}

std::vector<std::byte> encode_png(const TransparentImage& image) {
  return encode({static_cast<std::uint32_t>(image.width), static_cast<std::uint32_t>(image.height), 8, 4,
                 Colour::rgba, image.rgba});
}

std::vector<std::byte> encode_png(const Mask& mask) {
  return encode({static_cast<std::uint32_t>(mask.width), static_cast<std::uint32_t>(mask.height), 8, 1,
                 Colour::grey, mask.value});
}

std::vector<std::byte> encode_png(const Grey16& map) {
  Samples samples{
      static_cast<std::uint32_t>(map.width), static_cast<std::uint32_t>(map.height), 16, 2, Colour::grey, {}};
  samples.bytes.reserve(map.value.size() * 2);
  for (const std::uint16_t value : map.value) {
    samples.bytes.push_back(static_cast<std::uint8_t>(value >> 8));
    samples.bytes.push_back(static_cast<std::uint8_t>(value));
  }
  return encode(samples);
}

void write_png(const std::filesystem::path& path, const Image& image) {
  write_file_atomically(path, encode_png(image));
}
void write_png(const std::filesystem::path& path, const Mask& mask) {
  write_file_atomically(path, encode_png(mask));
}
void write_png(const std::filesystem::path& path, const Grey16& map) {
  write_file_atomically(path, encode_png(map));
}

}  // namespace ddpmts
