// stb_image behind a door of its own: the only file that compiles it, so that it can be compiled with care.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>

namespace ddpmts {

struct FreeBlock {
  void operator()(void* block) const { std::free(block); }
};

/// Pixels as stored in the file, [height, width, channels]; 1 channel = grey, 2 = grey and alpha, 3 = colour, 4 = colour and
/// alpha. Exactly one of the pointers is set, or none when decoding failed.
struct StbPicture {
  int width = 0, height = 0, channels = 0;
  std::unique_ptr<std::uint8_t, FreeBlock> bytes;
  std::unique_ptr<std::uint16_t, FreeBlock> words;
  std::string failure;  ///< stb_image's words for what is wrong
};

/// Decodes a PNG, JPEG or BMP of less than 2 GiB that check_complete (image_header.h) let pass.
/// @param sixteen_bits  fill `words` instead of `bytes`
/// @param channels      0 = as stored, 3 = colour without alpha
/// @param largest_block bytes that the decoder may ask for at a time: without a limit a picture of a few bytes can say
///                      "decompress me to gigabytes". It takes a refusal for a lack of memory and gives up cleanly.
StbPicture stb_decode(std::span<const std::byte> file, bool sixteen_bits, int channels,
                      std::size_t largest_block);

}  // namespace ddpmts
