// Telling a part from the plain ground that it lies on.
#pragma once

#include <cstdint>

#include "data/image.h"

namespace ddpmts {

/// 1 where the picture [side, side, 3] shows a part: the ground is the median colour of its border, a pixel belongs to the part
/// when a channel is more than `levels` away from it, and a majority vote of 5×5 pixels removes specks and fills pinholes.
Mask foreground(const std::uint8_t* picture, int side, int levels = 24);

}  // namespace ddpmts
