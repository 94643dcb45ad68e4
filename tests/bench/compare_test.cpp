#include "bench/compare.h"

#include <gtest/gtest.h>

#include "tests/bench/results_test.h"

namespace ddpmts::bench {
namespace {

Verdict judged(double before, double before_spread, double after, double after_spread,
               double allowed = 0.03) {
  return judge(timed_row("x", before, before_spread).hot, timed_row("x", after, after_spread).hot, allowed);
}

TEST(Compare, JudgesByMediansAndIntervals) {
  EXPECT_EQ(judged(1.0, 0.01, 1.0, 0.01), Verdict::same);
  EXPECT_EQ(judged(1.0, 0.001, 1.029, 0.001), Verdict::same) << "apart, but within what is allowed";
  EXPECT_EQ(judged(1.0, 0.5, 1.01, 0.5), Verdict::same) << "noisy, but the medians agree";
  EXPECT_EQ(judged(1.0, 0.01, 1.05, 0.01), Verdict::slower);
  EXPECT_EQ(judged(1.0, 0.01, 0.95, 0.01), Verdict::faster);
  EXPECT_EQ(judged(1.0, 0.04, 1.05, 0.01), Verdict::too_noisy) << "[.96, 1.04] and [1.04, 1.06] touch";
  EXPECT_EQ(judged(1.0, 0.01, 0.9, 0.2), Verdict::too_noisy);
  EXPECT_EQ(judged(1.0, 0.01, 1.05, 0.01, 0.1), Verdict::same);
}

TEST(Compare, MatchesRowsByName) {
  Row failed = timed_row("d", 1.0);
  failed.status = Status::fail;
  const Results before =
      run_of({timed_row("a", 1.0), timed_row("b", 1.0), timed_row("c", 1.0), timed_row("d", 1.0)});
  const Results after = run_of({timed_row("b", 1.0), timed_row("a", 2.0), failed, timed_row("e", 1.0)});
  const std::vector<Comparison> result = compare(before, after, 0.03);
  ASSERT_EQ(result.size(), 5u);
  const std::pair<std::string, Verdict> expected[] = {{"b", Verdict::same},
                                                      {"a", Verdict::slower},
                                                      {"d", Verdict::broken},
                                                      {"e", Verdict::only_one},
                                                      {"c", Verdict::only_one}};
  for (std::size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(result[i].name, expected[i].first);
    EXPECT_EQ(result[i].verdict, expected[i].second) << name_of(result[i].verdict);
  }
  const std::string text = comparison_text(before, after, result);
  EXPECT_NE(text.find("+100.0 %"), std::string::npos) << text;
  EXPECT_NE(text.find("1 same, 0 faster, 1 slower, 0 too noisy, 1 broken, 2 in one run only"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("1.00 s ±1.0 %"), std::string::npos) << text;
  EXPECT_NE(text.find("1 of 2 agree (50.0 %)"), std::string::npos) << text;
  EXPECT_NE(text.find("  +100.0 %  a\n"), std::string::npos) << text;
}

TEST(Compare, WhatIsApartByNoMoreThanItsSpreadAgrees) {
  std::vector<Row> before, after;
  for (int i = 0; i < 9; ++i) {
    before.push_back(timed_row("row" + std::to_string(i), 1.0, 0.5));
    after.push_back(timed_row("row" + std::to_string(i), i == 0 ? 1.4 : i < 8 ? 4.0 + i : 0.095, 0.01));
  }
  const Results a = run_of(before), b = run_of(after);
  const std::string text = comparison_text(a, b, compare(a, b, 0.03));
  EXPECT_NE(text.find("1 of 9 agree (11.1 %)"), std::string::npos) << text;
  const std::size_t listed = text.find("  +1000.0 %  row7\n");
  ASSERT_NE(listed, std::string::npos) << text;
  EXPECT_NE(text.find("  -90.5 %  row8\n  +900.0 %  row6\n  +800.0 %  row5\n"), std::string::npos) << text;
  EXPECT_EQ(text.find("  +400.0 %"), std::string::npos) << "the farthest five: " << text;
}

TEST(Compare, OnlySlowerAndBrokenRowsAreWorse) {
  const auto of = [](Verdict verdict) { return std::vector<Comparison>{{"x", verdict, 1.0, 1.0}}; };
  EXPECT_TRUE(is_worse(of(Verdict::slower)));
  EXPECT_TRUE(is_worse(of(Verdict::broken)));
  for (const Verdict verdict : {Verdict::same, Verdict::faster, Verdict::too_noisy, Verdict::only_one}) {
    EXPECT_FALSE(is_worse(of(verdict))) << name_of(verdict);
  }
  EXPECT_FALSE(is_worse({}));
}

TEST(Compare, SaysWhereTheMachinesDiffer) {
  Results before = run_of({}), after = run_of({});
  before.machine = {{"processor", "old"}, {"memory", "1 GiB"}};
  after.machine = {{"processor", "new"}, {"memory", "1 GiB"}};
  const std::string text = comparison_text(before, after, {});
  EXPECT_NE(text.find("processor: old → new"), std::string::npos);
  EXPECT_EQ(text.find("memory"), std::string::npos);
  EXPECT_EQ(text.find("agree"), std::string::npos) << "nothing was timed: " << text;
  after.warnings = {"cores were busy"};
  EXPECT_NE(comparison_text(before, after, {}).find("WARNING after: cores were busy\n"), std::string::npos);
}

}  // namespace
}  // namespace ddpmts::bench
