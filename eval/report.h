// report.html: what a test run found, for people. One file, no network, no framework.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "eval/summary.h"

namespace ddpmts::eval {

/// One picture to show. The three pictures are bare base64 (see base64.h) of PNG files of the same size;
/// empty = none.
struct GalleryItem {
  PictureResult result;
  std::string picture_png;       ///< the picture as inspected
  std::string overlay_png;       ///< the picture with the heat map blended in and what was found outlined
  std::string mask_outline_png;  ///< transparent but for the true defect's outline; laid over the other two
};

/// What the page says about the run besides its numbers; plain text, any of it may be empty.
struct ReportText {
  std::string title = "Inspection report";
  std::string subtitle;  ///< e.g. dataset, model file, date
};

/// The page. pictures: every picture of the run (for the charts, the mistakes and the errors); gallery: those shown, in the order
/// in which they are (choose_for_gallery). All names are escaped. The page is about as large as its pictures; show at most a few
/// hundred. Throws std::invalid_argument, naming the picture, when a PNG string is not base64.
std::string report_html(const Summary& summary, std::span<const PictureResult> pictures,
                        std::span<const GalleryItem> gallery, const ReportText& text = {});

/// Text as it may stand in HTML content or in a quoted attribute: & < > " ' become entities, control
/// characters other than tab and line breaks become U+FFFD.
std::string html_escape(std::string_view text);

/// Worst first, as indices: misses (furthest below the threshold first), false alarms (highest first), unlabelled pictures judged
/// defective (highest first), then the rest, nearest to the threshold first.
std::vector<std::size_t> worst_first(std::span<const PictureResult> pictures);

/// Which pictures to show where there are more than places, as indices, worst first. Missed, false alarms, found, passed and
/// judged without a label share the places alike, and what one does not need goes to the others: of mistakes the worst, of the
/// rest some from every distance to the threshold. Pictures with an error are left out.
std::vector<std::size_t> choose_for_gallery(std::span<const PictureResult> pictures, std::size_t places);

}  // namespace ddpmts::eval
