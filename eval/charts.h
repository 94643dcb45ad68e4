// The report's two charts, as SVG text that goes straight into the page. Colours come from the page's style
// sheet.
#pragma once

#include <span>
#include <string>

#include "eval/metrics.h"
#include "eval/summary.h"

namespace ddpmts::eval {

/// Histogram of the normalised scores, 40 bins over [0,1], one row for each of good, defective and unlabelled
/// that is present, all over one axis with the threshold (0.5) drawn through them. Pictures with an error are
/// left out.
std::string score_histogram_svg(std::span<const PictureResult> pictures);

/// The ROC curve with the working point (false-alarm rate, share of defects found) marked. Empty string for
/// no points.
std::string roc_svg(std::span<const RocPoint> points, const Confusion& confusion);

}  // namespace ddpmts::eval
