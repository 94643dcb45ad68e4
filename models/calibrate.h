// What is set after training, from good pictures that the networks have not seen.
#pragma once

#include "models/detector.h"

namespace ddpmts {

/// Sets the detector's MapCalibration so that both maps are measured in units of what good pictures show: each map is
/// divided by its mean image score (mean of the top_k pixels) over `pictures` [N,size,size,3] u8. Inspects in batches.
void calibrate_maps(Detector& detector, const Tensor& pictures, std::int64_t batch);

/// Image scores of the pictures, inspected in batches.
std::vector<float> scores_of(const Detector& detector, const Tensor& pictures, std::int64_t batch);

/// Rows [first, first + count) of pictures, copied.
Tensor slice_pictures(const Tensor& pictures, std::int64_t first, std::int64_t count);

}  // namespace ddpmts
