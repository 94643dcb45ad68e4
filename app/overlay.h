// Pictures for people: the heat map laid over the part, and outlines of what was found or truly is there.
#pragma once

#include <span>

#include "data/image.h"
#include "eval/threshold.h"

namespace ddpmts::app {

/// The map's values [height, width] as Calibration::normalize gives them: 0.5 is the threshold.
FloatMap normalized_map(std::span<const float> anomaly, int width, int height,
                        const eval::Calibration& threshold);

/// The picture with the map blended in (transparent well below the threshold, then violet to yellow: readable for the
/// colour-blind and in grey) and everything at or above 0.5 outlined in white. The map is resized to the picture.
Image heat_overlay(const Image& picture, const FloatMap& normalized);

/// The mask's outline in blue, transparent elsewhere.
TransparentImage outline(const Mask& mask);

/// 16-bit grey: normalised value · 65535.
Grey16 to_grey16(const FloatMap& normalized);

}  // namespace ddpmts::app
