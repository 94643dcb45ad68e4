#include "bench/compare.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "bench/table.h"

namespace ddpmts::bench {
namespace {

constexpr std::array kVerdicts = {Verdict::same,      Verdict::faster, Verdict::slower,
                                  Verdict::too_noisy, Verdict::broken, Verdict::only_one};

Comparison compared(const Row* before, const Row* after, double allowed) {
  Comparison c;
  c.name = after != nullptr ? after->name : before->name;
  if (before != nullptr && before->timed()) {
    c.before = before->hot.median;
    c.before_spread = before->hot.spread();
  }
  if (after != nullptr && after->timed()) {
    c.after = after->hot.median;
    c.after_spread = after->hot.spread();
  }
  if (after != nullptr && after->status == Status::fail) {
    c.verdict = Verdict::broken;
  } else if (c.before == 0.0 || c.after == 0.0) {
    c.verdict = Verdict::only_one;
  } else {
    c.verdict = judge(before->hot, after->hot, allowed);
  }
  return c;
}

double change_of(const Comparison& c) { return c.after / c.before - 1.0; }

std::string timed_text(double median, double spread) {
  return median > 0.0 ? fmt::format("{} ±{}", time_text(median), share_text(spread)) : "";
}

// How many of the rows timed in both runs agree, and which of the others are farthest apart.
std::string agreement_text(std::vector<Comparison> comparisons) {
  constexpr std::size_t kShown = 5;
  std::erase_if(comparisons, [](const Comparison& c) { return c.before == 0.0 || c.after == 0.0; });
  if (comparisons.empty()) return "";
  const std::size_t all = comparisons.size();
  std::erase_if(comparisons, [](const Comparison& c) {
    return c.verdict == Verdict::same || c.verdict == Verdict::too_noisy;
  });
  const std::size_t agree = all - comparisons.size();
  std::string text =
      fmt::format("{} of {} agree ({}): the same, or apart by no more than their spreads\n", agree, all,
                  share_text(static_cast<double>(agree) / static_cast<double>(all)));
  std::ranges::sort(comparisons, std::ranges::greater{},
                    [](const Comparison& c) { return std::abs(std::log(c.after / c.before)); });
  if (comparisons.size() > kShown) comparisons.resize(kShown);
  for (const Comparison& c : comparisons)
    text += fmt::format("  {:+.1f} %  {}\n", 100.0 * change_of(c), c.name);
  return text;
}

}  // namespace

const char* name_of(Verdict verdict) {
  constexpr const char* names[] = {"same", "faster", "slower", "too noisy", "broken", "in one run only"};
  return names[static_cast<int>(verdict)];
}

Verdict judge(const Summary& before, const Summary& after, double allowed) {
  if (std::abs(after.median - before.median) <= allowed * before.median) return Verdict::same;
  if (after.low <= before.high && before.low <= after.high) return Verdict::too_noisy;
  return after.median < before.median ? Verdict::faster : Verdict::slower;
}

std::vector<Comparison> compare(const Results& before, const Results& after, double allowed) {
  const auto find = [](const Results& results, const std::string& name) -> const Row* {
    const auto row = std::ranges::find(results.rows, name, &Row::name);
    return row == results.rows.end() ? nullptr : &*row;
  };
  std::vector<Comparison> comparisons;
  for (const Row& row : after.rows) comparisons.push_back(compared(find(before, row.name), &row, allowed));
  for (const Row& row : before.rows) {
    if (find(after, row.name) == nullptr) comparisons.push_back(compared(&row, nullptr, allowed));
  }
  return comparisons;
}

bool is_worse(const std::vector<Comparison>& comparisons) {
  return std::ranges::any_of(comparisons, [](const Comparison& c) {
    return c.verdict == Verdict::slower || c.verdict == Verdict::broken;
  });
}

std::string comparison_text(const Results& before, const Results& after,
                            const std::vector<Comparison>& comparisons) {
  std::string text;
  if (before.program != after.program)
    text += fmt::format("program: {} → {}\n", before.program, after.program);
  for (const auto& [key, value] : after.machine) {
    const auto old = std::ranges::find(before.machine, key, &std::pair<std::string, std::string>::first);
    if (old == before.machine.end() || old->second == value) continue;
    text += fmt::format("{}: {} → {}\n", key, old->second, value);
  }
  for (const std::string& warning : before.warnings) text += "WARNING before: " + warning + "\n";
  for (const std::string& warning : after.warnings) text += "WARNING after: " + warning + "\n";
  std::size_t width = 4;
  for (const Comparison& c : comparisons) width = std::max(width, c.name.size());
  text += fmt::format("\n| {:{}} | before | after | change | verdict |\n|{:-<{}}|---|---|---|---|\n", "case",
                      width, "", width + 2);
  for (const Comparison& c : comparisons) {
    const std::string change =
        c.before > 0.0 && c.after > 0.0 ? fmt::format("{:+.1f} %", 100.0 * change_of(c)) : "";
    text +=
        fmt::format("| {:{}} | {} | {} | {} | {} |\n", c.name, width, timed_text(c.before, c.before_spread),
                    timed_text(c.after, c.after_spread), change, name_of(c.verdict));
  }
  text += "\n";
  for (const Verdict verdict : kVerdicts) {
    const auto count = std::ranges::count(comparisons, verdict, &Comparison::verdict);
    text += fmt::format("{}{} {}", verdict == Verdict::same ? "" : ", ", count, name_of(verdict));
  }
  return text + "\n" + agreement_text(comparisons);
}

}  // namespace ddpmts::bench
