#include "bench/options.h"

#include <gtest/gtest.h>

namespace ddpmts::bench {
namespace {

Options parsed(const std::vector<std::string>& arguments) { return parse_options(arguments); }

void expect_refused(const std::vector<std::string>& arguments, const std::string& part) {
  try {
    parsed(arguments);
  } catch (const UsageError& e) {
    EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << e.what();
    return;
  }
  ADD_FAILURE() << arguments[0] << " was taken";
}

TEST(Options, ValuesMayFollowOrBeAttached) {
  const Options options =
      parsed({"--filter", "conv", "--json=out.json", "--device=all", "--quick", "--seconds", "2"});
  EXPECT_EQ(options.filter, "conv");
  EXPECT_EQ(options.json, "out.json");
  EXPECT_EQ(options.device, DeviceChoice::all);
  EXPECT_TRUE(options.quick);
  EXPECT_FALSE(options.list);
  EXPECT_DOUBLE_EQ(options.seconds, 2.0);
}

TEST(Options, GoogleBenchmarksFlagsGoOnOrMeanOurs) {
  const Options options =
      parsed({"--benchmark_repetitions=3", "--benchmark_filter=teacher", "--benchmark_format=json"});
  EXPECT_EQ(options.google,
            (std::vector<std::string>{"--benchmark_repetitions=3", "--benchmark_format=json"}));
  EXPECT_EQ(options.filter, "teacher");
  EXPECT_TRUE(options.google_prints);
}

TEST(Options, UnknownOnesAreRefusedWithTheNearest) {
  expect_refused({"--filtr", "x"}, "did you mean --filter?");
  expect_refused({"--benchmark_repetition=3"}, "did you mean --benchmark_repetitions?");
  expect_refused({"--something_else_entirely"}, "--help");
  expect_refused({"kernels"}, "--filter kernels");
  expect_refused({"--filter"}, "needs a value");
  expect_refused({"--quick=1"}, "takes no value");
  expect_refused({"--device", "gpu"}, "cpu, cuda or all");
  expect_refused({"--seconds", "-1"}, "seconds");
}

TEST(Options, AProfilersRunMeasuresNothing) {
  EXPECT_FALSE(parsed({}).profile);
  const Options options = parsed({"--profile", "--quick", "--filter", "x"});
  EXPECT_TRUE(options.profile);
  EXPECT_TRUE(options.quick);
  expect_refused({"--profile", "--json", "x.json"}, "leave --json away");
  expect_refused({"--csv=x.csv", "--profile"}, "leave --csv away");
  expect_refused({"--profile", "--split"}, "leave --split away");
  expect_refused({"--profile", "--seconds", "1"}, "leave --seconds away");
  expect_refused({"--profile", "--against", "onednn"}, "leave --against onednn away");
  expect_refused({"--profile", "--benchmark_repetitions=2"}, "Google Benchmark");
  expect_refused({"--profile=all"}, "takes no value");
}

TEST(Options, ConvolutionsCanBeHeldAgainstOnednn) {
  EXPECT_FALSE(parsed({"--quick"}).against_onednn);
  EXPECT_TRUE(parsed({"--against", "onednn"}).against_onednn);
  expect_refused({"--against", "torch"}, "versus.sh");
  expect_refused({"--against"}, "needs a value");
}

TEST(Options, GraphsOnAndOff) {
  EXPECT_TRUE(parsed({"--device", "cuda"}).sweep.graph.empty());
  EXPECT_EQ(parsed({"--graph", "on,off", "--device", "cuda"}).sweep.graph, (std::vector<bool>{true, false}));
  EXPECT_EQ(parsed({"--device=all", "--graph=off"}).sweep.graph, std::vector<bool>{false});
  expect_refused({"--graph", "on", "--device", "cpu"}, "no graphs on the CPU");
  expect_refused({"--graph", "on,off"}, "--device cuda");
  for (const char* value : {"", "yes", "on,", "on;off"}) {
    expect_refused({"--device", "cuda", "--graph", value}, "on, off or on,off");
  }
  expect_refused({"--graphs"}, "did you mean --graph?");
}

TEST(Options, NearestCountsEdits) {
  const std::vector<std::string> words = {"batch", "size", "precision"};
  EXPECT_EQ(nearest("bacth", words), "batch");
  EXPECT_EQ(nearest("sizes", words), "size");
  EXPECT_EQ(nearest("prezision", words), "precision");
  EXPECT_EQ(nearest("temperature", words), "");
  EXPECT_EQ(nearest("x", {}), "");
}

TEST(Options, SetFillsTheSweep) {
  const Options options = parsed({"--set", "batch=1,8,32", "--set=shapes=odd,unet64", "--precision", "f32",
                                  "--set", "size=128", "--set", "head=s,l", "--set", "unet=xs"});
  EXPECT_EQ(options.sweep.batch, (std::vector<std::int64_t>{1, 8, 32}));
  EXPECT_EQ(options.sweep.shapes, (std::vector<std::string>{"odd", "unet64"}));
  EXPECT_EQ(options.sweep.precision, std::vector{DType::f32});
  EXPECT_EQ(options.sweep.size, std::vector<std::int64_t>{128});
  EXPECT_EQ(options.sweep.head, (std::vector<std::string>{"s", "l"}));
  EXPECT_EQ(options.sweep.unet, std::vector<std::string>{"xs"});
  EXPECT_EQ(parsed({"--set", "batch=1", "--set", "batch=2"}).sweep.batch, std::vector<std::int64_t>{2});
}

TEST(Options, SetRefusesWhatMakesNoSense) {
  expect_refused({"--set", "bacth=1"}, "did you mean batch?");
  expect_refused({"--set", "batch"}, "KEY=V1,V2");
  expect_refused({"--set", "batch="}, "KEY=V1,V2");
  expect_refused({"--set", "batch=1,,2"}, "''");
  expect_refused({"--set", "batch=0"}, "'0'");
  expect_refused({"--set", "batch=8x"}, "'8x'");
  expect_refused({"--set", "batch=99999999999999999999"}, "whole number");
  expect_refused({"--set", "size=100"}, "multiple of 32");
  expect_refused({"--set", "precision=f16"}, "f32, bf16");
  expect_refused({"--set", "shapes=unet65"}, "unet64");
}

TEST(Options, CompareTakesTwoFilesAndAShare) {
  const std::vector<std::string> arguments = {"a.json", "--fail-above", "5%", "b.json"};
  const CompareOptions options = parse_compare_options(arguments);
  EXPECT_EQ(options.before, "a.json");
  EXPECT_EQ(options.after, "b.json");
  EXPECT_DOUBLE_EQ(options.fail_above, 0.05);
  EXPECT_DOUBLE_EQ(parse_share("0.03"), 0.03);
  for (const char* text : {"", "%", "three", "3 %", "-1%", "100%", "nan"}) {
    EXPECT_THROW(parse_share(text), UsageError) << text;
  }
  for (const std::vector<std::string>& wrong : {std::vector<std::string>{"a.json"},
                                                {"a", "b", "c"},
                                                {"a", "b", "--fail"},
                                                {"a", "b", "--fail-above"}}) {
    EXPECT_THROW(parse_compare_options(wrong), UsageError);
  }
}

}  // namespace
}  // namespace ddpmts::bench
