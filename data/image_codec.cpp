#include "data/image_codec.h"

#include <cstring>
#include <new>
#include <optional>

#include "data/image_stb.h"

namespace ddpmts {
namespace {

namespace fs = std::filesystem;

std::uint8_t to_8_bits(std::uint16_t value) {
  return static_cast<std::uint8_t>((value * 255u + 32767u) / 65535u);
}

/// [height, width, channels] as stored, 8 bits.
StbPicture decode(std::span<const std::byte> file, const ImageHeader& header, const fs::path& path) {
  const std::size_t pixels = static_cast<std::size_t>(header.width) * static_cast<std::size_t>(header.height);
  constexpr std::size_t kSlack = std::size_t{4} << 20;
  const std::size_t largest_block = 2 * (file.size() + 8 * pixels) + kSlack;
  const bool wide = header.bits == 16;
  StbPicture out = stb_decode(file, wide, header.format == ImageFormat::bmp ? 3 : 0, largest_block);
  if (!out.failure.empty()) {
    throw_image(path,
                fmt::format("this {} is corrupt ({}); copy it again from where it came, or save it anew",
                            name_of(header.format), out.failure));
  }
  const int width = header.turned() ? header.height : header.width;
  const int height = header.turned() ? header.width : header.height;
  if (out.width != width || out.height != height)
    throw_image(path, "it contradicts its own header; save it anew");
  if (wide) {
    const std::size_t count = pixels * static_cast<std::size_t>(out.channels);
    out.bytes.reset(static_cast<std::uint8_t*>(std::malloc(count)));
    if (!out.bytes) throw std::bad_alloc();
    for (std::size_t i = 0; i < count; ++i) out.bytes.get()[i] = to_8_bits(out.words.get()[i]);
    out.words.reset();
  }
  return out;
}

/// round(value × alpha / 255 + background × (1 - alpha / 255))
std::uint8_t blend(std::uint32_t value, std::uint32_t alpha, std::uint32_t background) {
  return static_cast<std::uint8_t>((value * alpha + background * (255 - alpha) + 127) / 255);
}

/// Position in the stored picture [width, height] of pixel (x, y) of the upright one.
struct Position {
  int x, y;
};
Position stored_position(int orientation, int x, int y, int width, int height) {
  switch (orientation) {
    case 2:
      return {width - 1 - x, y};  // mirrored left to right
    case 3:
      return {width - 1 - x, height - 1 - y};  // upside down
    case 4:
      return {x, height - 1 - y};  // mirrored top to bottom
    case 5:
      return {y, x};  // transposed
    case 6:
      return {y, height - 1 - x};  // to be turned clockwise
    case 7:
      return {width - 1 - y, height - 1 - x};  // transposed along the other diagonal
    case 8:
      return {width - 1 - y, x};  // to be turned anticlockwise
    default:
      return {x, y};
  }
}

/// Calls f(x, y, stored pixel) for every pixel of the upright picture.
template <class F>
void for_each_pixel(const StbPicture& decoded, const ImageHeader& header, F&& f) {
  const auto channels = static_cast<std::size_t>(decoded.channels);
  for (int y = 0; y < header.height; ++y) {
    for (int x = 0; x < header.width; ++x) {
      const Position from = stored_position(header.orientation, x, y, decoded.width, decoded.height);
      const auto index = static_cast<std::size_t>(from.y) * static_cast<std::size_t>(decoded.width) +
                         static_cast<std::size_t>(from.x);
      f(x, y, decoded.bytes.get() + index * channels);
    }
  }
}

struct Checked {
  ImageHeader header;
  StbPicture decoded;
};
Checked check_and_decode(std::span<const std::byte> file, const fs::path& path, const ImageLimits& limits) {
  const std::optional<ImageHeader> header = parse_image_header(file, file.size(), path, limits);
  if (!header) throw_image(path, "its header ends too early");
  check_complete(file, *header, path);
  return {*header, decode(file, *header, path)};
}

}  // namespace

Image decode_image(std::span<const std::byte> file, const fs::path& path, const ImageLimits& limits) {
  const auto [header, decoded] = check_and_decode(file, path, limits);
  Image image(header.width, header.height);
  constexpr std::uint32_t kWhite = 255;
  switch (decoded.channels) {
    case 1:
      for_each_pixel(decoded, header,
                     [&](int x, int y, const std::uint8_t* p) { std::memset(image.pixel(x, y), p[0], 3); });
      break;
    case 2:
      for_each_pixel(decoded, header, [&](int x, int y, const std::uint8_t* p) {
        std::memset(image.pixel(x, y), blend(p[0], p[1], kWhite), 3);
      });
      break;
    case 3:
      for_each_pixel(decoded, header,
                     [&](int x, int y, const std::uint8_t* p) { std::memcpy(image.pixel(x, y), p, 3); });
      break;
    default:
      for_each_pixel(decoded, header, [&](int x, int y, const std::uint8_t* p) {
        for (int c = 0; c < 3; ++c) image.pixel(x, y)[c] = blend(p[c], p[3], kWhite);
      });
  }
  return image;
}

Mask decode_grey(std::span<const std::byte> file, const fs::path& path, const ImageLimits& limits) {
  const auto [header, decoded] = check_and_decode(file, path, limits);
  Mask mask(header.width, header.height);
  const int channels = decoded.channels;
  for_each_pixel(decoded, header, [&](int x, int y, const std::uint8_t* p) {
    std::uint32_t grey = p[0];
    if (channels >= 3) grey = (19595u * p[0] + 38470u * p[1] + 7471u * p[2] + 32768u) >> 16;
    constexpr std::uint32_t kBlack = 0;
    mask.at(x, y) = blend(grey, channels % 2 == 0 ? p[channels - 1] : 255u, kBlack);
  });
  return mask;
}

Image read_image(const fs::path& path, const ImageLimits& limits) {
  return decode_image(read_file(path, limits.max_file_bytes), path, limits);
}

Mask read_grey(const fs::path& path, const ImageLimits& limits) {
  return decode_grey(read_file(path, limits.max_file_bytes), path, limits);
}

}  // namespace ddpmts
