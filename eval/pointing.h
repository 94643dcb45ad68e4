// Does the map point at the defect?
#pragma once

#include "eval/picture_map.h"

namespace ddpmts::eval {

/// True when the map's highest value lies on the true defect or at most `reach` pixels from it, along each axis; of several
/// equal ones the first, row by row. The "pointing game" of Zhang et al. (arXiv 1608.00507), which allows 15 pixels.
/// Throws std::invalid_argument, naming the picture, when the mask is empty or marks nothing, or sizes disagree.
bool points_at_defect(const PictureMap& picture, int reach);

}  // namespace ddpmts::eval
