#include "kernels/types.h"

#include <limits>

#include "tests/kernels/kernel_test.h"

namespace ddpmts::kernels {
namespace {

float float_of(std::uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}
std::uint16_t rounded(std::uint32_t bits) { return from_float<bf16>(float_of(bits)).bits; }

TEST(Types, SizesAndNames) {
  EXPECT_EQ(size_of(DType::f32), 4u);
  EXPECT_EQ(size_of(DType::bf16), 2u);
  EXPECT_EQ(size_of(DType::u8), 1u);
  EXPECT_EQ(size_of(DType::i32), 4u);
  EXPECT_STREQ(name_of(DType::bf16), "bf16");
  EXPECT_STREQ(name_of(DType::i32), "i32");
  EXPECT_EQ(sizeof(bf16), 2u);
}

TEST(Bf16, EveryValueSurvivesTheRoundTrip) {
  for (std::uint32_t bits = 0; bits < 0x10000u; ++bits) {
    const bf16 x{static_cast<std::uint16_t>(bits)};
    const bf16 back = from_float<bf16>(to_float(x));
    const bool signalling_nan = std::isnan(to_float(x)) && (bits & 0x40u) == 0;
    ASSERT_EQ(back.bits, signalling_nan ? (bits | 0x40u) : bits) << bits;
  }
}

TEST(Bf16, RoundsToNearestTiesToEven) {
  EXPECT_EQ(rounded(0x3f800000u), 0x3f80);  // 1
  EXPECT_EQ(rounded(0x3f807fffu), 0x3f80);  // just below the middle
  EXPECT_EQ(rounded(0x3f808000u), 0x3f80);  // the middle, even below
  EXPECT_EQ(rounded(0x3f818000u), 0x3f82);  // the middle, even above
  EXPECT_EQ(rounded(0x3f808001u), 0x3f81);  // just above the middle
  EXPECT_EQ(rounded(0xbf818000u), 0xbf82);  // sign does not matter
  EXPECT_EQ(rounded(0x3fffffffu), 0x4000);  // carries into the exponent
  EXPECT_EQ(rounded(0x7f7fffffu), 0x7f80);  // the largest float rounds to infinity
  EXPECT_EQ(rounded(0x80000000u), 0x8000);  // −0
}

TEST(Bf16, InfinityAndNanStay) {
  EXPECT_EQ(rounded(0x7f800000u), 0x7f80);
  EXPECT_EQ(rounded(0xff800000u), 0xff80);
  for (const std::uint32_t nan : {0x7f800001u, 0x7f80ffffu, 0x7fffffffu, 0xffffffffu, 0x7fc00000u}) {
    EXPECT_TRUE(std::isnan(to_float(bf16{rounded(nan)}))) << std::hex << nan;
  }
}

TEST(WithFloatType, NamesTheElementType) {
  std::size_t size = 0;
  with_float_type(DType::bf16, [&](auto zero) { size = sizeof(zero); });
  EXPECT_EQ(size, 2u);
  with_float_type(DType::f32, [&](auto zero) { size = sizeof(zero); });
  EXPECT_EQ(size, 4u);
}

}  // namespace
}  // namespace ddpmts::kernels
