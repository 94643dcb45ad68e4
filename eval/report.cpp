#include "eval/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "eval/charts.h"
#include "eval/metrics.h"
#include "eval/report_gallery.h"
#include "eval/report_style.h"

namespace ddpmts::eval {
namespace {

/// A fraction in percent; a value short of 1 or above 0 is never rounded to perfect or to nothing.
std::string percent(double fraction) {
  if (fraction < 1 && fraction >= 0.9995) return "&gt;&#8239;99.9&#8239;%";
  if (fraction > 0 && fraction < 0.0005) return "&lt;&#8239;0.1&#8239;%";
  return fmt::format("{:.1f}&#8239;%", 100 * fraction);
}

std::string plural(int count, const char* noun) {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
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

void write_where(std::string& page, const Pointing& pointing) {
  if (pointing.counted == 0) return;
  fmt::format_to(
      std::back_inserter(page),
      "<p>Where: in <b>{} of {}</b> found, the strongest response lies on the defect itself.</p>\n",
      pointing.on_defect, plural(pointing.counted, "picture"));
}

/// Names the kinds that were missed, most often missed first.
void write_missed(std::string& page, const Summary& summary) {
  constexpr std::size_t most_named = 4;
  std::vector<const TypeRow*> rows;
  for (const TypeRow& row : summary.per_type) {
    if (row.defective.value_or(false) && row.found < row.count) rows.push_back(&row);
  }
  if (rows.empty()) return;
  std::stable_sort(rows.begin(), rows.end(), [](const TypeRow* a, const TypeRow* b) {
    return a->count - a->found > b->count - b->found;
  });
  page += "<p>Missed: ";
  for (std::size_t i = 0; i < std::min(rows.size(), most_named); ++i) {
    fmt::format_to(std::back_inserter(page), "{}<b>{}</b> {} of {}", i == 0 ? "" : ", ",
                   breakable(html_escape(rows[i]->defect_type)), rows[i]->count - rows[i]->found,
                   rows[i]->count);
  }
  if (rows.size() > most_named) {
    fmt::format_to(std::back_inserter(page), ", and {}",
                   plural(static_cast<int>(rows.size() - most_named), "more kind"));
  }
  page += ".</p>\n";
}

void write_lead(std::string& page, const Summary& summary) {
  auto out = std::back_inserter(page);
  page += "<p class=\"lead\">";
  if (summary.confusion) {
    const Confusion& confusion = *summary.confusion;
    if (summary.labelled_defective > 0) {
      const double share = static_cast<double>(confusion.defects_found) / summary.labelled_defective;
      fmt::format_to(out, "Found <b class=\"bad\">{} of {}</b> ({}); <b>{}</b>. ", confusion.defects_found,
                     plural(summary.labelled_defective, "defective picture"), percent(share),
                     confusion.defects_missed == 0 ? std::string("none was missed")
                                                   : fmt::format("{} missed", confusion.defects_missed));
    }
    if (summary.labelled_good > 0) {
      const double share = static_cast<double>(confusion.false_alarms) / summary.labelled_good;
      fmt::format_to(out, "Passed <b class=\"good\">{} of {}</b>; <b>{}</b> ({}). ", confusion.good_passed,
                     plural(summary.labelled_good, "good picture"),
                     plural(confusion.false_alarms, "false alarm"), percent(share));
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
  page += "</p>\n";
  write_where(page, summary.pointing);
  write_missed(page, summary);
  fmt::format_to(out, "<p class=\"soft\">{}", html_escape(summary.calibration.describe()));
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

/// What other thresholds would have found on these pictures, in a sentence; empty with one class only.
std::string other_thresholds(const RankedScores& ranked) {
  std::string text;
  for (const double rate : {0.05, 0.1}) {
    const std::optional<RocPoint> point = roc_point(ranked, rate);
    if (!point || point->true_positive_rate == 0) continue;
    fmt::format_to(std::back_inserter(text),
                   "{}{} of the defects at up to {:.0f}&#8239;% false alarms (raw threshold {:.4g})",
                   text.empty() ? " Seen with hindsight, the program could have found " : ", or ",
                   percent(point->true_positive_rate), 100 * rate, point->threshold);
  }
  return text.empty() ? text : text + ".";
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
  const RankedScores ranked(scores, labels);
  const std::vector<RocPoint> points = roc_curve(ranked);
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
            "<p>The dot is the threshold in use; the dotted line is guessing." + other_thresholds(ranked) +
            "</p></div>\n";
  }
  page += "</div>\n";
}

void write_parts(std::string& page, const Summary& summary) {
  if (summary.parts.empty()) return;
  const auto cell = [](const std::optional<double>& value) { return value ? percent(*value) : "&#8211;"; };
  page +=
      "<h2>What each map finds alone</h2>\n<div class=\"wide\"><table>\n<tr><th>Map</th>"
      "<th class=\"number\">Image AUROC</th><th class=\"number\">Pixel AUROC</th><th class=\"number\">Pixel "
      "AP</th>"
      "<th class=\"number\">AUPRO</th></tr>\n";
  for (const PartMetrics& part : summary.parts) {
    fmt::format_to(std::back_inserter(page),
                   "<tr><td class=\"name\">{}</td><td class=\"number\">{}</td><td class=\"number\">{}</td>"
                   "<td class=\"number\">{}</td><td class=\"number\">{}</td></tr>\n",
                   html_escape(part.name), cell(part.image_auroc), cell(part.pixel_auroc),
                   cell(part.pixel_ap), cell(part.aupro));
  }
  page += "</table></div>\n<p class=\"soft\">Verdicts and heat maps come from all of them combined.</p>\n";
}

void write_types(std::string& page, const Summary& summary) {
  if (summary.per_type.empty()) return;
  page +=
      "<h2>By kind</h2>\n<div class=\"wide\"><table>\n<tr><th>Kind</th><th>Judged "
      "defective</th><th>Wrong</th>"
      "<th class=\"number\">Median score</th></tr>\n";
  for (const TypeRow& row : summary.per_type) {
    const double share = static_cast<double>(row.found) / row.count;
    const char* style = !row.defective ? "plain" : *row.defective ? "bad" : "good";
    std::string wrong = fmt::format("unknown, {}", plural(row.count, "picture"));
    if (row.defective) {
      wrong = *row.defective ? fmt::format("{} of {} missed", row.count - row.found, row.count)
                             : fmt::format("{} of {} alarmed", row.found, row.count);
    }
    fmt::format_to(std::back_inserter(page),
                   "<tr><td class=\"name\">{}</td>"
                   "<td><span class=\"bar\"><i class=\"{}\" style=\"width:{:.1f}%\"></i></span> {}</td>"
                   "<td>{}</td><td class=\"number\">{:.2f}</td></tr>\n",
                   breakable(html_escape(row.defect_type)), style, 100 * share, percent(share), wrong,
                   row.median_score);
  }
  page += "</table></div>\n";
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
  write_parts(page, summary);
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
