#include "kernels/elementwise.h"

#include <limits>

#include "tests/kernels/kernel_test.h"

namespace ddpmts::kernels {
namespace {

using test::Buffer;
using test::random_floats;

constexpr std::int64_t kCounts[] = {0, 1, 3, 15, 16, 17, 65, 1000, 16384, 40003};

TEST(Cast, RoundsLikeTheScalarFormula) {
  test::for_each_isa([](CpuIsa isa) {
    for (const std::int64_t count : kCounts) {
      const test::Array<float> values = random_floats(count, 1, -100.0f, 100.0f);
      Buffer source(DType::f32, values), narrow(DType::bf16, count), wide(DType::f32, count);
      CastArgs args{count, DType::f32, DType::bf16, source.data(), narrow.data()};
      DDPMTS_RUN_KERNEL(isa, cast, args);
      EXPECT_EQ(narrow.bytes(), Buffer(DType::bf16, values).bytes()) << count;
      args = CastArgs{count, DType::bf16, DType::f32, narrow.data(), wide.data()};
      DDPMTS_RUN_KERNEL(isa, cast, args);
      EXPECT_EQ(wide.floats(), narrow.floats()) << count;
    }
  });
}

TEST(Cast, KeepsSpecialValues) {
  // Ties both ways, the largest float, infinities, NaN with low payload bits only, subnormals, −0; repeated to fill
  // vectors and tails alike.
  const std::uint32_t patterns[] = {0x3f808000u, 0x3f818000u, 0x3fffffffu, 0x7f7fffffu,
                                    0x7f800000u, 0xff800000u, 0x7f800001u, 0xffffffffu,
                                    0x00000001u, 0x00018000u, 0x80000000u};
  std::vector<float> values(11 * 7);
  for (std::size_t i = 0; i < values.size(); ++i) std::memcpy(&values[i], &patterns[i % 11], 4);
  const std::int64_t count = static_cast<std::int64_t>(values.size());
  const Buffer source(DType::f32, values);
  test::for_each_isa([&](CpuIsa isa) {
    Buffer narrow(DType::bf16, count);
    const CastArgs args{count, DType::f32, DType::bf16, source.data(), narrow.data()};
    DDPMTS_RUN_KERNEL(isa, cast, args);
    EXPECT_EQ(narrow.bytes(), Buffer(DType::bf16, values).bytes());
  });
}

TEST(Cast, SameTypeCopies) {
  for (const DType type : {DType::f32, DType::bf16}) {
    const Buffer source(type, random_floats(77, 2));
    test::for_each_isa([&](CpuIsa isa) {
      Buffer copy(type, 77);
      const CastArgs args{77, type, type, source.data(), copy.data()};
      DDPMTS_RUN_KERNEL(isa, cast, args);
      EXPECT_EQ(copy.bytes(), source.bytes());
    });
  }
}

TEST(FillValues, WritesOneValueEverywhereAndNoFurther) {
  test::for_each_isa([](CpuIsa isa) {
    for (const std::int64_t count : kCounts) {
      Buffer filled(DType::f32, count);
      const FillValuesArgs args{count, -0.125f, static_cast<float*>(filled.data())};
      DDPMTS_RUN_KERNEL(isa, fill_values, args);
      EXPECT_EQ(filled.floats(), std::vector<float>(static_cast<std::size_t>(count), -0.125f));
      EXPECT_TRUE(filled.guard_is_intact()) << count;
    }
  });
}

TEST(Add, SumsAndMayAlias) {
  for (const DType type : {DType::f32, DType::bf16}) {
    test::for_each_isa([&](CpuIsa isa) {
      for (const std::int64_t count : kCounts) {
        const Buffer a(type, random_floats(count, 3)), b(type, random_floats(count, 4));
        Buffer expected(type, count);
        for (std::size_t i = 0; i < expected.count(); ++i) expected.set(i, a[i] + b[i]);
        Buffer out(type, count);
        AddArgs args{type, count, a.data(), b.data(), out.data()};
        DDPMTS_RUN_KERNEL(isa, add, args);
        EXPECT_EQ(out.bytes(), expected.bytes()) << name_of(type) << " " << count;
        Buffer in_place = a;
        args = AddArgs{type, count, in_place.data(), b.data(), in_place.data()};
        DDPMTS_RUN_KERNEL(isa, add, args);
        EXPECT_EQ(in_place.bytes(), expected.bytes()) << "out is a";
        in_place = b;
        args = AddArgs{type, count, a.data(), in_place.data(), in_place.data()};
        DDPMTS_RUN_KERNEL(isa, add, args);
        EXPECT_EQ(in_place.bytes(), expected.bytes()) << "out is b";
      }
    });
  }
}

// Arrays that start off a 16-byte boundary take another way through the kernels.
TEST(CastAndAdd, AnyAlignmentWillDo) {
  test::for_each_isa([](CpuIsa isa) {
    const test::Array<float> values = random_floats(1001, 5);
    test::Array<bf16> narrow(1001);
    test::Array<float> sum(1001);
    const CastArgs cast_args{1000, DType::f32, DType::bf16, values.data() + 1, narrow.data() + 1};
    DDPMTS_RUN_KERNEL(isa, cast, cast_args);
    const AddArgs add_args{DType::f32, 1000, values.data() + 1, values.data(), sum.data() + 1};
    DDPMTS_RUN_KERNEL(isa, add, add_args);
    EXPECT_EQ(narrow[0].bits, 0);
    EXPECT_EQ(sum[0], 0.0f);
    for (std::size_t i = 1; i < 1001; ++i) {
      ASSERT_EQ(narrow[i].bits, from_float<bf16>(values[i]).bits) << i;
      ASSERT_EQ(sum[i], values[i] + values[i - 1]) << i;
    }
  });
}

TEST(NormalizePictures, FollowsTheFormulaAndPadsWithZeros) {
  for (const DType type : {DType::f32, DType::bf16}) {
    for (const std::int64_t channels : {3, 4, 8}) {
      for (const std::int64_t pixels : {1, 5, 256, 20001}) {
        test::Array<std::uint8_t> source(static_cast<std::size_t>(3 * pixels));
        for (std::size_t i = 0; i < source.size(); ++i)
          source[i] = static_cast<std::uint8_t>(i * 37 + i / 256);
        test::for_each_isa([&](CpuIsa isa) {
          Buffer out(type, std::vector<float>(static_cast<std::size_t>(pixels * channels), 9.0f));
          NormalizeArgs args;
          args.type = type;
          args.pixels = pixels;
          args.src = source.data();
          args.dst = out.data();
          args.dst_channels = channels;
          DDPMTS_RUN_KERNEL(isa, normalize_pictures, args);
          std::vector<double> expected(out.count());
          for (std::size_t i = 0; i < expected.size(); ++i) {
            const std::size_t c = i % static_cast<std::size_t>(channels);
            if (c >= 3) continue;
            const double value = source[i / static_cast<std::size_t>(channels) * 3 + c];
            expected[i] =
                (value / 255.0 - static_cast<double>(args.mean[c])) / static_cast<double>(args.std[c]);
          }
          test::expect_near(out, expected, expected.size(), type == DType::bf16 ? 0x1p-8 : 1e-6,
                            "normalised");
          for (std::size_t i = 0; i < expected.size(); ++i) {
            if (i % static_cast<std::size_t>(channels) >= 3) {
              ASSERT_EQ(out[i], 0.0f) << "padding at " << i;
            }
          }
        });
      }
    }
  }
}

}  // namespace
}  // namespace ddpmts::kernels
