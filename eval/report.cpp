#include "eval/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numeric>
#include <stdexcept>

#include "eval/base64.h"
#include "eval/charts.h"
#include "eval/metrics.h"
#include "eval/report_style.h"

namespace ddpmts::eval {
namespace {

/// How a picture came out; in the gallery's order.
enum class Outcome { missed, false_alarm, flagged, found, passed, unflagged, failed };
constexpr int outcome_count = 7;

Outcome outcome_of(const PictureResult& result) {
  if (!result.error.empty()) return Outcome::failed;
  if (!result.defective) return result.verdict_defective ? Outcome::flagged : Outcome::unflagged;
  if (*result.defective) return result.verdict_defective ? Outcome::found : Outcome::missed;
  return result.verdict_defective ? Outcome::false_alarm : Outcome::passed;
}

struct OutcomeWords {
  const char* key;     // in the page's markup
  const char* filter;  // on the filter's button
  const char* card;    // on the picture's card
  const char* style;   // colour of the verdict
  bool is_mistake;
};

const OutcomeWords& words_for(Outcome outcome) {
  static constexpr OutcomeWords words[outcome_count] = {
      {"missed", "Missed defects", "Missed defect", "bad", true},
      {"alarm", "False alarms", "False alarm", "bad", true},
      {"flagged", "Judged defective", "Judged defective", "bad", false},
      {"found", "Found defects", "Defect found", "bad", false},
      {"passed", "Passed as good", "Passed as good", "good", false},
      {"unflagged", "Judged good", "Judged good", "good", false},
      {"failed", "Not readable", "Could not be judged", "bad", true},
  };
  return words[static_cast<int>(outcome)];
}

/// A fraction in percent; a value short of 1 or above 0 is never rounded to perfect or to nothing.
std::string percent(double fraction) {
  if (fraction < 1 && fraction >= 0.9995) return "&gt;&#8239;99.9&#8239;%";
  if (fraction > 0 && fraction < 0.0005) return "&lt;&#8239;0.1&#8239;%";
  return fmt::format("{:.1f}&#8239;%", 100 * fraction);
}

std::string plural(int count, const char* noun) {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

void write_lead(std::string& page, const Summary& summary) {
  auto out = std::back_inserter(page);
  page += "<p class=\"lead\">";
  if (summary.confusion) {
    const Confusion& confusion = *summary.confusion;
    if (summary.labelled_defective > 0) {
      const double share = static_cast<double>(confusion.defects_found) / summary.labelled_defective;
      fmt::format_to(out, "Found <b class=\"bad\">{} of {}</b> ({}). ", confusion.defects_found,
                     plural(summary.labelled_defective, "defective picture"), percent(share));
    }
    if (summary.labelled_good > 0) {
      const double share = static_cast<double>(confusion.false_alarms) / summary.labelled_good;
      fmt::format_to(out, "Raised <b class=\"good\">{}</b> on {} ({}). ",
                     plural(confusion.false_alarms, "false alarm"),
                     plural(summary.labelled_good, "good picture"), percent(share));
    }
  }
  if (summary.unlabelled > 0 || !summary.confusion) {
    int flagged = summary.judged_defective;
    if (summary.confusion) flagged -= summary.confusion->defects_found + summary.confusion->false_alarms;
    fmt::format_to(out, "Of {} without a label, <b class=\"bad\">{}</b> judged defective. ",
                   plural(summary.unlabelled, "picture"), flagged);
  }
  if (summary.errors > 0) {
    fmt::format_to(out, "<b class=\"bad\">{}</b> could not be judged (<a href=\"#errors\">see below</a>).",
                   plural(summary.errors, "picture"));
  }
  fmt::format_to(out, "</p>\n<p class=\"soft\">{}", html_escape(summary.calibration.describe()));
  if (summary.median_milliseconds) {
    fmt::format_to(out, " A picture took {:.3g}&#8239;ms (median).", *summary.median_milliseconds);
  }
  page += "</p>\n";
}

void write_tile(std::string& page, const std::optional<double>& value, const char* name, const char* what) {
  if (!value) return;
  fmt::format_to(std::back_inserter(page),
                 "<div class=\"tile\"><div class=\"value\">{}</div><div class=\"name\">{}</div>"
                 "<div class=\"what\">{}</div></div>\n",
                 percent(*value), name, what);
}

void write_tiles(std::string& page, const Summary& summary) {
  std::string tiles;
  write_tile(tiles, summary.image_auroc, "Image AUROC",
             "how often a defective picture scores above a good one, over all pairs");
  write_tile(tiles, summary.f1_max, "F1-max",
             "balance of defects found and alarms that are true, at the best threshold in hindsight");
  write_tile(tiles, summary.pixel_auroc, "Pixel AUROC",
             "how often a defect&#8217;s pixel scores above a background pixel");
  write_tile(tiles, summary.pixel_ap, "Pixel AP",
             "average precision over pixels; strict where defects are small");
  write_tile(tiles, summary.aupro, "AUPRO",
             "how well each single defect is covered, small ones counting like large ones (up to 30&#8239;% "
             "false pixels)");
  if (!tiles.empty()) page += "<div class=\"tiles\">\n" + tiles + "</div>\n";
}

void write_charts(std::string& page, const Summary& summary, std::span<const PictureResult> pictures) {
  const std::string histogram = score_histogram_svg(pictures);
  if (histogram.empty()) return;
  std::vector<float> scores;
  std::vector<std::uint8_t> labels;
  for (const PictureResult& picture : pictures) {
    if (!picture.error.empty() || !picture.defective) continue;
    scores.push_back(picture.raw_score);
    labels.push_back(*picture.defective ? 1 : 0);
  }
  const std::vector<RocPoint> points = roc_curve(RankedScores(scores, labels));
  const std::string roc = roc_svg(points, summary.confusion.value_or(Confusion{}));
  fmt::format_to(
      std::back_inserter(page),
      "<h2>Scores</h2>\n<div class=\"charts{}\">\n<div class=\"panel histogram\"><h2>Where the pictures "
      "score</h2>\n{}"
      "<p>Dashed: the threshold, 0.5.{}</p></div>\n",
      roc.empty() ? " one" : "", histogram,
      summary.calibration.good_count > 0 ? " The median held-out good picture reads about 0.1." : "");
  if (!roc.empty()) {
    page += "<div class=\"panel roc\"><h2>ROC: defects found against false alarms</h2>\n" + roc +
            "<p>The dot is the threshold in use; the dotted line is guessing.</p></div>\n";
  }
  page += "</div>\n";
}

/// Lets an escaped name break after its underscores, where a narrow table needs it.
std::string breakable(const std::string& escaped) {
  std::string text;
  for (const char c : escaped) {
    text += c;
    if (c == '_') text += "<wbr>";
  }
  return text;
}

void write_types(std::string& page, const Summary& summary) {
  if (summary.per_type.empty()) return;
  page +=
      "<h2>By kind</h2>\n<div class=\"wide\"><table>\n<tr><th>Kind</th><th>Judged "
      "defective</th><th>Share</th>"
      "<th class=\"number\">Mean score</th></tr>\n";
  for (const TypeRow& row : summary.per_type) {
    const double share = static_cast<double>(row.found) / row.count;
    const char* style = !row.defective ? "plain" : *row.defective ? "bad" : "good";
    fmt::format_to(std::back_inserter(page),
                   "<tr><td class=\"name\">{}</td><td>{} of {}</td>"
                   "<td><span class=\"bar\"><i class=\"{}\" style=\"width:{:.1f}%\"></i></span> {}</td>"
                   "<td class=\"number\">{:.4g}</td></tr>\n",
                   breakable(html_escape(row.defect_type)), row.found, row.count, style, 100 * share,
                   percent(share), row.mean_raw_score);
  }
  page += "</table></div>\n";
}

void write_shot(std::string& page, const GalleryItem& item, const std::string& png, const char* what) {
  if (png.empty()) return;
  auto out = std::back_inserter(page);
  fmt::format_to(out,
                 "<div class=\"shot\"><img loading=\"lazy\" src=\"data:image/png;base64,{}\" alt=\"{}\">",
                 png, what);
  if (!item.mask_outline_png.empty()) {
    fmt::format_to(out, "<img class=\"outline\" loading=\"lazy\" src=\"data:image/png;base64,{}\" alt=\"\">",
                   item.mask_outline_png);
  }
  page += "</div>";
}

void write_card(std::string& page, const GalleryItem& item) {
  const PictureResult& result = item.result;
  for (const std::string* png : {&item.picture_png, &item.overlay_png, &item.mask_outline_png}) {
    if (!is_base64(*png)) {
      throw std::invalid_argument(fmt::format(
          "report: a picture given for '{}' is not base64; encode the PNG's bytes first", result.path));
    }
  }
  const OutcomeWords& words = words_for(outcome_of(result));
  const std::string path = html_escape(result.path);
  const std::string type = html_escape(result.defect_type);
  auto out = std::back_inserter(page);
  fmt::format_to(out, "<figure class=\"card{}\" data-kind=\"{}\" data-text=\"{} {}\">\n",
                 words.is_mistake ? " wrong" : "", words.key, path, type);
  if (!item.picture_png.empty() || !item.overlay_png.empty()) {
    const bool is_pair = !item.picture_png.empty() && !item.overlay_png.empty();
    fmt::format_to(out, "<div class=\"pair{}\">", is_pair ? "" : " single");
    write_shot(page, item, item.picture_png, "picture");
    write_shot(page, item, item.overlay_png, "heat map");
    page += "</div>\n";
  }
  page += "<figcaption>";
  if (result.error.empty()) {
    fmt::format_to(out, "<span class=\"score\" title=\"raw score {:.6g}\">{:.3f}</span>", result.raw_score,
                   result.score);
  }
  fmt::format_to(out, "<span class=\"verdict {}\">{}</span>", words.style, words.card);
  if (!type.empty() && result.defect_type != "good")
    fmt::format_to(out, " <span class=\"soft\">({})</span>", type);
  if (!result.error.empty()) fmt::format_to(out, "<div>{}</div>", html_escape(result.error));
  fmt::format_to(out, "<div class=\"path\">{}</div></figcaption></figure>\n", path);
}

void write_gallery(std::string& page, std::span<const GalleryItem> gallery, std::size_t picture_count) {
  if (gallery.empty()) return;
  int counts[outcome_count] = {};
  bool has_outline = false;
  for (const GalleryItem& item : gallery) {
    ++counts[static_cast<int>(outcome_of(item.result))];
    has_outline = has_outline || !item.mask_outline_png.empty();
  }
  auto out = std::back_inserter(page);
  page += "<h2>Pictures, worst first</h2>\n";
  if (gallery.size() < picture_count) {
    fmt::format_to(
        out, "<p class=\"soft\">{} of {} pictures are shown; results.csv and results.json list all.</p>\n",
        gallery.size(), picture_count);
  }
  fmt::format_to(out,
                 "<div class=\"tools\"><button data-show=\"all\" aria-pressed=\"true\">All {}</button>\n",
                 gallery.size());
  for (int i = 0; i < outcome_count; ++i) {
    if (counts[i] == 0) continue;
    const OutcomeWords& words = words_for(static_cast<Outcome>(i));
    fmt::format_to(out, "<button data-show=\"{}\" aria-pressed=\"false\">{} {}</button>\n", words.key,
                   words.filter, counts[i]);
  }
  page +=
      "<input type=\"search\" id=\"search\" placeholder=\"name or kind\" aria-label=\"Filter by name or "
      "kind\">\n";
  if (has_outline) {
    page += "<label><input type=\"checkbox\" id=\"outline\" checked> outline of the true defect</label>\n";
  }
  page += "</div>\n<div class=\"gallery\">\n";
  for (const std::size_t index : worst_first(gallery)) write_card(page, gallery[index]);
  page += "</div>\n<p id=\"none\" class=\"soft\" hidden>No picture matches.</p>\n";
  fmt::format_to(out, "<script>{}</script>\n", report_script);
}

void write_errors(std::string& page, std::span<const PictureResult> pictures, const Summary& summary) {
  if (summary.errors == 0) return;
  page +=
      "<h2 id=\"errors\">Pictures that could not be judged</h2>\n<table class=\"errors\">\n"
      "<tr><th>Picture</th><th>What went wrong</th></tr>\n";
  for (const PictureResult& picture : pictures) {
    if (picture.error.empty()) continue;
    fmt::format_to(std::back_inserter(page), "<tr><td>{}</td><td>{}</td></tr>\n", html_escape(picture.path),
                   html_escape(picture.error));
  }
  page += "</table>\n";
}

}  // namespace

std::string html_escape(std::string_view text) {
  std::string safe;
  safe.reserve(text.size());
  for (const char c : text) {
    switch (c) {
      case '&':
        safe += "&amp;";
        break;
      case '<':
        safe += "&lt;";
        break;
      case '>':
        safe += "&gt;";
        break;
      case '"':
        safe += "&quot;";
        break;
      case '\'':
        safe += "&#39;";
        break;
      case '\t':
      case '\n':
      case '\r':
        safe += c;
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
          safe += "\xEF\xBF\xBD";
        } else {
          safe += c;
        }
    }
  }
  return safe;
}

std::vector<std::size_t> worst_first(std::span<const GalleryItem> gallery) {
  std::vector<std::size_t> order(gallery.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  // Lower comes first. The two verdicts "found" and "passed" (and "unflagged") share a place: nearest to the
  // threshold first.
  const auto place = [&](std::size_t index) {
    const PictureResult& result = gallery[index].result;
    const double from_threshold = result.score - 0.5;
    switch (outcome_of(result)) {
      case Outcome::missed:
        return std::pair(0, from_threshold);
      case Outcome::false_alarm:
        return std::pair(1, -from_threshold);
      case Outcome::flagged:
        return std::pair(2, -from_threshold);
      case Outcome::found:
      case Outcome::passed:
      case Outcome::unflagged:
        return std::pair(3, std::abs(from_threshold));
      case Outcome::failed:
        break;
    }
    return std::pair(4, 0.0);
  };
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return place(a) < place(b); });
  return order;
}

std::string report_html(const Summary& summary, std::span<const PictureResult> pictures,
                        std::span<const GalleryItem> gallery, const ReportText& text) {
  const std::string title = html_escape(text.title);
  std::string page = fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<meta name=\"color-scheme\" content=\"light "
      "dark\">\n<title>{}</title>\n<style>{}</style>\n</head>\n<body>\n<main>\n"
      "<h1>{}</h1>\n",
      title, report_style, title);
  if (!text.subtitle.empty()) {
    fmt::format_to(std::back_inserter(page), "<p class=\"subtitle\">{}</p>\n", html_escape(text.subtitle));
  }
  write_lead(page, summary);
  write_tiles(page, summary);
  write_charts(page, summary, pictures);
  write_types(page, summary);
  write_gallery(page, gallery, pictures.size());
  write_errors(page, pictures, summary);
  page +=
      "<footer>Scores are normalised so that 0.5 is the threshold: at or above it a picture is judged "
      "defective. They are "
      "no probabilities. Metrics compare with the true labels and masks, where there are any.</footer>\n"
      "</main>\n</body>\n</html>\n";
  return page;
}

}  // namespace ddpmts::eval
