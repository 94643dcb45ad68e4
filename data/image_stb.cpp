#include "data/image_stb.h"

namespace ddpmts {
namespace {

thread_local std::size_t allocation_limit = 0;

/// Zeroed, because the decoder reads tables that a corrupt file forgot to define.
void* limited_malloc(std::size_t bytes) {
  return bytes <= allocation_limit ? std::calloc(bytes, 1) : nullptr;
}
void* limited_realloc(void* block, std::size_t bytes) {
  return bytes <= allocation_limit ? std::realloc(block, bytes) : nullptr;
}

/// An assertion of the decoder that does not hold for a corrupt file.
struct BrokenAssertion {};

}  // namespace
}  // namespace ddpmts

#define STBI_ASSERT(condition)                      \
  if (!(condition)) throw ddpmts::BrokenAssertion { \
    }
#define STBI_MALLOC(bytes) ddpmts::limited_malloc(bytes)
#define STBI_REALLOC(block, bytes) ddpmts::limited_realloc(block, bytes)
#define STBI_FREE(block) std::free(block)
#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_NO_STDIO
#define STBI_ONLY_PNG
#define STBI_ONLY_JPEG
#define STBI_ONLY_BMP
#include <stb/stb_image.h>

namespace ddpmts {

StbPicture stb_decode(std::span<const std::byte> file, bool sixteen_bits, int channels,
                      std::size_t largest_block) {
  allocation_limit = largest_block;
  const auto* data = reinterpret_cast<const stbi_uc*>(file.data());
  const int length = static_cast<int>(file.size());
  StbPicture out;
  try {
    if (sixteen_bits) {
      out.words.reset(
          stbi_load_16_from_memory(data, length, &out.width, &out.height, &out.channels, channels));
    } else {
      out.bytes.reset(stbi_load_from_memory(data, length, &out.width, &out.height, &out.channels, channels));
    }
    if (!out.words && !out.bytes) out.failure = stbi_failure_reason();
  } catch (const BrokenAssertion&) {
    out.failure = "inconsistent data";
  }
  if (channels != 0) out.channels = channels;
  return out;
}

}  // namespace ddpmts
