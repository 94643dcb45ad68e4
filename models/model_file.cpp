#include "models/model_file.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>

namespace ddpmts {
namespace {

using nlohmann::json;

constexpr const char* kFormat = "ddpmts-detector";
constexpr int kVersion = 2;

json to_json(const MapUnit& unit) { return {{"offset", unit.offset}, {"scale", unit.scale}}; }
MapUnit map_unit(const json& stored) { return {stored.at("offset"), stored.at("scale")}; }

json to_json(const Model& model) {
  const DetectorConfig& config = model.detector->config();
  const MapCalibration& maps = model.detector->calibration();
  return {{"size", config.size},
          {"head", name_of(config.head)},
          {"precision", name_of(config.precision)},
          {"top_k", config.top_k},
          {"preprocessing",
           {{"mean", {0.485, 0.456, 0.406}}, {"std", {0.229, 0.224, 0.225}}, {"resize", "bilinear"}}},
          {"maps",
           {{"distance", to_json(maps.distance)},
            {"segmentation", to_json(maps.segmentation)},
            {"memory", to_json(maps.memory)}}},
          {"memory_vectors", model.detector->has_memory() ? model.detector->memory().vectors().dim(0) : 0},
          {"threshold",
           {{"threshold", model.threshold.threshold},
            {"scale", model.threshold.scale},
            {"false_alarm_rate", model.threshold.false_alarm_rate},
            {"good_count", model.threshold.good_count}}},
          {"probe_scores", model.probe_scores}};
}

}  // namespace

void write_tensors(const std::filesystem::path& path,
                   const std::vector<std::pair<std::string, Tensor>>& tensors, const Metadata& metadata) {
  std::vector<Tensor> on_host;
  std::vector<TensorToWrite> entries;
  for (const auto& [name, tensor] : tensors) {
    on_host.push_back(tensor.to(Device{}));
    const Tensor& host = on_host.back();
    const auto extents = host.shape().extents();
    entries.push_back({name,
                       stored_type(host.type()),
                       {extents.begin(), extents.end()},
                       {static_cast<const std::byte*>(host.raw()), host.bytes()}});
  }
  write_safetensors(path, entries, metadata);
}

void save_model(const std::filesystem::path& path, const Model& model) {
  auto tensors = model.detector->tensors();
  if (model.probe_pictures) tensors.emplace_back("probe_pictures", model.probe_pictures);
  write_tensors(path, tensors,
                {{"format", kFormat},
                 {"version", std::to_string(kVersion)},
                 {"weight_order", "KRSC"},
                 {"detector", to_json(model).dump()},
                 {"run", model.run_configuration}});
}

Model load_model(const std::filesystem::path& path, const std::string& precision, Device device) {
  const SafetensorsFile file(path);
  const auto metadata = [&](const char* key) -> const std::string& {
    const auto found = file.metadata().find(key);
    if (found == file.metadata().end()) {
      throw FileError(
          fmt::format("{} is no ddpmts model: its metadata lacks '{}'; use the model.safetensors of a run",
                      in_quotes(path), key),
          path);
    }
    return found->second;
  };
  if (metadata("format") != kFormat || metadata("version") != std::to_string(kVersion)) {
    throw FileError(
        fmt::format("{} has format {} version {}; this program reads {} version {}", in_quotes(path),
                    in_quotes(metadata("format")), in_quotes(metadata("version")), kFormat, kVersion),
        path);
  }
  std::optional<Precision> wanted;
  if (precision != "auto") wanted = parse_precision(precision, device);
  const auto unusable = [&](const std::exception& e) {
    return FileError(
        fmt::format("{}: its description of the detector cannot be used ({}); train again or copy the file "
                    "again",
                    in_quotes(path), e.what()),
        path);
  };
  Model model;
  DetectorConfig config;
  MapCalibration maps;
  std::int64_t memory_vectors = 0;
  try {
    const json stored = json::parse(metadata("detector"));
    config.size = stored.at("size");
    config.head = parse_head_size(stored.at("head"));
    config.top_k = stored.at("top_k");
    const Precision trained = parse_precision(stored.at("precision"), device);
    config.precision = wanted.value_or(has_fast_bf16(device) ? trained : Precision::f32);
    check(config);
    maps.distance = map_unit(stored.at("maps").at("distance"));
    maps.segmentation = map_unit(stored.at("maps").at("segmentation"));
    maps.memory = map_unit(stored.at("maps").at("memory"));
    memory_vectors = stored.at("memory_vectors");
    if (memory_vectors < 0) throw_error("a memory of {} vectors", memory_vectors);
    const json& threshold = stored.at("threshold");
    model.threshold.threshold = threshold.at("threshold");
    model.threshold.scale = threshold.at("scale");
    model.threshold.false_alarm_rate = threshold.at("false_alarm_rate");
    model.threshold.good_count = threshold.at("good_count");
    if (model.threshold.scale <= 0)
      throw_error("threshold scale {} is not above zero", model.threshold.scale);
    model.probe_scores = stored.at("probe_scores").get<std::vector<float>>();
  } catch (const json::exception& e) {
    throw unusable(e);
  } catch (const FileError&) {
    throw;  // metadata that is not there
  } catch (const Error& e) {
    throw unusable(e);
  }
  model.detector =
      std::make_unique<Detector>(NamedTensors(file, WeightOrder::krsc, "teacher."),
                                 NamedTensors(file, WeightOrder::krsc), config, maps, memory_vectors, device);
  model.run_configuration = metadata("run");
  if (!json::accept(model.run_configuration)) {
    throw FileError(
        fmt::format("{}: its record of the training is not JSON; train again or copy the file again",
                    in_quotes(path)),
        path);
  }
  if (!model.probe_scores.empty()) {
    const std::int64_t size = model.detector->config().size;
    const Shape shape{static_cast<std::int64_t>(model.probe_scores.size()), size, size, 3};
    file.require("probe_pictures", shape.extents());
    const std::vector<std::byte> bytes = file.bytes("probe_pictures");
    model.probe_pictures = Tensor::from_host<std::uint8_t>(
        shape, {reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()});
  }
  return model;
}

double probe_deviation(const Model& model) {
  if (!model.probe_pictures) return 0.0;
  const Inspection now = model.detector->inspect(model.probe_pictures.to(model.detector->device()));
  double largest = 0.0;
  for (std::size_t i = 0; i < model.probe_scores.size(); ++i) {
    const double deviation =
        std::abs(model.threshold.normalize(now.scores[i]) - model.threshold.normalize(model.probe_scores[i]));
    if (std::isnan(deviation)) return std::numeric_limits<double>::infinity();
    largest = std::max(largest, deviation);
  }
  return largest;
}

}  // namespace ddpmts
