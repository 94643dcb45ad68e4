#include "eval/report_gallery.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numeric>
#include <stdexcept>

#include "eval/base64.h"
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

/// The part of the picture, in thirds, in which the middle of a box lies.
const char* place_of(const Blob& blob, int width, int height) {
  static constexpr const char* names[3][3] = {{"upper left", "top", "upper right"},
                                              {"left", "centre", "right"},
                                              {"lower left", "bottom", "lower right"}};
  const auto third = [](int begin, int length, int whole) {
    return std::clamp(3 * (2 * begin + length) / (2 * whole), 0, 2);
  };
  return names[third(blob.y, blob.height, height)][third(blob.x, blob.width, width)];
}

/// How many spots, how large the largest is and where; empty when nothing was found or the picture's size is unknown.
std::string where_found(const PictureResult& result) {
  if (!result.verdict_defective || result.blobs.empty() || result.width <= 0 || result.height <= 0) return "";
  const Blob& largest = result.blobs.front();
  std::string text =
      result.blobs.size() == 1 ? "1 spot: " : fmt::format("{} spots, the largest: ", result.blobs.size());
  fmt::format_to(std::back_inserter(text), "{}, {}&#8239;&#215;&#8239;{}&#8239;px",
                 place_of(largest, result.width, result.height), largest.width, largest.height);
  if (result.on_defect && !*result.on_defect) text += "; <b>not where the true defect is</b>";
  return text;
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
    fmt::format_to(out,
                   "<span class=\"score\" title=\"raw score {:.6g}; the mark is the threshold\"><span "
                   "class=\"scale\"><i class=\"{}\" style=\"width:{:.1f}%\"></i></span> {:.3f}</span>",
                   result.raw_score, result.verdict_defective ? "bad" : "good", 100 * result.score,
                   result.score);
  }
  fmt::format_to(out, "<span class=\"verdict {}\">{}</span>", words.style, words.card);
  if (!type.empty() && result.defect_type != "good")
    fmt::format_to(out, " <span class=\"soft\">({})</span>", type);
  if (const std::string where = where_found(result); !where.empty())
    fmt::format_to(out, "<div>{}</div>", where);
  if (!result.error.empty()) fmt::format_to(out, "<div>{}</div>", html_escape(result.error));
  fmt::format_to(out, "<div class=\"path\">{}</div></figcaption></figure>\n", path);
}

}  // namespace

std::vector<std::size_t> worst_first(std::span<const PictureResult> pictures) {
  std::vector<std::size_t> order(pictures.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  // Lower comes first. The two verdicts "found" and "passed" (and "unflagged") share a place: nearest to the
  // threshold first.
  const auto place = [&](std::size_t index) {
    const PictureResult& result = pictures[index];
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

std::vector<std::size_t> choose_for_gallery(std::span<const PictureResult> pictures, std::size_t places) {
  const std::vector<std::size_t> order = worst_first(pictures);
  std::vector<std::size_t> by_outcome[outcome_count];
  for (const std::size_t index : order) {
    const Outcome outcome = outcome_of(pictures[index]);
    if (outcome != Outcome::failed) by_outcome[static_cast<int>(outcome)].push_back(index);
  }
  // One place each in turn, until there are no more places or pictures.
  std::size_t share[outcome_count] = {};
  for (bool is_any_left = true; is_any_left && places > 0;) {
    is_any_left = false;
    for (int i = 0; i < outcome_count && places > 0; ++i) {
      if (share[i] == by_outcome[i].size()) continue;
      ++share[i];
      --places;
      is_any_left = true;
    }
  }
  std::vector<bool> is_chosen(pictures.size(), false);
  for (int i = 0; i < outcome_count; ++i) {
    for (std::size_t n = 0; n < share[i]; ++n) {
      const bool is_mistake = words_for(static_cast<Outcome>(i)).is_mistake;
      is_chosen[by_outcome[i][is_mistake ? n : n * by_outcome[i].size() / share[i]]] = true;
    }
  }
  std::vector<std::size_t> chosen;
  std::copy_if(order.begin(), order.end(), std::back_inserter(chosen),
               [&](std::size_t index) { return is_chosen[index]; });
  return chosen;
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
    fmt::format_to(out,
                   "<p class=\"soft\">{} of {} pictures are shown, some of every outcome; results.csv and "
                   "results.json list all.</p>\n",
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
  for (const GalleryItem& item : gallery) write_card(page, item);
  page += "</div>\n<p id=\"none\" class=\"soft\" hidden>No picture matches.</p>\n";
  fmt::format_to(out, "<script>{}</script>\n", report_script);
}

}  // namespace ddpmts::eval
