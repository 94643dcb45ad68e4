// What a picture file says about itself before a pixel is decoded, and whether all of it is there. Content decides, not
// the file's name.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>

#include "engine/files/input_file.h"

namespace ddpmts {

/// A picture file that cannot be used: empty, cut short, corrupt, too large, of another kind.
struct ImageError : FileError {
  using FileError::FileError;
};

/// Throws ImageError "cannot use the picture '<path>': <what>".
[[noreturn]] void throw_image(const std::filesystem::path& path, std::string_view what);

/// What is accepted from outside; checked before anything of that size is allocated.
struct ImageLimits {
  int max_side = 16'384;                        ///< pixels
  std::int64_t max_pixels = 256 * 1024 * 1024;  ///< width × height
  std::uint64_t max_file_bytes = 1ull << 30;    ///< at most 2^31 - 1, which the decoder can count to
};

enum class ImageFormat : std::uint8_t { png, jpeg, bmp };
const char* name_of(ImageFormat format);

struct ImageHeader {
  ImageFormat format = ImageFormat::png;
  int width = 0;  ///< pixels, as the picture is to be seen (after `orientation`)
  int height = 0;
  int bits = 8;                                     ///< a sample: 1 to 16
  int orientation = 1;                              ///< EXIF tag 0x0112 of a JPEG, 1 to 8; 1 = rows as stored
  bool turned() const { return orientation >= 5; }  ///< stored with width and height exchanged
};

/// Header of the picture that starts with `start`. Returns nothing when `start` is not all of the file's `file_bytes` and
/// too little to tell. Throws ImageError for what is no picture of ours or breaks a limit.
std::optional<ImageHeader> parse_image_header(std::span<const std::byte> start, std::uint64_t file_bytes,
                                              const std::filesystem::path& path,
                                              const ImageLimits& limits = {});

/// Reads no more of the file than it needs. Throws FileError when it cannot be read, else as above.
ImageHeader read_image_header(const std::filesystem::path& path, const ImageLimits& limits = {});

/// Throws ImageError unless `file` is complete: every PNG chunk with a right checksum up to IEND, every JPEG segment up to
/// EOI, every BMP row. What follows the end is ignored, as cameras append things there.
void check_complete(std::span<const std::byte> file, const ImageHeader& header,
                    const std::filesystem::path& path);

}  // namespace ddpmts
