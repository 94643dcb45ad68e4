#include "models/pretrainer.h"

#include "data/scene_recipe.h"
#include "engine/contrastive_ops.h"
#include "kernels/elementwise.h"
#include "layers/initialize.h"

namespace ddpmts {
namespace {

constexpr std::int64_t kHidden = 512, kEmbedding = 128;

Tensor normalized(const Tensor& pictures, DType type) {
  const Tensor x = Tensor::empty(pictures.shape(), type, pictures.device());
  kernels::NormalizeArgs args;
  args.type = type;
  args.pixels = pictures.count() / 3;
  args.src = pictures.data<std::uint8_t>();
  args.dst = x.raw();
  DDPMTS_LAUNCH(pictures.device(), normalize_pictures, args);
  return x;
}

void check(const PretrainingConfig& config) {
  for (const std::int64_t size : {config.size, config.final_size}) {
    if (size < 32 || size % 32 != 0 || size > 1024) {
      throw_error("pretraining: views of {} pixels; sides must be multiples of 32, up to 1024", size);
    }
  }
  if (config.batch < 2) throw_error("pretraining: a batch of {} has nothing to tell apart", config.batch);
  if (config.type != DType::f32 && config.type != DType::bf16) {
    throw_error("pretraining: activations of type {}", name_of(config.type));
  }
}

}  // namespace

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
      optimizer_(network_.parameters, config.optimizer) {}

PretrainingStepReport Pretrainer::step(double progress) {
  PretrainingStepReport report;
  report.learning_rate =
      config_.learning_rate * cosine_schedule(progress, config_.warmup, config_.final_learning_rate);
  clear_tape();
  const std::int64_t size = progress < 1.0 - config_.final_share ? config_.size : config_.final_size;
  const Tensor pictures = draw_view_pairs(config_.seed, static_cast<std::uint64_t>(steps_ * config_.batch),
                                          config_.batch, size, device_);
  const std::vector<Tensor> levels =
      network_.trunk.features(normalized(pictures, config_.type), Mode::training);
  const ContrastiveLoss loss2 = contrastive_loss(network_.head2.embed(levels[1]), config_.temperature);
  const ContrastiveLoss loss3 = contrastive_loss(network_.head3.embed(levels[2]), config_.temperature);
  const LossTerm terms[] = {{loss2.total, config_.layer2_weight}, {loss3.total, 1.0f}};
  backward(terms);
  report.loss = config_.layer2_weight * loss2.total.item() + loss3.total.item();
  report.accuracy2 = loss2.accuracy.item();
  report.accuracy3 = loss3.accuracy.item();
  const StepReport optimized = optimizer_.step(report.learning_rate);
  report.grad_norm = optimized.grad_norm;
  report.finite = optimized.finite;
  skipped_in_a_row_ = optimized.finite ? 0 : skipped_in_a_row_ + 1;
  ++steps_;
  if (skipped_in_a_row_ >= kMostFailures) {
    throw_error(
        "pretraining: {} steps in a row were not finite, up to step {}; go on from the last checkpoint with "
        "a lower learning rate, or in f32",
        skipped_in_a_row_, steps_);
  }
  return report;
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
  const Tensor pictures = Tensor::empty({2 * count, size, size, 3}, DType::u8, device);
  const Buffer scenes_there = upload<kernels::SceneRecipe>(scenes, device);
  const Buffer views_there = upload<kernels::SceneViewRecipe>(views, device);
  kernels::SceneViewsArgs args;
  args.n = 2 * count;
  args.h = args.w = size;
  args.scene_count = count;
  args.scenes = static_cast<const kernels::SceneRecipe*>(scenes_there.data());
  args.views = static_cast<const kernels::SceneViewRecipe*>(views_there.data());
  args.pictures = pictures.data<std::uint8_t>();
  DDPMTS_LAUNCH(device, scene_views, args);
  return pictures;
}

}  // namespace ddpmts
