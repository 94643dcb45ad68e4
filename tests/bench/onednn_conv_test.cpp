// Convolutions by oneDNN alone: the same results as ours, timed in turns with ours, and summed up by network.
#include "bench/cases/onednn_conv.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>

#include "bench/cases/tools.h"
#include "bench/measure.h"
#include "bench/network_sums.h"
#include "engine/primitives.h"
#include "tests/bench/results_test.h"

namespace ddpmts::bench {
namespace {

constexpr Sampling kInTurns{
    .seconds = 1e-6, .least = 3, .most_seconds = 1.0, .cold = 0, .against_onednn = true};

// Our own three passes on the same arrays.
Tensor by_ours(const ConvShape& s, ConvPass pass, bool relu, const ConvTensors& t) {
  Parameter weight("weight", t.w.shape(), true, {});
  weight.value().copy_from(t.w.cast(DType::f32));
  weight.changed();
  const Tensor y = Tensor::empty(t.y.shape(), s.type, {}), dx = Tensor::empty(t.x.shape(), s.type, {});
  const Tensor dw = Tensor::empty(t.w.shape(), DType::f32, {}), dbias = Tensor::empty({s.k}, DType::f32, {});
  switch (pass) {
    case ConvPass::forward:
      conv_forward({}, s, t.x.raw(), weight, {t.bias.data<float>(), nullptr, relu}, y.raw());
      return y;
    case ConvPass::backward_data:
      conv_backward_data({}, s, t.y.raw(), weight, dx.raw());
      return dx;
    case ConvPass::backward_weights:
      break;
  }
  conv_backward_weights({}, s, t.x.raw(), t.y.raw(), dw.data<float>(), dbias.data<float>());
  return dw;
}

TEST(OnednnConv, GivesWhatOursGives) {
  std::vector<ConvShape> shapes = {
      {.n = 2, .h = 13, .w = 11, .c = 16, .k = 32, .r = 3, .s = 3, .padding = 1},
      {.n = 2, .h = 9, .w = 7, .c = 3, .k = 64, .r = 7, .s = 7, .stride = 2, .padding = 3},
      {.n = 1, .h = 8, .w = 8, .c = 65, .k = 33, .r = 1, .s = 1},
      {.n = 2, .h = 14, .w = 14, .c = 32, .k = 16, .r = 3, .s = 3, .padding = 6, .dilation = 6},
      {.n = 1, .h = 1, .w = 1, .c = 6, .k = 8, .r = 3, .s = 3, .stride = 2, .padding = 1}};
  for (ConvShape s : shapes) {
    for (const DType type : {DType::f32, DType::bf16}) {
      s.type = type;
      const ConvTensors tensors{random_tensor({s.n, s.h, s.w, s.c}, type, {}, 1),
                                random_tensor({s.k, s.r, s.s, s.c}, type, {}, 2),
                                random_tensor({s.n, s.out_h(), s.out_w(), s.k}, type, {}, 3),
                                random_tensor({s.k}, DType::f32, {}, 4)};
      for (const ConvPass pass : {ConvPass::forward, ConvPass::backward_data, ConvPass::backward_weights}) {
        for (const bool relu : {false, true}) {
          const OnednnConv alone = onednn_conv(s, pass, relu, tensors);
          alone.run();
          alone.run();
          const std::vector<float> ours = by_ours(s, pass, relu, tensors).to_floats();
          const Check check = compare_all("oneDNN alone", alone.result().to_floats(),
                                          {ours.begin(), ours.end()}, 2.0 * rounding(type));
          EXPECT_TRUE(check.right) << s.h << "x" << s.w << " " << s.c << "-" << s.k << " " << name_of(type)
                                   << " pass " << static_cast<int>(pass) << ": " << check.text;
        }
      }
    }
  }
}

TEST(OnednnConv, EveryConvolutionCaseOnTheCpuHasIt) {
  Sweep sweep;
  parse_set("shapes=odd", sweep);
  parse_set("batch=2", sweep);
  Cases cases;
  add_conv_cases(CasePlan(Device{}, sweep, false), cases);
  ASSERT_FALSE(cases.empty());
  for (const Case& c : cases) {
    EXPECT_TRUE(c.has_onednn_alone) << c.name;
    const Prepared prepared = c.prepare();
    ASSERT_TRUE(prepared.onednn_alone) << c.name;
    ASSERT_TRUE(prepared.check().right) << c.name;
    const Check check = prepared.onednn_alone().check();
    EXPECT_TRUE(check.right) << c.name << ": " << check.text;
  }
}

// What ran, in order: 'o' ours, 'a' oneDNN alone.
struct Turns {
  std::string order;
  bool rival_right = true;

  Case make() {
    Case c;
    c.name = "convs/made_up";
    c.prepare = [this] {
      Prepared p;
      p.run = [this] { work('o'); };
      p.check = [] { return Check{true, "y: off by 0"}; };
      p.onednn_alone = [this] {
        return Rival{[this] { work('a'); }, [this] { return Check{rival_right, "oneDNN alone: off by 3"}; }};
      };
      return p;
    };
    return c;
  }
  // Longer than the shortest sample, so that a sample is one run.
  void work(char who) {
    order += who;
    const auto start = std::chrono::steady_clock::now();
    while (std::chrono::steady_clock::now() - start < std::chrono::microseconds(300)) continue;
  }
};

TEST(OnednnConv, IsTimedInTurnsWithOurs) {
  Turns turns;
  const Row row = measure(turns.make(), Roofs(), kInTurns, 0.0);
  EXPECT_EQ(row.status, Status::ok);
  ASSERT_TRUE(row.onednn.has_value());
  EXPECT_EQ(row.hot.count, row.onednn->count);
  EXPECT_GT(row.of_onednn(), 0.0);
  // One run for the peak of memory, warm-ups of both, then turns of a run that is not timed and one that is.
  std::string expected = "oooaa";
  for (std::size_t i = 0; i < row.hot.count; ++i) expected += "ooaa";
  EXPECT_EQ(turns.order, expected);
}

TEST(OnednnConv, IsLeftAwayUnlessItIsAskedFor) {
  Turns turns;
  Sampling sampling = kInTurns;
  sampling.against_onednn = false;
  const Row row = measure(turns.make(), Roofs(), sampling, 0.0);
  EXPECT_EQ(row.status, Status::ok);
  EXPECT_FALSE(row.onednn.has_value());
  EXPECT_EQ(row.of_onednn(), 0.0);
  EXPECT_EQ(turns.order.find('a'), std::string::npos);
}

TEST(OnednnConv, AnotherResultIsAFailure) {
  Turns turns;
  turns.rival_right = false;
  const Row row = measure(turns.make(), Roofs(), kInTurns, 0.0);
  EXPECT_EQ(row.status, Status::fail);
  EXPECT_EQ(row.check, "oneDNN alone: off by 3");
  EXPECT_FALSE(row.timed());
}

Row conv_row(const std::string& conv, const std::string& pass, double ours, double onednn,
             std::map<std::string, std::int64_t> networks) {
  Row row = timed_row(conv + "/" + pass, ours);
  row.axes = {{"precision", "bf16"}, {"batch", "8"}, {"pass", pass}};
  row.command = row.name;
  row.onednn = Summary{10, onednn, onednn, onednn};
  row.networks = std::move(networks);
  return row;
}

TEST(NetworkSums, CountEveryShapeAsOftenAsTheNetworkRunsIt) {
  std::vector<Row> rows = {conv_row("a", "forward", 2.0, 1.0, {{"teacher/256", 3}, {"student/256", 1}}),
                           conv_row("b", "forward", 1.0, 1.0, {{"student/256", 2}}),
                           conv_row("a", "data_gradient", 10.0, 9.0, {{"student/256", 1}})};
  rows.push_back(rows[1]);  // a repetition
  rows.push_back(conv_row("c", "forward", 5.0, 5.0, {}));
  rows.push_back(timed_row("not against oneDNN", 1.0));
  rows.push_back(conv_row("d", "forward", 5.0, 5.0, {{"student/256", 1}}));
  rows.back().status = Status::fail;
  const std::vector<NetworkSum> sums = network_sums(rows);
  ASSERT_EQ(sums.size(), 2u);
  const auto student = std::ranges::find(sums, "student/256", &NetworkSum::network);
  const auto teacher = std::ranges::find(sums, "teacher/256", &NetworkSum::network);
  ASSERT_TRUE(student != sums.end() && teacher != sums.end());
  EXPECT_EQ(student->convolutions, 3);
  EXPECT_DOUBLE_EQ(student->passes.at("forward").ours, 2.0 + 2 * 1.0);
  EXPECT_DOUBLE_EQ(student->passes.at("forward").onednn, 1.0 + 2 * 1.0);
  EXPECT_DOUBLE_EQ(student->all().ours, 14.0);
  EXPECT_DOUBLE_EQ(student->all().onednn, 12.0);
  EXPECT_DOUBLE_EQ(teacher->all().ours, 6.0);
  EXPECT_EQ(teacher->passes.size(), 1u);
  const std::string text = network_sums_text(sums);
  EXPECT_NE(text.find("| student/256 bf16 b8"), std::string::npos) << text;
  EXPECT_NE(text.find("85.7 %"), std::string::npos) << text;
  EXPECT_EQ(network_sums_text({}), "");
}

}  // namespace
}  // namespace ddpmts::bench
