// From anomaly maps to one number a picture.
#pragma once

#include "engine/tensor.h"

namespace ddpmts {

/// Image scores of maps [N,H,W] f32: the mean of each one's k highest pixels. Waits for the device.
std::vector<float> top_k_scores(const Tensor& map, std::int64_t k);

}  // namespace ddpmts
