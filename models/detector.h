// The detector: frozen teacher, student, segmentation head, feature memory, and how their maps become one map and one
// score.
#pragma once

#include <algorithm>
#include <filesystem>
#include <list>
#include <memory>
#include <optional>

#include "engine/exchange_block.h"
#include "engine/step_graph.h"
#include "models/feature_memory.h"
#include "models/segmentation_head.h"
#include "models/student.h"

namespace ddpmts {

enum class Precision { f32, bf16 };

/// "f32", "bf16", or "auto": bf16 where the device computes on it in hardware. Throws Error on anything else, DeviceError
/// for bf16 on a device that does not.
Precision parse_precision(const std::string& text, Device device);
/// The reverse of name_of, whatever the device. Throws Error for an unknown name.
Precision precision_named(const std::string& name);
const char* name_of(Precision precision);
/// What activations are stored in.
inline DType type_of(Precision precision) { return precision == Precision::bf16 ? DType::bf16 : DType::f32; }

/// How one map enters the combined one: z = (map − offset)·scale, in units of what held-out good pictures show.
struct MapUnit {
  float offset = 0.0f, scale = 1.0f;
};
/// The combined map is the sum of the maps, each in its own unit.
struct MapCalibration {
  MapUnit distance, segmentation, memory;
};

constexpr std::int64_t kLargestSize = 2048;

struct DetectorConfig {
  std::int64_t size =
      256;  ///< side of the square that pictures are resized to; a multiple of 32 up to kLargestSize
  HeadSize head = HeadSize::s;
  Precision precision = Precision::f32;
  std::int64_t top_k = 328;  ///< pixels whose mean is the picture's score; default_top_k(256)
};

/// Half a percent of the pixels of a size×size map. The ancestor takes 100 of 256×256 (arXiv 2211.11317); with a memory,
/// whose map is coarse, more are better (docs/results.md).
constexpr std::int64_t default_top_k(std::int64_t size) {
  return std::max<std::int64_t>(1, (size * size + 100) / 200);
}

/// Throws Error when size or top_k makes no sense.
void check(const DetectorConfig& config);

/// What one inspection of N pictures gives. Maps are [N, size, size] f32; higher is more defective.
struct Inspection {
  Tensor distance;      ///< product over levels of the upsampled cosine distances (arXiv 2211.11317 Sec. 3.2)
  Tensor segmentation;  ///< probability from the segmentation head, in [0, 1]
  Tensor memory;   ///< distance to the nearest remembered feature (arXiv 2106.08265); empty without a memory
  Tensor anomaly;  ///< all combined by the MapCalibration: what scores and outlines are made from
  std::vector<float> scores;  ///< mean of the top_k pixels of `anomaly`, per picture
};

class Detector {
 public:
  /// A new detector: the student and the head start from `seed`.
  Detector(const NamedTensors& teacher, const DetectorConfig& config, std::uint64_t seed, Device device);
  /// Reads what tensors() gave: `teacher` under the prefix "teacher.", `model` under none, with a memory of
  /// `memory_vectors` (0: none).
  Detector(const NamedTensors& teacher, const NamedTensors& model, const DetectorConfig& config,
           const MapCalibration& calibration, std::int64_t memory_vectors, Device device);

  /// pictures [N,size,size,3] u8 RGB on the detector's device. Records nothing; safe from one thread at a time. On a GPU,
  /// inspections of the same number of pictures replay a graph (engine/step_graph.h); the four last numbers are kept.
  Inspection inspect(const Tensor& pictures) const;

  /// Fills the memory from good pictures [N,size,size,3] u8, in batches; replaces what it held.
  void remember(const Tensor& pictures, const FeatureMemoryConfig& config, std::uint64_t seed,
                std::int64_t batch);
  bool has_memory() const { return static_cast<bool>(memory_); }
  const VectorBank& memory() const { return memory_; }

  /// u8 pictures [N,H,W,3] → normalised for the networks: (x/255 − mean)/std, in the activations' type.
  Tensor normalize(const Tensor& pictures) const;

  const DetectorConfig& config() const { return config_; }
  Device device() const { return device_; }
  DType type() const { return type_of(config_.precision); }
  const ResNetTeacher& teacher() const { return *teacher_; }
  Student& student() { return *student_; }
  const SegmentationHead& head() const { return *head_; }
  const ParameterList& parameters() const { return parameters_; }
  const MapCalibration& calibration() const { return calibration_; }
  void set_calibration(const MapCalibration& calibration);

  /// Everything learned, the memory and the teacher, by name, f32, convolution weights in KRSC order.
  std::vector<std::pair<std::string, Tensor>> tensors() const;

  /// How often inspections were captured so far, those included whose graphs are gone.
  std::int64_t captures() const;

 private:
  /// What one inspection reads and writes; on a GPU kept, with its graph, for the next of as many pictures.
  struct Frame {
    Tensor pictures;
    Inspection found;  ///< its maps
    ExchangeBlock scores;
    StepGraph graph;
  };

  void build(const NamedTensors& teacher);
  Frame make_frame(const Tensor& pictures) const;
  Frame& frame_of(const Shape& pictures) const;
  void enqueue_inspection(const Frame& frame) const;
  /// What an inspection depends on besides its pictures.
  std::vector<std::int64_t> state() const;

  DetectorConfig config_;
  Device device_;
  MapCalibration calibration_;
  ParameterList parameters_;
  std::unique_ptr<ResNetTeacher> teacher_;
  std::unique_ptr<Student> student_;
  std::unique_ptr<SegmentationHead> head_;
  VectorBank memory_;
  std::int64_t changes_ = 0;         ///< of calibration and memory
  mutable std::list<Frame> frames_;  ///< last used first
  mutable std::int64_t dropped_captures_ = 0;
};

}  // namespace ddpmts
