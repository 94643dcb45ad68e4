// Changing the size of pictures, maps and masks. Pixel centres lie at half coordinates: output pixel i looks at input
// position (i + 0.5) × input / output - 0.5.
#pragma once

#include "data/image.h"

namespace ddpmts {

/// Antialiased bilinear resize of a picture to [height, width]: a triangle filter that widens when shrinking, so that every
/// input pixel counts. It is what Pillow's `resize(..., BILINEAR)` computes, with which published results are made, and
/// agrees with it to a level. The sides may change by different factors.
/// Throws std::invalid_argument on an empty picture or a side below 1.
Image resize_antialiased(const Image& image, int width, int height);

/// Plain bilinear resize: four neighbours, clamped at the border (PyTorch's interpolate with align_corners=False and no
/// antialiasing). For anomaly maps, mostly upwards. Throws as above.
FloatMap resize_bilinear(const FloatMap& map, int width, int height);

/// Mask of another size: plain bilinear on value / 255, then 1 where that is at least 0.5, else 0, as the field's evaluation
/// code does. Shrinking far can lose a defect of a few pixels; load_mask reports it. Throws as above.
Mask resize_mask(const Mask& mask, int width, int height);

}  // namespace ddpmts
