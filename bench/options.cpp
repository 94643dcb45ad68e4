#include "bench/options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <functional>
#include <numeric>

#include "bench/shapes.h"

namespace ddpmts::bench {
namespace {

template <class... Args>
[[noreturn]] void refuse(fmt::format_string<Args...> format, Args&&... args) {
  throw UsageError(fmt::format(format, std::forward<Args>(args)...));
}

std::vector<std::string> split(std::string_view text) {
  std::vector<std::string> parts;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    parts.emplace_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

struct Option {
  std::string name;
  std::string value;  ///< what the help calls its value; empty: takes none
  std::string help;
  std::function<void(Options&, const std::string&)> apply;
};

double parse_seconds(const std::string& text) {
  double seconds = 0.0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, seconds);
  if (error != std::errc() || stop != end || !(seconds > 0.0 && seconds <= 3600.0)) {
    refuse("'{}' is no time: expected seconds, such as 0.5", text);
  }
  return seconds;
}

DeviceChoice parse_device(const std::string& text) {
  if (text == "cpu") return DeviceChoice::cpu;
  if (text == "cuda") return DeviceChoice::cuda;
  if (text == "all") return DeviceChoice::all;
  refuse("--device {}: expected cpu, cuda or all", text);
}

void parse_against(Options& options, const std::string& text) {
  if (text != "onednn") refuse("--against {}: expected onednn (bench/versus.sh compares with PyTorch)", text);
  options.against_onednn = true;
}

void parse_graph(Options& options, const std::string& text) {
  options.sweep.graph.clear();
  for (const std::string& value : split(text)) {
    if (value != "on" && value != "off") refuse("--graph {}: expected on, off or on,off", text);
    options.sweep.graph.push_back(value == "on");
  }
}

// A profiler's run is not a measurement: what asks for one does not go with it.
void refuse_measuring(const Options& options) {
  const std::pair<const char*, bool> others[] = {{"--json", !options.json.empty()},
                                                 {"--csv", !options.csv.empty()},
                                                 {"--split", options.split},
                                                 {"--seconds", options.seconds > 0.0},
                                                 {"--against onednn", options.against_onednn},
                                                 {"Google Benchmark's flags", !options.google.empty()}};
  for (const auto& [name, given] : others) {
    if (given) refuse("--profile runs each case once and times nothing: leave {} away", name);
  }
}

const std::vector<Option>& options_table() {
  using Text = const std::string&;
  static const std::vector<Option> table = {
      {"--device", "cpu|cuda|all", "where to run (cpu)",
       [](Options& o, Text v) { o.device = parse_device(v); }},
      {"--filter", "REGEX", "only cases in whose names this is found",
       [](Options& o, Text v) { o.filter = v; }},
      {"--list", "", "print the cases' names and stop", [](Options& o, Text) { o.list = true; }},
      {"--set", "KEY=V1,V2", "sweep batch, size, precision, shapes, head or unet; may be repeated",
       [](Options& o, Text v) { parse_set(v, o.sweep); }},
      {"--precision", "f32|bf16", "short for --set precision=…",
       [](Options& o, Text v) { parse_set("precision=" + v, o.sweep); }},
      {"--quick", "", "a selection of the cases, timed briefly: under two minutes on a CPU",
       [](Options& o, Text) { o.quick = true; }},
      {"--split", "", "also show where the time of each case goes, kernel by kernel",
       [](Options& o, Text) { o.split = true; }},
      {"--against", "onednn", "also time the CPU's convolutions by oneDNN alone, in turns with ours",
       [](Options& o, Text v) { parse_against(o, v); }},
      {"--profile", "", "run each case once, checked and warmed up, between cudaProfilerStart and -Stop",
       [](Options& o, Text) { o.profile = true; }},
      {"--graph", "on,off",
       "on a GPU: training steps and inspections as CUDA graphs (on), or kernel by kernel",
       [](Options& o, Text v) { parse_graph(o, v); }},
      {"--seconds", "S", "time each case for this long (0.5, with --quick 0.1)",
       [](Options& o, Text v) { o.seconds = parse_seconds(v); }},
      {"--json", "FILE", "write everything that was measured", [](Options& o, Text v) { o.json = v; }},
      {"--csv", "FILE", "write the rows", [](Options& o, Text v) { o.csv = v; }},
      {"--help", "", "this text", [](Options& o, Text) { o.help = true; }},
      // Google Benchmark's flags that mean the same here as one of ours.
      {"--benchmark_filter", "REGEX", "", [](Options& o, Text v) { o.filter = v; }},
      {"--benchmark_list_tests", "BOOL", "", [](Options& o, Text v) { o.list = v != "false" && v != "0"; }},
      {"--benchmark_min_time", "S", "", [](Options& o, Text v) { o.seconds = parse_seconds(v); }},
  };
  return table;
}

// Google Benchmark's own flags (version 1.7) that keep their meaning: they are handed on as they are.
const std::vector<std::string>& google_flags() {
  static const std::vector<std::string> flags = {"--benchmark_repetitions",
                                                 "--benchmark_format",
                                                 "--benchmark_out",
                                                 "--benchmark_out_format",
                                                 "--benchmark_color",
                                                 "--benchmark_counters_tabular",
                                                 "--benchmark_perf_counters",
                                                 "--benchmark_context",
                                                 "--benchmark_time_unit",
                                                 "--benchmark_enable_random_interleaving",
                                                 "--benchmark_report_aggregates_only",
                                                 "--benchmark_display_aggregates_only",
                                                 "--v"};
  return flags;
}

std::vector<std::string> known_names() {
  std::vector<std::string> names;
  for (const Option& option : options_table()) names.push_back(option.name);
  names.insert(names.end(), google_flags().begin(), google_flags().end());
  return names;
}

[[noreturn]] void refuse_unknown(std::string_view what, std::string_view word,
                                 std::span<const std::string> candidates) {
  const std::string guess = nearest(word, candidates);
  if (guess.empty()) refuse("{} {} is not known; see ddpmts_bench --help", what, word);
  refuse("{} {} is not known; did you mean {}?", what, word, guess);
}

std::int64_t parse_count(std::string_view key, const std::string& text, std::int64_t least, std::int64_t most,
                         std::int64_t multiple) {
  std::int64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stop != end || value < least || value > most || value % multiple != 0) {
    refuse("--set {}: '{}' is not {} from {} to {}", key, text,
           multiple > 1 ? fmt::format("a multiple of {}", multiple) : "a whole number", least, most);
  }
  return value;
}

std::string parse_choice(std::string_view key, const std::string& text,
                         const std::vector<std::string>& choices) {
  if (std::ranges::find(choices, text) != choices.end()) return text;
  refuse("--set {}: '{}' is not one of {}", key, text, fmt::join(choices, ", "));
}

}  // namespace

std::string nearest(std::string_view word, std::span<const std::string> candidates) {
  std::string best;
  std::size_t least = std::max<std::size_t>(2, word.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    std::vector<std::size_t> row(candidate.size() +
                                 1);  // distances of a prefix of word to each prefix of candidate
    std::iota(row.begin(), row.end(), std::size_t{0});
    for (std::size_t i = 1; i <= word.size(); ++i) {
      std::size_t diagonal = row[0];
      row[0] = i;
      for (std::size_t j = 1; j <= candidate.size(); ++j) {
        const std::size_t replaced = diagonal + (word[i - 1] == candidate[j - 1] ? 0 : 1);
        diagonal = row[j];
        row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
      }
    }
    if (row.back() < least) {
      least = row.back();
      best = candidate;
    }
  }
  return best;
}

void parse_set(std::string_view text, Sweep& sweep) {
  static const std::vector<std::string> keys = {"batch", "size", "precision", "shapes", "head", "unet"};
  const std::size_t equals = text.find('=');
  if (equals == std::string_view::npos || equals + 1 == text.size()) {
    refuse("--set {}: expected KEY=V1,V2, such as batch=1,8,32", text);
  }
  const std::string key(text.substr(0, equals));
  if (std::ranges::find(keys, key) == keys.end()) refuse_unknown("--set key", key, keys);
  const std::vector<std::string> values = split(text.substr(equals + 1));
  if (key == "batch") sweep.batch.clear();
  if (key == "size") sweep.size.clear();
  if (key == "precision") sweep.precision.clear();
  if (key == "shapes") sweep.shapes.clear();
  if (key == "head") sweep.head.clear();
  if (key == "unet") sweep.unet.clear();
  for (const std::string& value : values) {
    if (key == "batch") sweep.batch.push_back(parse_count(key, value, 1, 4096, 1));
    if (key == "size") sweep.size.push_back(parse_count(key, value, 32, 4096, 32));
    if (key == "precision") {
      sweep.precision.push_back(parse_choice(key, value, {"f32", "bf16"}) == "f32" ? DType::f32
                                                                                   : DType::bf16);
    }
    if (key == "shapes") {
      std::vector<std::string> lists;
      for (const ShapeList& list : kShapeLists) lists.emplace_back(list.name);
      sweep.shapes.push_back(parse_choice(key, value, lists));
    }
    if (key == "head") sweep.head.push_back(parse_choice(key, value, {"s", "m", "l"}));
    if (key == "unet") sweep.unet.push_back(parse_choice(key, value, {"xs", "s", "m"}));
  }
}

double parse_share(std::string_view text) {
  std::string_view number = text;
  const bool percent = number.ends_with('%');
  if (percent) number.remove_suffix(1);
  double share = 0.0;
  const auto [stop, error] = std::from_chars(number.data(), number.data() + number.size(), share);
  if (percent) share /= 100.0;
  if (error != std::errc() || stop != number.data() + number.size() || !(share >= 0.0 && share < 1.0)) {
    refuse("--fail-above {}: expected a share of the time below 100%, such as 3%", text);
  }
  return share;
}

Options parse_options(std::span<const std::string> arguments) {
  Options options;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    const std::size_t equals = argument.find('=');
    const std::string name = argument.substr(0, equals);
    const auto& flags = google_flags();
    if (std::ranges::find(flags, name) != flags.end()) {
      options.google.push_back(argument);
      options.google_prints |= name == "--benchmark_format";
      continue;
    }
    const auto option = std::ranges::find(options_table(), name, &Option::name);
    if (option == options_table().end()) {
      if (!argument.starts_with('-'))
        refuse("'{}' is no option; did you mean --filter {}?", argument, argument);
      refuse_unknown("option", name, known_names());
    }
    if (option->value.empty()) {
      if (equals != std::string::npos) refuse("option {} takes no value", name);
      option->apply(options, "");
    } else if (equals != std::string::npos) {
      option->apply(options, argument.substr(equals + 1));
    } else {
      if (i + 1 == arguments.size()) refuse("option {} needs a value: {}", name, option->value);
      option->apply(options, arguments[++i]);
    }
  }
  if (options.profile) refuse_measuring(options);
  if (!options.sweep.graph.empty() && options.device == DeviceChoice::cpu) {
    refuse("--graph: there are no graphs on the CPU; give --device cuda too, or leave it away");
  }
  return options;
}

CompareOptions parse_compare_options(std::span<const std::string> arguments) {
  CompareOptions options;
  std::vector<std::string> files;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (argument.starts_with("--fail-above=")) {
      options.fail_above = parse_share(std::string_view(argument).substr(13));
    } else if (argument == "--fail-above") {
      if (i + 1 == arguments.size()) refuse("option --fail-above needs a value, such as 3%");
      options.fail_above = parse_share(arguments[++i]);
    } else if (argument.starts_with('-')) {
      const std::vector<std::string> known = {"--fail-above"};
      refuse_unknown("option", argument.substr(0, argument.find('=')), known);
    } else {
      files.push_back(argument);
    }
  }
  if (files.size() != 2) {
    refuse("compare takes two files, not {}: ddpmts_bench compare BEFORE.json AFTER.json [--fail-above 3%]",
           files.size());
  }
  options.before = files[0];
  options.after = files[1];
  return options;
}

std::string usage() {
  std::string text =
      "ddpmts_bench: how fast this machine computes, checked before it is timed. Needs no data and no "
      "weights.\n\n"
      "  ddpmts_bench [options]\n"
      "  ddpmts_bench compare BEFORE.json AFTER.json [--fail-above 3%]\n\n";
  for (const Option& option : options_table()) {
    if (option.help.empty()) continue;
    const std::string call = option.value.empty() ? option.name : option.name + " " + option.value;
    text += fmt::format("  {:<24}{}\n", call, option.help);
  }
  text += fmt::format("\nGoogle Benchmark's flags, such as --benchmark_repetitions=3: {}\n",
                      fmt::join(google_flags(), " "));
  text += "Exit code: 0 all right, 1 a case was wrong or slower than allowed, 2 called wrongly.\n";
  return text;
}

}  // namespace ddpmts::bench
