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
  if (before != nullptr && before->timed()) c.before = before->hot.median;
  if (after != nullptr && after->timed()) c.after = after->hot.median;
  if (after != nullptr && after->status == Status::fail) {
    c.verdict = Verdict::broken;
  } else if (c.before == 0.0 || c.after == 0.0) {
    c.verdict = Verdict::only_one;
  } else {
    c.verdict = judge(before->hot, after->hot, allowed);
  }
  return c;
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
  std::size_t width = 4;
  for (const Comparison& c : comparisons) width = std::max(width, c.name.size());
  text += fmt::format("\n| {:{}} | before | after | change | verdict |\n|{:-<{}}|---|---|---|---|\n", "case",
                      width, "", width + 2);
  for (const Comparison& c : comparisons) {
    const std::string change =
        c.before > 0.0 && c.after > 0.0 ? fmt::format("{:+.1f} %", 100.0 * (c.after / c.before - 1.0)) : "";
    text += fmt::format("| {:{}} | {} | {} | {} | {} |\n", c.name, width, time_text(c.before),
                        time_text(c.after), change, name_of(c.verdict));
  }
  text += "\n";
  for (const Verdict verdict : kVerdicts) {
    const auto count = std::ranges::count(comparisons, verdict, &Comparison::verdict);
    text += fmt::format("{}{} {}", verdict == Verdict::same ? "" : ", ", count, name_of(verdict));
  }
  return text + "\n";
}

}  // namespace ddpmts::bench
