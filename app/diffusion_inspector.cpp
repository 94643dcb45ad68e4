#include "app/diffusion_inspector.h"

#include <algorithm>
#include <cstdio>

#include "eval/threshold.h"

namespace ddpmts::app {
namespace {

constexpr std::int64_t kMostHeldOut = 24;

}  // namespace

DiffusionInspector::DiffusionInspector(const RunFolder& run, DiffusionDetectorKind kind,
                                       const DiffusionInspectorOptions& options, const std::string& precision,
                                       const std::string& device)
    : source_(open_paint_source(run, "", parse_device(device))), kind_(kind) {
  const std::int64_t size = source_.trained.picture_size;
  DiffusionDetectorConfig config;
  config.kind = kind;
  config.timesteps = options.timesteps;
  config.draws = options.draws;
  config.start_timestep = options.start_timestep;
  config.views = source_.trained.views;
  config.top_k = default_top_k(size);
  const Precision arithmetic = parse_precision(precision, parse_device(device));
  detector_ = std::make_unique<DiffusionDetector>(source_.model, size, config, type_of(arithmetic));
  const Tensor good = source_.data.held_out.slice(0, std::min(kMostHeldOut, source_.data.held_out.dim(0)));
  std::printf("setting units and threshold by %lld good pictures\n", static_cast<long long>(good.dim(0)));
  std::fflush(stdout);
  detector_->calibrate(good);
  threshold_ = eval::calibrate(detector_->inspect(good).scores, {});
}

Inspector DiffusionInspector::inspector() const {
  Inspector inspector;
  inspector.size = detector_->side();
  inspector.name = fmt::format("diffusion model alone, {}", ddpmts::name_of(kind_));
  inspector.device = source_.model.network->device();
  inspector.threshold = threshold_;
  inspector.inspect = [this](const Tensor& pictures) {
    DiffusionDetector::Result found = detector_->inspect(pictures);
    return Inspector::Maps{found.anomaly, std::move(found.scores), {}};
  };
  return inspector;
}

}  // namespace ddpmts::app
