// A plan's key: every member counts, in comparison, hash and text alike.
#include "engine/cuda/plan_key.h"

#include <gtest/gtest.h>

#include <set>
#include <vector>

namespace ddpmts::cuda {
namespace {

ConvPlanKey base() {
  ConvPlanKey key;
  key.shape = {
      .n = 8, .h = 64, .w = 48, .c = 256, .k = 128, .r = 3, .s = 1, .stride = 2, .padding = 1, .dilation = 6};
  return key;
}

// One change of each member; `in_text`: the fastest plan may depend on it.
struct Change {
  const char* what;
  void (*apply)(ConvPlanKey&);
  bool in_text = true;
};
const Change kChanges[] = {
    {"device", [](ConvPlanKey& k) { k.device = 1; }, false},
    {"n", [](ConvPlanKey& k) { k.shape.n = 9; }},
    {"h", [](ConvPlanKey& k) { k.shape.h = 48; }},
    {"w", [](ConvPlanKey& k) { k.shape.w = 64; }},
    {"c", [](ConvPlanKey& k) { k.shape.c = 128; }},
    {"k", [](ConvPlanKey& k) { k.shape.k = 256; }},
    {"r", [](ConvPlanKey& k) { k.shape.r = 1; }},
    {"s", [](ConvPlanKey& k) { k.shape.s = 3; }},
    {"stride", [](ConvPlanKey& k) { k.shape.stride = 1; }},
    {"padding", [](ConvPlanKey& k) { k.shape.padding = 2; }},
    {"dilation", [](ConvPlanKey& k) { k.shape.dilation = 1; }},
    {"type", [](ConvPlanKey& k) { k.shape.type = DType::bf16; }},
    {"data gradient", [](ConvPlanKey& k) { k.pass = ConvPass::backward_data; }},
    {"weight gradient", [](ConvPlanKey& k) { k.pass = ConvPass::backward_weights; }},
    {"result", [](ConvPlanKey& k) { k.result = DType::bf16; }},
    {"bias", [](ConvPlanKey& k) { k.bias = true; }},
    {"residual", [](ConvPlanKey& k) { k.residual = true; }},
    {"relu", [](ConvPlanKey& k) { k.relu = true; }},
    {"tf32", [](ConvPlanKey& k) { k.tf32 = true; }},
    {"deterministic", [](ConvPlanKey& k) { k.deterministic = true; }},
    {"autotune", [](ConvPlanKey& k) { k.autotune = true; }, false},
    {"workspace_limit", [](ConvPlanKey& k) { k.workspace_limit = 1; }, false},
};

TEST(PlanKey, EqualKeysHaveEqualHashAndText) {
  EXPECT_EQ(base(), base());
  EXPECT_EQ(ConvPlanKeyHash{}(base()), ConvPlanKeyHash{}(base()));
  EXPECT_EQ(text(base()), text(base()));
}

TEST(PlanKey, EveryMemberTellsKeysApart) {
  std::set<std::size_t> hashes{ConvPlanKeyHash{}(base())};
  std::set<std::string> texts{text(base())};
  for (const Change& change : kChanges) {
    ConvPlanKey key = base();
    change.apply(key);
    EXPECT_NE(key, base()) << change.what;
    EXPECT_TRUE(hashes.insert(ConvPlanKeyHash{}(key)).second) << change.what;
    EXPECT_EQ(texts.insert(text(key)).second, change.in_text) << change.what << ": " << text(key);
  }
}

TEST(PlanKey, TextNamesTheConvolution) {
  ConvPlanKey key = base();
  key.shape.type = key.result = DType::bf16;
  key.bias = key.residual = key.relu = true;
  EXPECT_EQ(
      text(key),
      "forward 8x64x48x256 bf16 -> 128, 3x1, stride 2, padding 1, dilation 6, to bf16, bias+residual+relu");
}

}  // namespace
}  // namespace ddpmts::cuda
