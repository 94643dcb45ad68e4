// AUPRO: how well each single defect is covered, whatever its size.
#pragma once

#include <optional>
#include <span>

#include "eval/picture_map.h"

namespace ddpmts::eval {

/// Area under the per-region-overlap curve, in [0,1] (Bergmann et al., "The MVTec Anomaly Detection Dataset",
/// IJCV 2021). For every threshold t:
///   PRO(t) = mean over all true regions of the share of the region's pixels with map >= t,
///   FPR(t) = share of all background pixels with map >= t.
/// The curve PRO over FPR starts at (0,0), joins the points of all distinct scores by straight lines, and is
/// integrated from FPR = 0 to fpr_limit, where it is interpolated; the area is divided by fpr_limit. A region
/// is a connected component (8-connectivity) of one picture's mask. Exact: every pixel is sorted, nothing is
/// binned. Empty when there is no region or no background pixel. Throws std::invalid_argument for a fpr_limit
/// outside (0,1], for sizes that disagree and for NaN, naming the picture.
/// 10.5 million pixels take about 0.5 s on one core, and 8 bytes of extra memory a background pixel, 16 a
/// defect pixel.
std::optional<double> aupro(std::span<const PictureMap> pictures, double fpr_limit = 0.3);

}  // namespace ddpmts::eval
