#include "models/calibrate.h"

#include <algorithm>
#include <functional>

#include "kernels/top_k_mean.h"

namespace ddpmts {
namespace {

std::vector<float> top_k_scores(const Tensor& map, std::int64_t k) {
  const Tensor scores = Tensor::empty({map.dim(0)}, DType::f32, map.device());
  kernels::TopKMeanArgs args;
  args.n = map.dim(0);
  args.pixels = map.count() / map.dim(0);
  args.k = k;
  args.map = map.data<float>();
  args.score = scores.data<float>();
  DDPMTS_LAUNCH(map.device(), top_k_mean, args);
  return scores.to_floats();
}

void inspect_batches(const Detector& detector, const Tensor& pictures, std::int64_t batch,
                     const std::function<void(const Inspection&)>& take) {
  for (std::int64_t first = 0; first < pictures.dim(0); first += batch) {
    take(detector.inspect(slice_pictures(pictures, first, std::min(batch, pictures.dim(0) - first))));
  }
}

double mean(const std::vector<float>& values) {
  double sum = 0;
  for (const float value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

}  // namespace

Tensor slice_pictures(const Tensor& pictures, std::int64_t first, std::int64_t count) {
  const Tensor slice =
      Tensor::empty({count, pictures.dim(1), pictures.dim(2), pictures.dim(3)}, DType::u8, pictures.device());
  const std::size_t row = pictures.bytes() / static_cast<std::size_t>(pictures.dim(0));
  copy_bytes(slice.raw(), slice.device(),
             pictures.data<std::uint8_t>() + static_cast<std::size_t>(first) * row, pictures.device(),
             slice.bytes());
  return slice;
}

void calibrate_maps(Detector& detector, const Tensor& pictures, std::int64_t batch) {
  std::vector<float> distances, segmentations;
  inspect_batches(detector, pictures, batch, [&](const Inspection& inspection) {
    const auto d = top_k_scores(inspection.distance, detector.config().top_k);
    const auto s = top_k_scores(inspection.segmentation, detector.config().top_k);
    distances.insert(distances.end(), d.begin(), d.end());
    segmentations.insert(segmentations.end(), s.begin(), s.end());
  });
  // A head that is sure of every good picture says almost 0 everywhere; below the floor its noise would be magnified.
  constexpr double kDistanceFloor = 1e-6, kSegmentationFloor = 0.02;
  MapCalibration calibration;
  calibration.distance_scale = static_cast<float>(1.0 / std::max(mean(distances), kDistanceFloor));
  calibration.segmentation_scale =
      static_cast<float>(1.0 / std::max(mean(segmentations), kSegmentationFloor));
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
