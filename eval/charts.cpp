#include "eval/charts.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <vector>

namespace ddpmts::eval {
namespace {

constexpr int bin_count = 40;

struct HistogramRow {
  const char* name;
  const char* style;  // a class of the page's style sheet
  std::array<int, bin_count> bins{};
  int pictures = 0;
};

std::vector<HistogramRow> count_bins(std::span<const PictureResult> pictures) {
  std::vector<HistogramRow> rows = {{"Good", "good"}, {"Defective", "bad"}, {"No label", "plain"}};
  for (const PictureResult& picture : pictures) {
    if (!picture.error.empty()) continue;
    HistogramRow& row = rows[!picture.defective ? 2 : *picture.defective ? 1 : 0];
    // Bin 20 starts at the threshold, so a bar never mixes verdicts.
    ++row.bins[std::clamp(static_cast<int>(picture.score * bin_count), 0, bin_count - 1)];
    ++row.pictures;
  }
  std::erase_if(rows, [](const HistogramRow& row) { return row.pictures == 0; });
  return rows;
}

}  // namespace

std::string score_histogram_svg(std::span<const PictureResult> pictures) {
  const std::vector<HistogramRow> rows = count_bins(pictures);
  if (rows.empty()) return "";
  constexpr int left = 12;
  constexpr int width = 456;
  constexpr int title_height = 22;
  constexpr int bar_height = 92;
  constexpr int row_height = title_height + bar_height + 8;
  constexpr int top = 20;
  const int bottom = top + static_cast<int>(rows.size()) * row_height;
  const auto x_of = [](double value) { return left + width * value; };

  std::string svg =
      fmt::format("<svg viewBox=\"0 0 480 {}\" role=\"img\" aria-label=\"Histogram of normalised scores\">\n",
                  bottom + 38);
  auto out = std::back_inserter(svg);
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const HistogramRow& row = rows[r];
    const int y0 = top + static_cast<int>(r) * row_height;
    const int base = y0 + title_height + bar_height;
    const int tallest = *std::max_element(row.bins.begin(), row.bins.end());
    fmt::format_to(out, "<text class=\"{}\" x=\"{}\" y=\"{}\">{}: {} picture{}</text>\n", row.style, left,
                   y0 + 15, row.name, row.pictures, row.pictures == 1 ? "" : "s");
    fmt::format_to(out, "<text class=\"faint\" x=\"{}\" y=\"{}\" text-anchor=\"end\">tallest bar {}</text>\n",
                   left + width, y0 + 15, tallest);
    for (int bin = 0; bin < bin_count; ++bin) {
      if (row.bins[bin] == 0) continue;
      // A single picture among hundreds must stay visible: never below 2 units.
      const double height = std::max(2.0, static_cast<double>(bar_height) * row.bins[bin] / tallest);
      const double low = static_cast<double>(bin) / bin_count;
      fmt::format_to(out,
                     "<rect class=\"{}\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\">"
                     "<title>{:.3f} to {:.3f}: {}</title></rect>\n",
                     row.style, x_of(low) + 0.5, base - height, static_cast<double>(width) / bin_count - 1,
                     height, low, low + 1.0 / bin_count, row.bins[bin]);
    }
    fmt::format_to(out, "<line class=\"axis\" x1=\"{}\" x2=\"{}\" y1=\"{}\" y2=\"{}\"/>\n", left,
                   left + width, base, base);
  }
  const double middle = x_of(0.5);
  fmt::format_to(out, "<line class=\"threshold\" x1=\"{0}\" x2=\"{0}\" y1=\"{1}\" y2=\"{2}\"/>\n", middle,
                 top, bottom);
  fmt::format_to(out, "<text x=\"{}\" y=\"14\" text-anchor=\"end\">judged good \xE2\x86\x90</text>\n",
                 middle - 6);
  fmt::format_to(out, "<text x=\"{}\" y=\"14\">\xE2\x86\x92 judged defective</text>\n", middle + 6);
  for (const double tick : {0.0, 0.25, 0.5, 0.75, 1.0}) {
    const char* anchor = tick == 0.0 ? "start" : tick == 1.0 ? "end" : "middle";
    fmt::format_to(out, "<text class=\"faint\" x=\"{}\" y=\"{}\" text-anchor=\"{}\">{}</text>\n", x_of(tick),
                   bottom + 15, anchor, tick);
  }
  fmt::format_to(
      out, "<text class=\"faint\" x=\"{}\" y=\"{}\" text-anchor=\"middle\">normalised score</text>\n</svg>\n",
      middle, bottom + 32);
  return svg;
}

std::string roc_svg(std::span<const RocPoint> points, const Confusion& confusion) {
  if (points.empty()) return "";
  constexpr double left = 46;
  constexpr double top = 10;
  constexpr double size = 260;
  const auto x_of = [](double rate) { return left + size * rate; };
  const auto y_of = [](double rate) { return top + size * (1 - rate); };
  std::string svg = "<svg viewBox=\"0 0 320 316\" role=\"img\" aria-label=\"ROC curve\">\n";
  auto out = std::back_inserter(svg);
  for (const double tick : {0.0, 0.25, 0.5, 0.75, 1.0}) {
    fmt::format_to(out, "<line class=\"grid\" x1=\"{}\" x2=\"{}\" y1=\"{}\" y2=\"{}\"/>\n", x_of(tick),
                   x_of(tick), y_of(0), y_of(1));
    fmt::format_to(out, "<line class=\"grid\" x1=\"{}\" x2=\"{}\" y1=\"{}\" y2=\"{}\"/>\n", x_of(0), x_of(1),
                   y_of(tick), y_of(tick));
    fmt::format_to(out, "<text class=\"faint\" x=\"{}\" y=\"{}\" text-anchor=\"middle\">{:.0f}</text>\n",
                   x_of(tick), y_of(0) + 15, 100 * tick);
    fmt::format_to(out, "<text class=\"faint\" x=\"{}\" y=\"{}\" text-anchor=\"end\">{:.0f}</text>\n",
                   x_of(0) - 5, y_of(tick) + 4, 100 * tick);
  }
  fmt::format_to(out, "<line class=\"chance\" x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\"/>\n", x_of(0), y_of(0),
                 x_of(1), y_of(1));
  svg += "<polyline class=\"curve\" points=\"";
  for (const RocPoint& point : points) {
    fmt::format_to(out, "{:.2f},{:.2f} ", x_of(point.false_positive_rate), y_of(point.true_positive_rate));
  }
  svg += "\"/>\n";
  const double good = confusion.false_alarms + confusion.good_passed;
  const double defective = confusion.defects_found + confusion.defects_missed;
  if (good > 0 && defective > 0) {
    fmt::format_to(out,
                   "<circle class=\"working\" cx=\"{:.2f}\" cy=\"{:.2f}\" r=\"6\"><title>at the threshold in "
                   "use</title></circle>\n",
                   x_of(confusion.false_alarms / good), y_of(confusion.defects_found / defective));
  }
  fmt::format_to(out,
                 "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">false alarms, % of good pictures</text>\n",
                 x_of(0.5), y_of(0) + 34);
  fmt::format_to(out,
                 "<text x=\"12\" y=\"{0}\" text-anchor=\"middle\" transform=\"rotate(-90 12 {0})\">"
                 "defects found, %</text>\n</svg>\n",
                 y_of(0.5));
  return svg;
}

}  // namespace ddpmts::eval
