#include "bench/table.h"

#include <fmt/format.h>

#include <array>
#include <cstring>
#include <vector>

namespace ddpmts::bench {
namespace {

// Three digits that count: 1.23, 12.3, 123.
std::string three_digits(double value) {
  return fmt::format("{:.{}f}", value, value < 9.995 ? 2 : value < 99.95 ? 1 : 0);
}

std::string number(double value) { return value > 0.0 ? three_digits(value) : std::string(); }

struct Column {
  const char* name;
  std::size_t width;
  std::string (*cell)(const Row& row);
};

std::vector<Column> columns_of(OptionalColumns optional) {
  std::vector<Column> columns = {
      {"median", 9, [](const Row& row) { return time_text(row.hot.median); }},
      {"spread", 7, [](const Row& row) { return "±" + share_text(row.hot.spread()); }}};
  if (optional.gpu) {
    columns.push_back({"GPU", 9, [](const Row& row) { return row.gpu ? time_text(row.gpu->median) : ""; }});
  }
  columns.insert(columns.end(),
                 {{"cold", 9, [](const Row& row) { return row.cold ? time_text(row.cold->median) : ""; }},
                  {"img/s", 8, [](const Row& row) { return number(row.pictures_per_second()); }},
                  {"GB/s", 7, [](const Row& row) { return number(row.bytes_per_second() / 1e9); }},
                  {"TFLOP/s", 8, [](const Row& row) { return number(row.flops_per_second() / 1e12); }},
                  {"of roof", 12,
                   [](const Row& row) {
                     return row.roof.empty() ? ""
                                             : fmt::format("{:.0f} % {}", 100.0 * row.roof_share, row.roof);
                   }},
                  {"peak", 9, [](const Row& row) { return bytes_text(row.peak_bytes); }}});
  if (optional.onednn) {
    columns.push_back(
        {"of oneDNN", 9, [](const Row& row) { return row.onednn ? share_text(row.of_onednn()) : ""; }});
  }
  return columns;
}

constexpr const char* kStatusColumn = "check";

}  // namespace

std::string time_text(double seconds) {
  if (seconds <= 0.0) return "";
  if (seconds < 1e-6) return three_digits(seconds * 1e9) + " ns";
  if (seconds < 1e-3) return three_digits(seconds * 1e6) + " µs";
  if (seconds < 1.0) return three_digits(seconds * 1e3) + " ms";
  return three_digits(seconds) + " s";
}

std::string amount_text(double amount, const std::string& unit) {
  if (amount <= 0.0) return "";
  constexpr std::array prefixes = {"", "k", "M", "G", "T", "P"};
  std::size_t prefix = 0;
  for (; amount >= 1000.0 && prefix + 1 < prefixes.size(); ++prefix) amount /= 1000.0;
  return three_digits(amount) + " " + prefixes[prefix] + unit;
}

std::string share_text(double share) { return fmt::format("{:.1f} %", 100.0 * share); }

std::string bytes_text(double bytes) {
  if (bytes <= 0.0) return "";
  constexpr std::array units = {"B", "KiB", "MiB", "GiB", "TiB"};
  std::size_t unit = 0;
  for (; bytes >= 1024.0 && unit + 1 < units.size(); ++unit) bytes /= 1024.0;
  return three_digits(bytes) + " " + units[unit];
}

std::string header_text(const Results& results) {
  std::string text = results.program + "\n";
  for (const auto& [key, value] : results.machine) text += fmt::format("{:<12}{}\n", key, value);
  for (const auto& [key, value] : results.roofs) {
    text += fmt::format("roof        {}: {}\n", key,
                        amount_text(value, key.find("product") == std::string::npos ? "B/s" : "FLOP/s"));
  }
  for (const std::string& warning : results.warnings) text += "WARNING     " + warning + "\n";
  return text;
}

std::string split_text(const Row& row) {
  if (row.parts.empty()) return "";
  double total = 0.0;
  for (const Part& part : row.parts) total += part.seconds;
  std::string text =
      fmt::format("\n{}\n\n| {:<32} | {:>6} | {:>9} | {:>7} |\n|{:-<34}|{:->7}:|{:->10}:|{:->8}:|\n",
                  row.name, "part", "calls", "time", "share", "", "", "", "");
  for (const Part& part : row.parts) {
    text += fmt::format("| {:<32} | {:>6} | {:>9} | {:>7} |\n", part.name,
                        part.calls > 0.0 ? three_digits(part.calls) : "", time_text(part.seconds),
                        share_text(part.seconds / total));
  }
  return text;
}

std::string MarkdownTable::heading() const {
  std::string text = fmt::format("| {:{}} | {} |", "case", name_width_, kStatusColumn);
  std::string rule = fmt::format("|{:-<{}}|{:->6}:|", "", name_width_ + 2, "");
  for (const Column& column : columns_of(optional_)) {
    text += fmt::format(" {:>{}} |", column.name, column.width);
    rule += fmt::format("{:->{}}:|", "", column.width + 1);
  }
  return text + "\n" + rule + "\n";
}

std::string MarkdownTable::line(const Row& row) const {
  std::string text = fmt::format("| {:{}} | {:>{}} |", row.name, name_width_, name_of(row.status),
                                 std::strlen(kStatusColumn));
  if (!row.timed()) return text + " " + row.check + "\n";
  for (const Column& column : columns_of(optional_))
    text += fmt::format(" {:>{}} |", column.cell(row), column.width);
  return text + "\n";
}

}  // namespace ddpmts::bench
