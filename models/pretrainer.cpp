#include "models/pretrainer.h"

#include <cmath>

#include "engine/contrastive_ops.h"
#include "layers/initialize.h"
#include "models/normalized_pictures.h"

namespace ddpmts {
namespace {

constexpr std::int64_t kHidden = 512, kEmbedding = 128;

// Both views of scenes first, first + 1, …: one view of each, then the other.
void draw_pairs(std::uint64_t seed, std::uint64_t first, std::int64_t size,
                std::span<kernels::SceneRecipe> scenes, std::span<kernels::SceneViewRecipe> views) {
  const auto count = static_cast<std::int64_t>(scenes.size());
#pragma omp parallel for schedule(static)
  for (std::int64_t i = 0; i < count; ++i) {
    const std::uint64_t index = first + static_cast<std::uint64_t>(i);
    scenes[static_cast<std::size_t>(i)] = draw_scene(seed, index);
    const auto pair = draw_scene_views(seed, index, size);
    for (std::int64_t k = 0; k < 2; ++k) {
      kernels::SceneViewRecipe& view = views[static_cast<std::size_t>(k * count + i)];
      view = pair[static_cast<std::size_t>(k)];
      view.scene = static_cast<std::int32_t>(i);
    }
  }
}

// The recipes lie on the device.
Tensor enqueue_pairs(const kernels::SceneRecipe* scenes, const kernels::SceneViewRecipe* views,
                     std::int64_t count, std::int64_t size, Device device) {
  const Tensor pictures = Tensor::empty({2 * count, size, size, 3}, DType::u8, device);
  kernels::SceneViewsArgs args;
  args.n = 2 * count;
  args.h = args.w = size;
  args.scene_count = count;
  args.scenes = scenes;
  args.views = views;
  args.pictures = pictures.data<std::uint8_t>();
  DDPMTS_LAUNCH(device, scene_views, args);
  return pictures;
}

}  // namespace

void check(const PretrainingConfig& config) {
  using Config = PretrainingConfig;
  if (config.batch < Config::kLeastBatch || config.batch > Config::kMostBatch ||
      config.batch % Config::kLeastBatch != 0) {
    throw_error("pretraining: a batch of {} scenes; it must hold whole families: a multiple of {}, up to {}",
                config.batch, Config::kLeastBatch, Config::kMostBatch);
  }
  for (const std::int64_t size : {config.size, config.final_size}) {
    if (size < Config::kLeastSize || size % 32 != 0 || size > Config::kMostSize) {
      throw_error("pretraining: views of {} pixels; sides must be multiples of 32, up to {}", size,
                  Config::kMostSize);
    }
  }
  if (config.type != DType::f32 && config.type != DType::bf16) {
    throw_error("pretraining: activations of type {}", name_of(config.type));
  }
  if (!(config.temperature >= static_cast<float>(Config::kLeastTemperature) &&
        config.temperature <= static_cast<float>(Config::kMostTemperature))) {
    throw_error("pretraining: a temperature of {}; it must lie in {}..{}", config.temperature,
                Config::kLeastTemperature, Config::kMostTemperature);
  }
  const std::pair<const char*, double> shares[] = {{"final share", config.final_share},
                                                   {"warm-up", config.warmup},
                                                   {"final learning rate", config.final_learning_rate}};
  for (const auto& [name, share] : shares) {
    if (!(share >= 0.0 && share <= 1.0)) {
      throw_error("pretraining: a {} of {}; it must lie in 0..1", name, share);
    }
  }
  const std::pair<const char*, float> amounts[] = {{"weight of layer2", config.layer2_weight},
                                                   {"learning rate", config.learning_rate},
                                                   {"weight decay", config.optimizer.weight_decay},
                                                   {"largest gradient norm", config.optimizer.max_grad_norm}};
  for (const auto& [name, amount] : amounts) {
    if (!(amount >= 0.0f && std::isfinite(amount))) {
      throw_error("pretraining: a {} of {}; it must be a number, not negative", name, amount);
    }
  }
  if (config.learning_rate == 0.0f) throw_error("pretraining: a learning rate of 0 teaches nothing");
}

void check(const Pretrainer::Counters& counters) {
  const auto& [steps, optimizer_steps, skipped_in_a_row] = counters;
  if (steps < 0 || steps > Pretrainer::kMostSteps || optimizer_steps < 0 || skipped_in_a_row < 0 ||
      optimizer_steps > steps || skipped_in_a_row > steps - optimizer_steps) {
    throw_error("pretraining: no run takes {} steps with {} updates, the last {} skipped", steps,
                optimizer_steps, skipped_in_a_row);
  }
}

OptimizerConfig PretrainingConfig::default_optimizer() {
  OptimizerConfig config;
  config.weight_decay = 0.05f;
  config.max_grad_norm = 1.0f;
  return config;
}

Pretrainer::Head::Head(const ParameterScope& scope, std::int64_t in)
    : hidden(scope, "hidden", "norm", in, kHidden, 1), out(scope.child("out"), kHidden, kEmbedding, 1) {}

Tensor Pretrainer::Head::embed(const Tensor& level) const {
  return out.forward(hidden.forward(global_average_pool(level), Mode::training, true));
}

Pretrainer::Network::Network(std::uint64_t seed, Device device)
    : trunk(ParameterScope(parameters, device)),
      head2(ParameterScope(parameters, device).child("head2"), 128),
      head3(ParameterScope(parameters, device).child("head3"), 256) {
  initialize_convolutions(parameters, seed);
}

Pretrainer::Pretrainer(const PretrainingConfig& config, Device device)
    : config_((check(config), config)),
      device_(device),
      network_(config.seed, device),
      optimizer_(network_.parameters, config.optimizer),
      scenes_(device, static_cast<std::size_t>(config.batch) * sizeof(kernels::SceneRecipe)),
      views_(device, 2 * static_cast<std::size_t>(config.batch) * sizeof(kernels::SceneViewRecipe)),
      losses_(device, 4 * sizeof(float)),
      graph_(device, network_.parameters) {}

PretrainingStepReport Pretrainer::step(double progress) {
  PretrainingStepReport report;
  report.learning_rate =
      config_.learning_rate * cosine_schedule(progress, config_.warmup, config_.final_learning_rate);
  const std::int64_t size = progress < 1.0 - config_.final_share ? config_.size : config_.final_size;
  draw_pairs(config_.seed, static_cast<std::uint64_t>(steps_ * config_.batch), size,
             scenes_.host<kernels::SceneRecipe>(), views_.host<kernels::SceneViewRecipe>());
  optimizer_.prepare(report.learning_rate);
  clear_tape();
  graph_.run({size}, [this, size] { enqueue_step(size); });
  const StepReport optimized = optimizer_.finish();
  const std::span<const float> losses = losses_.host<float>();
  report.loss = config_.layer2_weight * losses[0] + losses[2];
  report.accuracy2 = losses[1];
  report.accuracy3 = losses[3];
  report.grad_norm = optimized.grad_norm;
  report.finite = optimized.finite;
  skipped_in_a_row_ = optimized.finite ? 0 : skipped_in_a_row_ + 1;
  ++steps_;
  return report;
}

void Pretrainer::enqueue_step(std::int64_t size) {
  scenes_.send();
  views_.send();
  const Tensor pictures =
      enqueue_pairs(scenes_.on_device<kernels::SceneRecipe>(), views_.on_device<kernels::SceneViewRecipe>(),
                    config_.batch, size, device_);
  const std::vector<Tensor> levels =
      network_.trunk.features(normalized_pictures(pictures, config_.type), Mode::training);
  const ContrastiveLoss of_levels[] = {
      contrastive_loss(network_.head2.embed(levels[1]), config_.temperature),
      contrastive_loss(network_.head3.embed(levels[2]), config_.temperature)};
  float* out = losses_.on_device<float>();
  for (const ContrastiveLoss& loss : of_levels) {
    for (const Tensor& value : {loss.total, loss.accuracy}) {
      copy_bytes(out++, device_, value.raw(), device_, value.bytes());
    }
  }
  losses_.fetch();
  const LossTerm terms[] = {{of_levels[0].total, config_.layer2_weight}, {of_levels[1].total, 1.0f}};
  backward(terms);
  optimizer_.enqueue();
}

std::vector<std::pair<std::string, Tensor>> Pretrainer::state() const {
  std::vector<std::pair<std::string, Tensor>> tensors = optimizer_.state();
  for (const ParameterPtr& parameter : network_.parameters) {
    tensors.emplace_back(parameter->name(), parameter->value());
  }
  return tensors;
}

void Pretrainer::restore(const Counters& counters,
                         const std::function<Tensor(const std::string&, const Shape&)>& find) {
  check(counters);
  optimizer_.restore(counters.optimizer_steps, find);
  for (const ParameterPtr& parameter : network_.parameters) {
    const Tensor stored = find(parameter->name(), parameter->shape());
    if (!stored) throw_error("pretraining: the checkpoint has no tensor '{}'", parameter->name());
    parameter->value().copy_from(stored);
    parameter->changed();
  }
  steps_ = counters.steps;
  skipped_in_a_row_ = counters.skipped_in_a_row;
}

Tensor draw_view_pairs(std::uint64_t seed, std::uint64_t first, std::int64_t count, std::int64_t size,
                       Device device) {
  std::vector<kernels::SceneRecipe> scenes(static_cast<std::size_t>(count));
  std::vector<kernels::SceneViewRecipe> views(static_cast<std::size_t>(2 * count));
  draw_pairs(seed, first, size, scenes, views);
  const Buffer scenes_there = upload<kernels::SceneRecipe>(scenes, device);
  const Buffer views_there = upload<kernels::SceneViewRecipe>(views, device);
  return enqueue_pairs(static_cast<const kernels::SceneRecipe*>(scenes_there.data()),
                       static_cast<const kernels::SceneViewRecipe*>(views_there.data()), count, size, device);
}

}  // namespace ddpmts
