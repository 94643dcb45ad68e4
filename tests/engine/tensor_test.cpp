// Shapes, element types, copies and the checks that stand between a wrong call and foreign memory.
#include "engine/tensor.h"

#include "tests/engine/engine_test.h"

namespace ddpmts::test {
namespace {

TEST(Shape, CountsAndCompares) {
  const Shape shape{2, 3, 5, 7};
  EXPECT_EQ(shape.rank(), 4);
  EXPECT_EQ(shape.count(), 210);
  EXPECT_EQ(shape[2], 5);
  EXPECT_EQ(shape.text(), "[2, 3, 5, 7]");
  EXPECT_EQ(shape, (Shape{2, 3, 5, 7}));
  EXPECT_NE(shape, (Shape{2, 3, 5}));
  EXPECT_NE((Shape{2, 3}), (Shape{2, 3, 0}));
  EXPECT_EQ(Shape{}.count(), 1);
  EXPECT_EQ((Shape{4, 0, 2}).count(), 0);
  EXPECT_EQ((Shape{}).text(), "[]");
}

TEST(Shape, RefusesWhatCannotBe) {
  expect_error<ShapeError>([] { (void)Shape{1, -2}; }, {"-2"});
  expect_error<ShapeError>([] { (void)Shape{1, 2, 3, 4, 5}; }, {"at most 4", "5"});
  const std::int64_t large = std::int64_t{1} << 40;
  expect_error<ShapeError>([&] { (void)Shape{large, large}.count(); }, {"too many elements"});
}

TEST(Tensor, RefusesMoreBytesThanThereAreAddresses) {
  expect_error<ShapeError>([] { Tensor::empty({std::int64_t{1} << 62}, DType::f32); },
                           {"too many elements", "[4611686018427387904]"});
}

TEST(Tensor, HoldsWhatTheHostGave) {
  const std::vector<float> values{1.5f, -2.0f, 0.0f, 3.0e38f, 5.0f, 6.0f};
  const Tensor tensor = Tensor::from_host<float>({2, 3}, values);
  EXPECT_EQ(tensor.type(), DType::f32);
  EXPECT_EQ(tensor.count(), 6);
  EXPECT_EQ(tensor.bytes(), 24u);
  EXPECT_EQ(tensor.to_host<float>(), values);
  const std::vector<std::uint8_t> pixels{0, 1, 255};
  EXPECT_EQ(Tensor::from_host<std::uint8_t>({3}, pixels).to_host<std::uint8_t>(), pixels);
  const std::vector<std::int32_t> indices{-7, 1 << 30};
  EXPECT_EQ(Tensor::from_host<std::int32_t>({1, 2}, indices).to_host<std::int32_t>(), indices);
  EXPECT_EQ(Tensor::zeros({3, 5}, DType::bf16).to_floats(), std::vector<float>(15, 0.0f));
  EXPECT_EQ(Tensor::zeros({3, 0}, DType::f32).to_floats(), std::vector<float>());
}

TEST(Tensor, SaysWhatDoesNotFit) {
  const std::vector<float> values(5);
  expect_error<ShapeError>([&] { Tensor::from_host<float>({2, 3}, values); }, {"5 values", "[2, 3]"});
  const Tensor tensor = Tensor::zeros({2, 3}, DType::f32);
  expect_error<ShapeError>([&] { (void)tensor.data<bf16>(); }, {"f32", "[2, 3]", "bf16"});
  expect_error<ShapeError>([&] { (void)tensor.to_host<std::int32_t>(); }, {"f32", "i32"});
  expect_error<ShapeError>([&] { (void)tensor.item(); }, {"item()", "[2, 3]"});
  Tensor target = Tensor::zeros({3, 2}, DType::f32);
  expect_error<ShapeError>([&] { target.copy_from(tensor); }, {"[2, 3]", "[3, 2]"});
  Tensor other_type = Tensor::zeros({2, 3}, DType::bf16);
  expect_error<ShapeError>([&] { other_type.copy_from(tensor); }, {"f32", "bf16"});
  const Tensor bytes = Tensor::zeros({2, 3}, DType::u8);
  expect_error<ShapeError>([&] { (void)bytes.cast(DType::f32); }, {"u8", "f32"});
  expect_error<ShapeError>([&] { (void)tensor.cast(DType::i32); }, {"f32", "i32"});
  expect_error<ShapeError>([&] { (void)bytes.to_floats(); }, {"u8", "f32"});
}

TEST(Tensor, CastsByRoundingToNearestEven) {
  const std::vector<float> values{1.0f,         1.0f + 0x1p-8f, 1.0f + 0x1.8p-7f, 1.0f + 0x1.1p-8f,
                                  -3.14159265f, 1e30f};
  const Tensor tensor = Tensor::from_host<float>({6}, values);
  const Tensor low = tensor.cast(DType::bf16);
  EXPECT_EQ(low.type(), DType::bf16);
  const std::vector<float> expected{1.0f,           1.0f,       1.0f + 0x1p-6f,
                                    1.0f + 0x1p-7f, -3.140625f, to_float(from_float<bf16>(1e30f))};
  EXPECT_EQ(low.to_floats(), expected);
  EXPECT_EQ(low.cast(DType::f32).to_host<float>(), expected);
  EXPECT_TRUE(tensor.cast(DType::f32).is_same(tensor));
  EXPECT_EQ(Tensor::from_host<float>({1}, std::vector<float>{2.5f}).cast(DType::bf16).item(), 2.5f);

  // Long enough for every vector width and its rest.
  const std::vector<float> many = random_floats(1037, 1, -100.0f, 100.0f);
  const std::vector<float> rounded = Tensor::from_host<float>({17, 61}, many).cast(DType::bf16).to_floats();
  for (std::size_t i = 0; i < many.size(); ++i) {
    ASSERT_EQ(rounded[i], to_float(from_float<bf16>(many[i]))) << "element " << i;
  }
}

TEST(Tensor, CopiesShareAndClonesDoNot) {
  const Tensor original = Tensor::from_host<float>({2}, std::vector<float>{1, 2});
  EXPECT_TRUE(original.is_sole_owner());
  const Tensor shared = original;
  EXPECT_FALSE(original.is_sole_owner());
  EXPECT_TRUE(shared.is_same(original));
  const Tensor copy = original.clone();
  EXPECT_FALSE(copy.is_same(original));
  shared.data<float>()[0] = 9;
  EXPECT_EQ(original.to_floats()[0], 9.0f);
  EXPECT_EQ(copy.to_floats()[0], 1.0f);
  EXPECT_TRUE(original.to(Device{}).is_same(original));
}

TEST(Tensor, SlicesAreCopiesOfEntries) {
  const Tensor whole = Tensor::from_host<float>({3, 2}, std::vector<float>{1, 2, 3, 4, 5, 6});
  const Tensor slice = whole.slice(1, 2);
  EXPECT_EQ(slice.shape(), (Shape{2, 2}));
  EXPECT_EQ(slice.to_floats(), (std::vector<float>{3, 4, 5, 6}));
  slice.data<float>()[0] = 9;
  EXPECT_EQ(whole.to_floats()[2], 3.0f);
  EXPECT_EQ(whole.slice(3, 0).count(), 0);
  expect_error<ShapeError>([&] { whole.slice(2, 2); }, {"2 to 4", "[3, 2]"});
  expect_error<ShapeError>([&] { whole.slice(-1, 1); }, {"-1"});
}

TEST(Tensor, AnEmptyHandleIsNone) {
  const Tensor none;
  EXPECT_FALSE(none);
  EXPECT_FALSE(none.needs_grad());
  Tensor tensor = Tensor::zeros({1}, DType::f32);
  EXPECT_FALSE(tensor.needs_grad());
  EXPECT_FALSE(tensor.grad());
  tensor.set_needs_grad();
  EXPECT_TRUE(tensor.needs_grad());
  tensor.set_grad(Tensor::zeros({1}, DType::f32));
  EXPECT_TRUE(static_cast<bool>(tensor.grad()));
  EXPECT_FALSE(tensor.clone().needs_grad()) << "a clone is a new leaf";
}

}  // namespace
}  // namespace ddpmts::test
