// Reading pictures: PNG, JPEG and BMP from files that may be anything. Decoding itself is stb_image's; around it stand our
// checks of size, completeness and memory (image_header.h).
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

#include "data/image.h"
#include "data/image_header.h"
#include "data/image_png.h"

namespace ddpmts {

/// Decodes a picture to 8-bit colour, turned upright as its EXIF orientation says.
/// Grey becomes three equal channels. 16 bits a sample become 8 by rounding value / 257. Transparent PNG pixels are laid
/// over white, as viewers show them; the fourth byte of a 32-bit BMP pixel is ignored, since it is seldom meant as alpha.
/// `path` is for messages only. Throws ImageError.
Image decode_image(std::span<const std::byte> file, const std::filesystem::path& path,
                   const ImageLimits& limits = {});

/// Decodes a picture to 8-bit grey (ITU-R 601 luma of colours), for masks: transparent pixels are laid over black, so that
/// what a labelling tool leaves transparent is background. Else as decode_image.
Mask decode_grey(std::span<const std::byte> file, const std::filesystem::path& path,
                 const ImageLimits& limits = {});

/// Reads and decodes a file. Throws FileError when it cannot be read, ImageError when its content cannot be used.
Image read_image(const std::filesystem::path& path, const ImageLimits& limits = {});
Mask read_grey(const std::filesystem::path& path, const ImageLimits& limits = {});

}  // namespace ddpmts
