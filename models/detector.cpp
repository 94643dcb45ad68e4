#include "models/detector.h"

#include <algorithm>

#include "kernels/anomaly_map.h"
#include "kernels/top_k_mean.h"
#include "layers/initialize.h"
#include "models/normalized_pictures.h"

namespace ddpmts {
namespace {

constexpr const char* kMemoryName = "memory";

}  // namespace

Precision precision_named(const std::string& name) {
  if (name == "f32") return Precision::f32;
  if (name == "bf16") return Precision::bf16;
  throw_error("unknown precision '{}': expected f32 or bf16", name);
}

Precision parse_precision(const std::string& text, Device device) {
  if (text == "auto") return has_fast_bf16(device) ? Precision::bf16 : Precision::f32;
  if (text != "f32" && text != "bf16")
    throw_error("unknown precision '{}': expected auto, f32 or bf16", text);
  const Precision precision = precision_named(text);
  if (precision == Precision::bf16 && !has_fast_bf16(device)) {
    throw_error<DeviceError>("{} ({}) has no bf16 arithmetic, which {}: use --precision f32", device.name(),
                             describe(device),
                             device.is_cuda() ? "starts with sm_80" : "needs AVX512_BF16 or AMX");
  }
  return precision;
}

const char* name_of(Precision precision) { return precision == Precision::bf16 ? "bf16" : "f32"; }

void check(const DetectorConfig& config) {
  if (config.size < 32 || config.size > kLargestSize || config.size % 32 != 0) {
    throw_error("picture size {}: expected a multiple of 32 up to {}, such as 256", config.size,
                kLargestSize);
  }
  if (config.top_k < 1) throw_error("top_k {}: expected at least 1 pixel, such as 100", config.top_k);
}

void Detector::build(const NamedTensors& teacher) {
  check(config_);
  teacher_ = std::make_unique<ResNetTeacher>(teacher, type(), device_);
  const ParameterScope scope(parameters_, device_);
  student_ = std::make_unique<Student>(scope.child("student"));
  head_ = std::make_unique<SegmentationHead>(scope.child("head"), config_.head);
}

Detector::Detector(const NamedTensors& teacher, const DetectorConfig& config, std::uint64_t seed,
                   Device device)
    : config_(config), device_(device) {
  build(teacher);
  initialize_convolutions(parameters_, seed);
  head_->start_output_small();
}

Detector::Detector(const NamedTensors& teacher, const NamedTensors& model, const DetectorConfig& config,
                   const MapCalibration& calibration, std::int64_t memory_vectors, Device device)
    : config_(config), device_(device), calibration_(calibration) {
  build(teacher);
  model.load_into(parameters_);
  if (memory_vectors > 0) {
    const Shape shape{memory_vectors, kMemoryChannels};
    memory_ =
        VectorBank(Tensor::from_host<float>(shape, model.read(kMemoryName, shape), device).cast(type()));
  }
}

void Detector::remember(const Tensor& pictures, const FeatureMemoryConfig& config, std::uint64_t seed,
                        std::int64_t batch) {
  const NoGrad looking;
  MemoryCandidates candidates(config, pictures.dim(0), seed);
  for (std::int64_t first = 0; first < pictures.dim(0); first += batch) {
    const std::int64_t count = std::min(batch, pictures.dim(0) - first);
    candidates.add(memory_features(teacher_->features(normalize(pictures.slice(first, count)))));
  }
  memory_ = VectorBank(candidates.choose(device_).to(device_).cast(type()));
  ++changes_;
}

std::vector<std::pair<std::string, Tensor>> Detector::tensors() const {
  std::vector<std::pair<std::string, Tensor>> result;
  for (const auto& [name, tensor] : teacher_->tensors()) result.emplace_back("teacher." + name, tensor);
  for (const ParameterPtr& parameter : parameters_)
    result.emplace_back(parameter->name(), parameter->value());
  if (memory_) result.emplace_back(kMemoryName, memory_.vectors().cast(DType::f32));
  return result;
}

Tensor Detector::normalize(const Tensor& pictures) const { return normalized_pictures(pictures, type()); }

namespace {

/// z = (map − offset)·scale.
kernels::MapTerm term_of(const MapUnit& unit) { return {unit.scale, -unit.offset * unit.scale}; }

}  // namespace

void Detector::set_calibration(const MapCalibration& calibration) {
  calibration_ = calibration;
  ++changes_;
}

std::vector<std::int64_t> Detector::state() const {
  // Versions only grow, so their sum changes whenever one does.
  std::int64_t versions = 0;
  for (const ParameterPtr& parameter : parameters_) versions += parameter->version();
  return {versions, changes_};
}

Detector::Frame Detector::make_frame(const Tensor& pictures) const {
  const Shape maps{pictures.dim(0), pictures.dim(1), pictures.dim(2)};
  const auto map = [&] { return Tensor::empty(maps, DType::f32, device_); };
  const auto scores = static_cast<std::size_t>(maps[0]) * sizeof(float);
  return {pictures,
          {map(), map(), memory_ ? map() : Tensor(), map(), {}},
          ExchangeBlock(device_, scores),
          StepGraph(device_)};
}

Detector::Frame& Detector::frame_of(const Shape& pictures) const {
  constexpr std::size_t kKept = 4;
  const auto fits = [&](const Frame& frame) {
    return frame.pictures.shape() == pictures && static_cast<bool>(frame.found.memory) == has_memory();
  };
  const auto found = std::ranges::find_if(frames_, fits);
  if (found != frames_.end()) {
    frames_.splice(frames_.begin(), frames_, found);
    return frames_.front();
  }
  while (frames_.size() >= kKept) {
    dropped_captures_ += frames_.back().graph.captures();
    frames_.pop_back();
  }
  return frames_.emplace_front(make_frame(Tensor::empty(pictures, DType::u8, device_)));
}

std::int64_t Detector::captures() const {
  std::int64_t captures = dropped_captures_;
  for (const Frame& frame : frames_) captures += frame.graph.captures();
  return captures;
}

Inspection Detector::inspect(const Tensor& pictures) const {
  const NoGrad looking;
  if (!device_.is_cuda()) {
    Frame frame = make_frame(pictures);
    enqueue_inspection(frame);
    const std::span<const float> scores = frame.scores.host<float>();
    frame.found.scores.assign(scores.begin(), scores.end());
    return std::move(frame.found);
  }
  Frame& frame = frame_of(pictures.shape());
  frame.pictures.copy_from(pictures);
  frame.graph.run(state(), [&] { enqueue_inspection(frame); });
  // The frame's maps are the next inspection's too.
  const Inspection& maps = frame.found;
  Inspection result{maps.distance.clone(),
                    maps.segmentation.clone(),
                    maps.memory ? maps.memory.clone() : Tensor(),
                    maps.anomaly.clone(),
                    {}};
  synchronize(device_);
  const std::span<const float> scores = frame.scores.host<float>();
  result.scores.assign(scores.begin(), scores.end());
  return result;
}

void Detector::enqueue_inspection(const Frame& frame) const {
  const Tensor x = normalize(frame.pictures);
  const FeaturePair features{teacher_->features(x), student_->features(x, Mode::inference)};
  Tensor nearest;
  if (memory_) nearest = memory_.distances(memory_features(features.teacher));
  const std::vector<Tensor> distances = cosine_distances(features);
  const Tensor logits = head_->logits(feature_product(features), Mode::inference);

  const Inspection& found = frame.found;
  const Shape& map_shape = found.anomaly.shape();
  kernels::AnomalyMapArgs maps;
  maps.n = map_shape[0];
  maps.h = map_shape[1];
  maps.w = map_shape[2];
  maps.level_count = static_cast<int>(distances.size());
  for (std::size_t k = 0; k < distances.size(); ++k) {
    maps.level[k] = {distances[k].dim(1), distances[k].dim(2), distances[k].data<float>()};
  }
  maps.logits_type = logits.type();
  maps.logits_h = logits.dim(1);
  maps.logits_w = logits.dim(2);
  maps.logits = logits.raw();
  maps.distance_term = term_of(calibration_.distance);
  maps.segmentation_term = term_of(calibration_.segmentation);
  if (memory_) {
    const Tensor& layer2 = features.teacher[1];
    maps.memory = {layer2.dim(1), layer2.dim(2), nearest.data<float>()};
    maps.memory_term = term_of(calibration_.memory);
    maps.memory_map = found.memory.data<float>();
  }
  maps.distance_map = found.distance.data<float>();
  maps.segmentation_map = found.segmentation.data<float>();
  maps.combined_map = found.anomaly.data<float>();
  DDPMTS_LAUNCH(device_, anomaly_map, maps);

  kernels::TopKMeanArgs top;
  top.n = map_shape[0];
  top.pixels = map_shape[1] * map_shape[2];
  top.k = config_.top_k;
  top.map = found.anomaly.data<float>();
  top.score = frame.scores.on_device<float>();
  DDPMTS_LAUNCH(device_, top_k_mean, top);
  frame.scores.fetch();
}

}  // namespace ddpmts
