// Writing PNG (ISO/IEC 15948): 8-bit grey and colour, 16-bit grey for anomaly maps, colour with transparency for outlines.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "data/image.h"

namespace ddpmts {

/// The file's bytes. Throws std::invalid_argument when the picture's sides and values disagree, std::length_error above 2 GiB
/// of pixels.
std::vector<std::byte> encode_png(const Image& image);
std::vector<std::byte> encode_png(const TransparentImage& image);
/// Values as they are: a mask of 0 and 1 looks black; multiply by 255 for people.
std::vector<std::byte> encode_png(const Mask& mask);
std::vector<std::byte> encode_png(const Grey16& map);

/// encode_png to a file, atomically (engine/files/atomic_file.h). Throws FileError too.
void write_png(const std::filesystem::path& path, const Image& image);
void write_png(const std::filesystem::path& path, const Mask& mask);
void write_png(const std::filesystem::path& path, const Grey16& map);

}  // namespace ddpmts
