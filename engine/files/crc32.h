// CRC-32 as ZIP and PNG use it (CRC-32/ISO-HDLC, reflected polynomial 0xedb88320).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace ddpmts {

std::uint32_t crc32(std::span<const std::byte> bytes);

}  // namespace ddpmts
