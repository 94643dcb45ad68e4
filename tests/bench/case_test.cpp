// The cases: their names, what they count, that a wrong result is found, and that the shape lists are the networks' own.
#include "bench/case.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "bench/cases/drawn_networks.h"
#include "bench/cases/tools.h"
#include "bench/measure.h"
#include "bench/shapes.h"

namespace ddpmts::bench {
namespace {

CasePlan plan_of(const std::vector<std::string>& settings, bool quick = false) {
  Sweep sweep;
  for (const std::string& setting : settings) parse_set(setting, sweep);
  return {Device{}, sweep, quick};
}

Case named(const Cases& cases, const std::string& name) {
  const auto found = std::ranges::find(cases, name, &Case::name);
  if (found == cases.end()) throw std::runtime_error("no case " + name);
  return *found;
}

constexpr Sampling kOnce{.seconds = 1e-6, .least = 3, .most_seconds = 1.0, .cold = 0};

TEST(Cases, NamesAreUniqueAndSayWhatTheyAre) {
  std::set<std::string> names;
  for (const Case& c : all_cases(plan_of({"shapes=odd", "batch=1,2"}))) {
    EXPECT_TRUE(names.insert(c.name).second) << c.name;
    EXPECT_TRUE(c.name.starts_with(c.group + "/")) << c.name;
    EXPECT_TRUE(c.name.ends_with("/b" + c.axes.at("batch") + "/cpu")) << c.name;
    EXPECT_EQ(c.name.find("/head_") != std::string::npos, c.axes.contains("head")) << c.name;
    EXPECT_EQ(c.name.find("/unet_") != std::string::npos, c.axes.contains("unet")) << c.name;
  }
}

TEST(Cases, OnAGpuPipelinesComeWithGraphsAndWithout) {
  Sweep sweep;
  for (const char* setting : {"batch=1", "precision=f32", "head=s", "unet=xs"}) parse_set(setting, sweep);
  const Device gpu{DeviceType::cuda, 0};
  const auto pipelines = [&](std::vector<bool> graph, Device device) {
    sweep.graph = std::move(graph);
    Cases cases;
    add_pipeline_cases(CasePlan(device, sweep, false), cases);
    return cases;
  };
  const std::string with = "pipelines/inspection/head_s/256/f32/b1/cuda:0",
                    without = "pipelines/inspection/head_s/256/no_graph/f32/b1/cuda:0";
  const Cases both = pipelines({true, false}, gpu);
  EXPECT_TRUE(named(both, with).graph);
  EXPECT_EQ(named(both, with).axes.at("graph"), "on");
  EXPECT_FALSE(named(both, without).graph);
  EXPECT_EQ(named(both, without).axes.at("graph"), "off");
  EXPECT_EQ(std::ranges::count(both, "pipelines/triplet_synthesis/256/f32/b1/cuda:0", &Case::name), 1);
  EXPECT_THROW(named(pipelines({}, gpu), without), std::runtime_error);
  EXPECT_THROW(named(pipelines({false}, gpu), with), std::runtime_error);
  for (const Case& c : pipelines({true, false}, Device{})) {
    EXPECT_FALSE(c.axes.contains("graph")) << c.name;
    EXPECT_TRUE(c.graph) << c.name;
  }
}

TEST(Cases, CountTheBytesAndFlopsOfAKnownShape) {
  Cases cases;
  add_elementwise_cases(plan_of({"shapes=odd", "batch=2", "precision=f32"}), cases);
  const Prepared add = named(cases, "kernels/add/odd/5x3x33/f32/b2/cpu").prepare();
  EXPECT_DOUBLE_EQ(add.bytes, 3.0 * 4.0 * 2 * 5 * 3 * 33);
  EXPECT_DOUBLE_EQ(add.flops, 2.0 * 5 * 3 * 33);

  cases.clear();
  add_conv_cases(plan_of({"shapes=odd", "batch=2", "precision=f32"}), cases);
  const Prepared conv = named(cases, "convs/odd/7x9x40-42_3x3_s2/forward/f32/b2/cpu").prepare();
  EXPECT_DOUBLE_EQ(conv.flops, 2.0 * (2 * 4 * 5 * 42) * (40 * 3 * 3));
  EXPECT_DOUBLE_EQ(conv.bytes, 4.0 * (2 * 7 * 9 * 40 + 2 * 4 * 5 * 42 + 42 * 3 * 3 * 40));
}

TEST(Cases, AWholeNetworkCountsItsConvolutions) {
  double flops = 0.0;
  for (const UsedConv& conv : convs_of("resnet18_224", {}, {}, Device{})) {
    flops += static_cast<double>(conv.uses) * conv.shape.flops();
  }
  Cases cases;
  add_network_cases(plan_of({"size=224", "batch=2", "precision=f32", "head=s"}), cases);
  const Prepared teacher = named(cases, "networks/teacher_forward/224/f32/b2/cpu").prepare();
  EXPECT_DOUBLE_EQ(teacher.flops, 2.0 * flops);
  EXPECT_NEAR(flops, 2.0 * 1.40e9, 0.02e9) << "ResNet-18 at 224 pixels up to layer3: 1.40 GMAC";
}

TEST(Cases, AllKernelsAndConvolutionsAreRightOnOddShapes) {
  Cases cases;
  const CasePlan plan = plan_of({"shapes=odd", "batch=2", "size=64"});
  add_elementwise_cases(plan, cases);
  add_norm_cases(plan, cases);
  add_feature_cases(plan, cases);
  add_map_cases(plan, cases);
  add_diffusion_cases(plan, cases);
  add_synthesis_cases(plan, cases);
  add_pretraining_cases(plan, cases);
  add_conv_cases(plan, cases);
  for (const Case& c : cases) {
    const Check check = c.prepare().check();
    EXPECT_TRUE(check.right) << c.name << ": " << check.text;
  }
}

Case made_up(bool right) {
  Case c;
  c.name = "kernels/made_up";
  c.prepare = [right] {
    Prepared p;
    p.run = [] {};
    p.check = [right] { return Check{right, "y: off by 3"}; };
    p.bytes = 1e6;
    return p;
  };
  return c;
}

TEST(Cases, AWrongCaseIsNotTimed) {
  const Row row = measure(made_up(false), Roofs(), kOnce, 0.0);
  EXPECT_EQ(row.status, Status::fail);
  EXPECT_EQ(row.check, "y: off by 3");
  EXPECT_EQ(row.hot.count, 0u);
  EXPECT_FALSE(row.timed());
}

TEST(Cases, ACaseThatThrowsFails) {
  Case c = made_up(true);
  c.prepare = []() -> Prepared { throw std::runtime_error("no such thing"); };
  const Row row = measure(c, Roofs(), kOnce, 0.0);
  EXPECT_EQ(row.status, Status::fail);
  EXPECT_NE(row.check.find("no such thing"), std::string::npos);
}

TEST(Cases, WhatDoesNotFitInMemoryIsSkippedWithTheBytesItNeeds) {
  Case c = made_up(true);
  c.memory = 3.0 * 1024 * 1024 * 1024;
  const Row row = measure(c, Roofs(), kOnce, 2.0 * 1024 * 1024 * 1024);
  EXPECT_EQ(row.status, Status::skip);
  EXPECT_EQ(row.check, "needs about 3.00 GiB, 2.00 GiB are free");
}

TEST(Cases, ARightCaseIsTimedAndHeldAgainstItsRoof) {
  const Roofs roofs({{Traffic::copy, 2 << 20, 1e9}}, {{DType::f32, 1e12}});
  const Row row = measure(made_up(true), roofs, kOnce, 0.0);
  EXPECT_EQ(row.status, Status::ok);
  EXPECT_GE(row.hot.count, 3u);
  EXPECT_EQ(row.roof, "copy");
  EXPECT_NEAR(row.roof_share, 1e-3 / row.hot.median, 1e-3);
}

TEST(Cases, TheRoofThatTakesLongerBinds) {
  const Roofs roofs({{Traffic::copy, 2e3, 8e9}, {Traffic::read, 2e3, 5e9}, {Traffic::copy, 2e6, 1e9}},
                    {{DType::f32, 1e12}, {DType::bf16, 4e12}});
  EXPECT_DOUBLE_EQ(roofs.memory_rate(Traffic::copy, 2000), 8e9);
  EXPECT_DOUBLE_EQ(roofs.memory_rate(Traffic::copy, 3000), 1e9);
  EXPECT_DOUBLE_EQ(roofs.memory_rate(Traffic::copy, 1e12), 1e9) << "beyond the largest";
  EXPECT_DOUBLE_EQ(roofs.memory_rate(Traffic::read, 1e12), 5e9);
  EXPECT_DOUBLE_EQ(roofs.memory_rate(Traffic::update, 2000), 8e9) << "not measured: the copy's";
  const auto work = [](double bytes, double flops, DType type) {
    return Roofs::Work{Traffic::copy, bytes, bytes, flops, type};
  };
  const RoofShare copy = roofs.share(work(1e6, 1e6, DType::f32), 2e-3);
  EXPECT_EQ(copy.roof, "copy");
  EXPECT_DOUBLE_EQ(copy.share, 0.5);
  const RoofShare product = roofs.share(work(1e6, 8e9, DType::bf16), 4e-3);
  EXPECT_EQ(product.roof, "product");
  EXPECT_DOUBLE_EQ(product.share, 0.5);
  EXPECT_EQ(roofs.share(work(0.0, 0.0, DType::f32), 1.0).roof, "");
}

TEST(Cases, ComparisonFindsWhatIsOff) {
  const std::vector<double> expected = {1.0, -1.0, 1.0, -1.0};
  EXPECT_TRUE(compare_all("x", {1.0f, -1.0f, 1.001f, -1.0f}, expected, 1e-3).right);
  EXPECT_FALSE(compare_all("x", {1.0f, -1.0f, 1.1f, -1.0f}, expected, 1e-3).right);
  EXPECT_FALSE(compare_all("x", {1.0f, -1.0f, std::nanf(""), -1.0f}, expected, 1e-3).right);
  EXPECT_FALSE(compare_all("x", {1.0f}, expected, 1e-3).right);
  EXPECT_FALSE(compare_all("x", {}, {}, 1.0).right) << "nothing was compared";
  EXPECT_FALSE(compare_norms("x", {1.0f, 2.0f}, {1.0f, 2.3f}, 0.1).right);
  EXPECT_TRUE(compare_norms("x", {1.0f, 2.0f}, {1.0f, 2.1f}, 0.1).right);
  const Tensor a = random_tensor({10}, DType::f32, Device{}, 1);
  EXPECT_TRUE(compare_bits("x", a, a.clone()).right);
  EXPECT_FALSE(compare_bits("x", a, random_tensor({10}, DType::f32, Device{}, 2)).right);
  EXPECT_EQ(all_of({{true, "a"}, {false, "b"}, {false, "c"}}).text, "b");
}

// Every map of a list is what some convolution of the list's networks puts out.
TEST(ShapeLists, AreWhatTheNetworksMake) {
  for (const std::string list : {"detector256", "unet64", "resnet18_224"}) {
    std::set<std::string> made;
    for (const UsedConv& conv : convs_of(list, {"s"}, {"s"}, Device{})) {
      made.insert(MapShape{conv.shape.out_h(), conv.shape.out_w(), conv.shape.k}.text());
    }
    const auto shapes = std::ranges::find(kShapeLists, list, &ShapeList::name);
    for (const MapShape& map : shapes->maps)
      EXPECT_TRUE(made.contains(map.text())) << list << " " << map.text();
  }
}

}  // namespace
}  // namespace ddpmts::bench
