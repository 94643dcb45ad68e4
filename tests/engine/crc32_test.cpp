#include "engine/files/crc32.h"

#include <gtest/gtest.h>

#include <string_view>

namespace ddpmts {
namespace {

TEST(Crc32, TestVectors) {
  const auto bytes = [](std::string_view text) { return std::as_bytes(std::span(text)); };
  EXPECT_EQ(crc32(bytes("123456789")), 0xcbf43926u);  // the check value of CRC-32/ISO-HDLC
  EXPECT_EQ(crc32(bytes("IEND")), 0xae426082u);       // a PNG's last four bytes
  EXPECT_EQ(crc32({}), 0u);
}

}  // namespace
}  // namespace ddpmts
