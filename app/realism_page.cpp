#include "app/realism_page.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "app/overlay.h"
#include "data/image_png.h"
#include "data/view.h"
#include "eval/base64.h"
#include "eval/report.h"
#include "eval/report_style.h"

namespace ddpmts::app {
namespace {

constexpr int kCropSide = 128;
constexpr int kSmallestView = 64;
constexpr double kKernelUnit = 1000;  // the table's kernel distances are times this

constexpr const char* kPageStyle = R"css(
main{max-width:1560px}
.text{max-width:800px}
table{max-width:1000px}
.crops{display:grid;grid-template-columns:repeat(12,minmax(0,1fr));gap:6px}
.crops figure{margin:0}
.crops figcaption{color:var(--soft);font-size:.75rem;overflow-wrap:anywhere;line-height:1.25;margin-top:2px}
.source{margin:22px 0 8px}
.source b{font-size:1.05rem}
#outline:not(:checked)~.source-row img.outline{display:none}
@media(max-width:1000px){.crops{grid-template-columns:repeat(6,minmax(0,1fr))}}
@media(max-width:480px){.crops{grid-template-columns:repeat(4,minmax(0,1fr))}}
)css";

template <class Picture>
std::string png_text(const Picture& picture) {
  const std::vector<std::byte> png = encode_png(picture);
  return eval::base64({reinterpret_cast<const std::uint8_t*>(png.data()), png.size()});
}

// The mask's box and a margin around it.
View view_of(const std::uint8_t* mask, int side) {
  int left = side - 1, top = side - 1, right = 0, bottom = 0;
  for (int y = 0; y < side; ++y) {
    for (int x = 0; x < side; ++x) {
      if (mask[y * side + x] == 0) continue;
      left = std::min(left, x);
      right = std::max(right, x);
      top = std::min(top, y);
      bottom = std::max(bottom, y);
    }
  }
  const std::vector<int> sides = view_sides(ViewScales::detail, std::min(kSmallestView, side), side);
  return view_around(left, top, right, bottom, sides, side);
}

// The mask in the crop's pixels, two wider on every side: its outline then lies around the defect and hides none of it.
Mask crop_mask(const std::uint8_t* mask, int side, const View& view) {
  constexpr int kWider = 2;
  Mask crop(kCropSide, kCropSide);
  const auto inside = [&](int x, int y) {
    if (x < 0 || y < 0 || x >= kCropSide || y >= kCropSide) return false;
    return mask[(view.y + y * view.side / kCropSide) * side + view.x + x * view.side / kCropSide] != 0;
  };
  for (int y = 0; y < kCropSide; ++y) {
    for (int x = 0; x < kCropSide; ++x) {
      bool near_mask = false;
      for (int dy = -kWider; dy <= kWider && !near_mask; ++dy) {
        for (int dx = -kWider; dx <= kWider && !near_mask; ++dx) near_mask = inside(x + dx, y + dy);
      }
      crop.at(x, y) = near_mask ? 1 : 0;
    }
  }
  return crop;
}

void write_crops(std::string& html, const RealismRow& row, int crops) {
  const DefectSet& defects = *row.defects;
  const auto side = static_cast<int>(defects.masks.dim(1));
  const std::int64_t shown = std::min<std::int64_t>(crops, defects.count());
  auto out = std::back_inserter(html);
  fmt::format_to(
      out,
      "<div class=\"source-row\"><p class=\"source\"><b>{}</b> <span class=\"soft\">{}</span></p>\n"
      "<div class=\"crops\">\n",
      eval::html_escape(row.name), eval::html_escape(row.what));
  for (std::int64_t k = 0; k < shown; ++k) {
    const std::int64_t i = k * defects.count() / shown;
    const std::int64_t pixels = std::int64_t{side} * side;
    const std::uint8_t* mask = defects.masks.data<std::uint8_t>() + i * pixels;
    const View view = view_of(mask, side);
    const Image crop =
        take_view(defects.pictures.data<std::uint8_t>() + i * pixels * 3, side, view, kCropSide);
    fmt::format_to(out,
                   "<figure><div class=\"shot\"><img src=\"data:image/png;base64,{}\" alt=\"defect\">"
                   "<img class=\"outline\" src=\"data:image/png;base64,{}\" alt=\"\"></div>"
                   "<figcaption>{}</figcaption></figure>\n",
                   png_text(crop), png_text(outline(crop_mask(mask, side, view))),
                   eval::html_escape(defects.labels[static_cast<std::size_t>(i)]));
  }
  html += "</div></div>\n";
}

// `largest`: the value of a full bar.
void write_cell(std::string& html, const eval::Spread& distance, double unit, double largest,
                const char* style) {
  const double share = largest > 0 ? std::clamp(distance.mean / largest, 0.0, 1.0) : 0.0;
  fmt::format_to(std::back_inserter(html),
                 "<td><span class=\"bar\"><i class=\"{}\" style=\"width:{:.1f}%\"></i></span> {:.2f} "
                 "<span class=\"soft\">± {:.2f}</span></td>",
                 style, 100 * share, unit * distance.mean, unit * distance.deviation);
}

void write_table(std::string& html, const RealismPage& page) {
  double frechet = 0, kernel = 0;
  for (const RealismRow& row : page.rows) {
    frechet = std::max(frechet, row.distances.frechet.mean);
    kernel = std::max(kernel, row.distances.kernel.mean);
  }
  html +=
      "<div class=\"wide\"><table>\n<tr><th>Defects</th><th class=\"number\">Pictures</th>"
      "<th>Fréchet distance</th><th>Kernel distance × 1000</th></tr>\n";
  for (const RealismRow& row : page.rows) {
    const char* style = &row == &page.rows.front() ? "plain" : "bad";
    fmt::format_to(std::back_inserter(html), "<tr><td class=\"name\">{}</td><td class=\"number\">{}</td>",
                   eval::html_escape(row.name), row.defects->count());
    write_cell(html, row.distances.frechet, 1, frechet, style);
    write_cell(html, row.distances.kernel, kKernelUnit, kernel, style);
    html += "</tr>\n";
  }
  html += "</table></div>\n";
}

}  // namespace

std::string realism_html(const RealismPage& page) {
  const std::string title = eval::html_escape(page.title);
  std::string html = fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<meta name=\"color-scheme\" content=\"light dark\">\n<title>{}</title>\n<style>{}{}</style>\n</head>\n"
      "<body>\n<main>\n<h1>{}</h1>\n",
      title, eval::report_style, kPageStyle, title);
  html +=
      "<p class=\"lead text\">Distances to the real defects of this set. Lower is closer; the first row, "
      "real defects against other real ones, is about as close as any source can come.</p>\n";
  write_table(html, page);
  fmt::format_to(
      std::back_inserter(html),
      "<p class=\"soft text\">Each defect is one vector of {} numbers: what the teacher network sees under "
      "its "
      "mask. Every distance compares {} vectors with {} real ones, drawn at random {} times: mean ± standard "
      "deviation of the draws. The Fréchet distance comes out too large when it is computed from few "
      "vectors; "
      "here that is so in every row, so compare the rows with each other, not with values from other counts. "
      "The kernel distance has no such bias; between equals it varies around zero.</p>\n"
      "<h2>Side by side</h2>\n"
      "<input type=\"checkbox\" id=\"outline\" checked> <label for=\"outline\">outline of the mask</label>\n",
      page.channels, page.count, page.count, page.draws);
  for (const RealismRow& row : page.rows) write_crops(html, row, page.crops);
  html +=
      "<footer>Real defects carry the name of their kind, the others their number. These others lie where "
      "the same rules put them, equal numbers mostly at the same place of the same picture. Crops are 64 "
      "pixels wide, or wider where the defect is."
      "</footer>\n</main>\n</body>\n</html>\n";
  return html;
}

}  // namespace ddpmts::app
