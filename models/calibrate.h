// What is set after training, from good pictures that the networks have not seen.
#pragma once

#include "models/detector.h"

namespace ddpmts {

/// Sets the detector's MapCalibration so that every map counts in deviations of what good pictures show: the mean of the
/// image scores (means of the top_k pixels) that the map alone gives over `pictures` [N,size,size,3] u8 is subtracted, and
/// the rest divided by their standard deviation. Weights: distance 1/4, segmentation 1/2, memory 1. Inspects in batches.
void calibrate_maps(Detector& detector, const Tensor& pictures, std::int64_t batch);

/// Image scores of the pictures, inspected in batches.
std::vector<float> scores_of(const Detector& detector, const Tensor& pictures, std::int64_t batch);

}  // namespace ddpmts
