// Base64, for pictures inside a page.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace ddpmts::eval {

/// RFC 4648, section 4, with padding and without line breaks.
std::string base64(std::span<const std::uint8_t> bytes);

/// True when text holds nothing but base64 letters and padding.
bool is_base64(std::string_view text);

}  // namespace ddpmts::eval
