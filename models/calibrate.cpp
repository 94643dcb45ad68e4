#include "models/calibrate.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "models/map_scores.h"

namespace ddpmts {

namespace {

void inspect_batches(const Detector& detector, const Tensor& pictures, std::int64_t batch,
                     const std::function<void(const Inspection&)>& take) {
  for (std::int64_t first = 0; first < pictures.dim(0); first += batch) {
    take(detector.inspect(pictures.slice(first, std::min(batch, pictures.dim(0) - first))));
  }
}

/// (map − mean)·weight/deviation of good pictures' image scores. Where the pictures are too few or too alike to tell how
/// much good parts differ, the deviation is at least `least` and a twentieth of the mean.
MapUnit unit_of(const std::vector<float>& scores, double weight, double least) {
  const double count = static_cast<double>(scores.size());
  double mean = 0, squares = 0;
  for (const float score : scores) mean += score / count;
  for (const float score : scores) squares += (score - mean) * (score - mean);
  const double deviation = scores.size() < 2 ? 0.0 : std::sqrt(squares / (count - 1));
  return {static_cast<float>(mean), static_cast<float>(weight / std::max({deviation, 0.05 * mean, least}))};
}

}  // namespace

void calibrate_maps(Detector& detector, const Tensor& pictures, std::int64_t batch) {
  std::vector<float> distances, segmentations, memories;
  const auto append = [&](std::vector<float>& scores, const Tensor& map) {
    const std::vector<float> more = top_k_scores(map, detector.config().top_k);
    scores.insert(scores.end(), more.begin(), more.end());
  };
  inspect_batches(detector, pictures, batch, [&](const Inspection& inspection) {
    append(distances, inspection.distance);
    append(segmentations, inspection.segmentation);
    if (inspection.memory) append(memories, inspection.memory);
  });
  // The memory is the steadiest judge of whole pictures and weighs most; the head outlines best. A head that is sure of
  // every good picture says almost 0 everywhere; without a floor its noise would be magnified.
  MapCalibration calibration;
  calibration.distance = unit_of(distances, 0.25, 1e-6);
  calibration.segmentation = unit_of(segmentations, 0.5, 0.02);
  if (detector.has_memory()) calibration.memory = unit_of(memories, 1.0, 1e-6);
  detector.set_calibration(calibration);
}

std::vector<float> scores_of(const Detector& detector, const Tensor& pictures, std::int64_t batch) {
  std::vector<float> scores;
  inspect_batches(detector, pictures, batch, [&](const Inspection& inspection) {
    scores.insert(scores.end(), inspection.scores.begin(), inspection.scores.end());
  });
  return scores;
}

}  // namespace ddpmts
