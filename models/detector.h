// The detector: frozen teacher, student, segmentation head, and how their maps become one map and one score.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>

#include "models/segmentation_head.h"
#include "models/student.h"

namespace ddpmts {

enum class Precision { f32, bf16 };

/// "f32", "bf16", or "auto": bf16 where the device computes on it in hardware. Throws Error on anything else.
Precision parse_precision(const std::string& text, Device device);
const char* name_of(Precision precision);

/// How the two maps of one picture become one. Both are affine in units of what held-out good pictures show, so that
/// they can be added: z = (map − offset)·scale.
struct MapCalibration {
  float distance_offset = 0.0f, distance_scale = 1.0f;
  float segmentation_offset = 0.0f, segmentation_scale = 1.0f;
};

struct DetectorConfig {
  std::int64_t size = 256;  ///< side of the square that pictures are resized to; a multiple of 32
  HeadSize head = HeadSize::s;
  Precision precision = Precision::f32;
  std::int64_t top_k = 100;  ///< pixels whose mean is the picture's score
};

/// Throws Error when size or top_k makes no sense.
void check(const DetectorConfig& config);

/// What one inspection of N pictures gives. Maps are [N, size, size] f32; higher is more defective.
struct Inspection {
  Tensor distance;      ///< product over levels of the upsampled cosine distances (arXiv 2211.11317 Sec. 3.2)
  Tensor segmentation;  ///< probability from the segmentation head, in [0, 1]
  Tensor anomaly;       ///< the two combined by the MapCalibration: what scores and outlines are made from
  std::vector<float> scores;  ///< mean of the top_k pixels of `anomaly`, per picture
};

class Detector {
 public:
  /// A new detector: the student and the head start from `seed`.
  Detector(const NamedTensors& teacher, const DetectorConfig& config, std::uint64_t seed, Device device);
  /// Reads what tensors() gave: `teacher` under the prefix "teacher.", `model` under none.
  Detector(const NamedTensors& teacher, const NamedTensors& model, const DetectorConfig& config,
           const MapCalibration& calibration, Device device);

  /// pictures [N,size,size,3] u8 RGB on the detector's device. Records nothing; safe from one thread at a time.
  Inspection inspect(const Tensor& pictures) const;

  /// u8 pictures [N,H,W,3] → normalised for the networks: (x/255 − mean)/std, in the activations' type.
  Tensor normalize(const Tensor& pictures) const;

  const DetectorConfig& config() const { return config_; }
  Device device() const { return device_; }
  DType type() const { return config_.precision == Precision::bf16 ? DType::bf16 : DType::f32; }
  const ResNetTeacher& teacher() const { return *teacher_; }
  Student& student() { return *student_; }
  const SegmentationHead& head() const { return *head_; }
  const ParameterList& parameters() const { return parameters_; }
  const MapCalibration& calibration() const { return calibration_; }
  void set_calibration(const MapCalibration& calibration) { calibration_ = calibration; }

  /// Everything learned and the teacher, by name, f32, convolution weights in KRSC order.
  std::vector<std::pair<std::string, Tensor>> tensors() const;

 private:
  void build(const NamedTensors& teacher);

  DetectorConfig config_;
  Device device_;
  MapCalibration calibration_;
  ParameterList parameters_;
  std::unique_ptr<ResNetTeacher> teacher_;
  std::unique_ptr<Student> student_;
  std::unique_ptr<SegmentationHead> head_;
};

}  // namespace ddpmts
