// Dropout against its definition, bit for bit, on every instruction set.
#include "kernels/dropout.h"

#include <stdexcept>

#include "tests/kernels/kernel_test.h"

namespace ddpmts::kernels {
namespace {

using test::Array;
using test::Buffer;
using test::random_floats;

TEST(Dropout, FollowsItsDefinition) {
  test::for_each_isa([](CpuIsa isa) {
    for (const DType type : {DType::f32, DType::bf16}) {
      for (const std::int64_t count : {0, 1, 3, 4, 17, 16384, 16385, 40003}) {
        const Buffer x(type, random_floats(count, 1));
        Buffer y(type, count), expected(type, count);
        DropoutArgs args;
        args.type = type;
        args.count = count;
        args.probability = 0.3f;
        args.seed = 0x123456789abcdefULL;
        args.step = 0x1122334455667788ULL;
        args.x = x.data();
        args.y = y.data();
        DDPMTS_RUN_KERNEL(isa, dropout, args);
        const Philox random{args.seed, RandomStream::dropout, args.step};
        for (std::size_t i = 0; i < x.count(); ++i) {
          const Uint4 block = random.bits(static_cast<std::uint32_t>(i / 4));
          const std::uint32_t words[] = {block.x, block.y, block.z, block.w};
          expected.set(i, uniform01(words[i % 4]) < 0.3f ? 0.0f : x[i] * (1.0f / (1.0f - 0.3f)));
        }
        EXPECT_EQ(y.bytes(), expected.bytes()) << name_of(type) << " " << count;
      }
    }
  });
}

TEST(Dropout, ReadsTheOffsetOfItsStepWhenItRuns) {
  test::for_each_isa([](CpuIsa isa) {
    const Buffer x(DType::f32, random_floats(1001, 2));
    Buffer expected(DType::f32, 1001), actual(DType::f32, 1001);
    Array<std::uint64_t> offset(1);
    for (const std::uint64_t step : {5ULL, 1ULL << 40}) {
      DropoutArgs args{DType::f32, 1001, 0.5f, 1, step, x.data(), expected.data()};
      DDPMTS_RUN_KERNEL(isa, dropout, args);
      offset[0] = step - 2;
      args.step = 2;
      args.y = actual.data();
      args.step_offset = offset.data();
      DDPMTS_RUN_KERNEL(isa, dropout, args);
      EXPECT_EQ(actual.bytes(), expected.bytes()) << step;
    }
  });
}

TEST(Dropout, WorksInPlace) {
  test::for_each_isa([](CpuIsa isa) {
    const Buffer x(DType::f32, random_floats(1001, 2));
    Buffer apart(DType::f32, 1001), in_place = x;
    DropoutArgs args{DType::f32, 1001, 0.5f, 1, 2, x.data(), apart.data()};
    DDPMTS_RUN_KERNEL(isa, dropout, args);
    args.x = args.y = in_place.data();
    DDPMTS_RUN_KERNEL(isa, dropout, args);
    EXPECT_EQ(in_place.bytes(), apart.bytes());
  });
}

TEST(Dropout, RefusesProbabilitiesOutsideOfItsRange) {
  Array<float> value{1.0f};
  for (const float probability : {-0.1f, 1.0f, std::nanf("")}) {
    DropoutArgs args{DType::f32, 1, probability, 0, 0, value.data(), value.data()};
    EXPECT_THROW(DDPMTS_RUN_KERNEL(CpuIsa::baseline, dropout, args), std::invalid_argument) << probability;
  }
}

}  // namespace
}  // namespace ddpmts::kernels
