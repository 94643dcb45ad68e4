#include "models/diffusion_trainer.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/triplet.h"

namespace ddpmts {
namespace {

// Element of a sample's Philox step that draws its timestep; its noise draws from the elements below.
constexpr std::uint32_t kDrawTimestep = 0xffffffff;

bool all_finite(const Tensor& x) {
  return std::ranges::all_of(x.to_floats(), [](float value) { return std::isfinite(value); });
}

}  // namespace

OptimizerConfig DiffusionTrainingConfig::default_optimizer() {
  OptimizerConfig config;
  config.weight_decay = 0.0f;
  config.max_grad_norm = 1.0f;
  config.average_decay = 0.9999f;
  config.average_warmup = true;
  return config;
}

void TimestepLosses::add(std::int64_t timestep, float loss) {
  const auto bucket = static_cast<std::size_t>(timestep * kBuckets / steps_);
  sums_[bucket] += static_cast<double>(loss);
  ++counts_[bucket];
}

double TimestepLosses::mean(std::int64_t bucket) const {
  const auto i = static_cast<std::size_t>(bucket);
  return counts_[i] == 0 ? std::numeric_limits<double>::quiet_NaN()
                         : sums_[i] / static_cast<double>(counts_[i]);
}

DiffusionTrainer::DiffusionTrainer(UNet& network, const NoiseSchedule& schedule, Tensor pictures,
                                   const DiffusionTrainingConfig& config)
    : network_(network),
      schedule_(schedule),
      tables_(schedule.tables(network.device())),
      pictures_(std::move(pictures)),
      config_(config),
      optimizer_(network.parameters(), config.optimizer),
      losses_(schedule.steps()) {
  const std::int64_t size = network.config().size;
  if (pictures_.shape().rank() != 4 || pictures_.dim(0) < 1 || pictures_.dim(1) != size ||
      pictures_.dim(2) != size || pictures_.dim(3) != 3 || pictures_.type() != DType::u8) {
    throw_error<ShapeError>("diffusion training: pictures must be u8 [count, {}, {}, 3], not {} {}", size,
                            size, name_of(pictures_.type()), pictures_.shape().text());
  }
  if (network.config().in_channels != 3 || network.config().out_channels != 3) {
    throw_error("diffusion training: the network takes {} channels and gives {}; needs 3 and 3",
                network.config().in_channels, network.config().out_channels);
  }
  if (config.batch < 1 || config.accumulation < 1) {
    throw_error("diffusion training: {} micro-batches of {} pictures", config.accumulation, config.batch);
  }
  if (config.type != DType::f32 && config.type != DType::bf16) {
    throw_error("diffusion training: activations of type {}", name_of(config.type));
  }
  config_.synthesis.no_defect_probability = 1.0f;
  config_.synthesis.folder_weight = 0.0f;
  check(config_.synthesis, pictures_.dim(0), 0);
}

DiffusionTrainer::Batch DiffusionTrainer::draw_batch(std::int64_t micro) const {
  const std::int64_t size = network_.config().size, n = config_.batch;
  const Device device = network_.device();
  const std::int64_t first_sample = (steps_ * config_.accumulation + micro) * n;
  std::vector<kernels::TripletRecipe> recipes;
  Batch batch;
  for (std::int64_t i = 0; i < n; ++i) {
    const auto sample = static_cast<std::uint64_t>(first_sample + i);
    recipes.push_back(draw_recipe(config_.synthesis, config_.seed, sample, pictures_.dim(0), 0, size, size));
    const kernels::Philox random{config_.seed, kernels::RandomStream::diffusion, sample};
    batch.timesteps_on_host.push_back(static_cast<std::int32_t>(
        kernels::uniform_index(random.bits(kDrawTimestep).x, static_cast<std::uint32_t>(schedule_.steps()))));
  }
  batch.timesteps = Tensor::from_host<std::int32_t>({n}, batch.timesteps_on_host, device);

  // A triplet without a defect: the same picture twice, and an empty mask.
  const Shape shape{n, size, size, 3};
  const Tensor x_0 = Tensor::empty(shape, config_.type, device);
  const Tensor same = Tensor::empty(shape, config_.type, device);
  const Tensor mask = Tensor::empty({n, size, size}, DType::u8, device);
  const Buffer on_device = upload<kernels::TripletRecipe>(recipes, device);
  kernels::TripletArgs args;
  args.type = config_.type;
  args.n = n;
  args.h = args.w = size;
  args.pictures = pictures_.data<std::uint8_t>();
  args.recipes = static_cast<const kernels::TripletRecipe*>(on_device.data());
  args.normal = x_0.raw();
  args.defective = same.raw();
  args.mask = mask.data<std::uint8_t>();
  std::fill_n(args.mean, 3, 0.5f);
  std::fill_n(args.std, 3, 0.5f);
  DDPMTS_LAUNCH(device, triplet, args);

  const NoisedPictures noised =
      forward_diffusion(x_0, batch.timesteps, tables_, config_.seed, static_cast<std::uint64_t>(first_sample),
                        config_.prediction);
  batch.x_t = noised.x_t;
  batch.target = noised.target;
  return batch;
}

Tensor DiffusionTrainer::predict(const Batch& batch, std::int64_t micro, const UNetObserver& observe) const {
  UNetForward options;
  options.dropout = {network_.config().dropout, config_.seed,
                     static_cast<std::uint64_t>(steps_ * config_.accumulation + micro)};
  options.observe = observe;
  return network_.predict(batch.x_t, batch.timesteps, options);
}

DiffusionStepReport DiffusionTrainer::step(double progress) {
  DiffusionStepReport report;
  report.learning_rate =
      config_.learning_rate * cosine_schedule(progress, config_.warmup, config_.final_learning_rate);
  clear_tape();
  const float share = 1.0f / static_cast<float>(config_.accumulation);
  for (std::int64_t micro = 0; micro < config_.accumulation; ++micro) {
    const Batch batch = draw_batch(micro);
    const NoiseLoss loss = noise_loss(predict(batch, micro), batch.target);
    const LossTerm term{loss.total, share};
    backward({&term, 1});
    const std::vector<float> per_picture = loss.per_picture.to_floats();
    for (std::size_t i = 0; i < per_picture.size(); ++i) {
      if (std::isfinite(per_picture[i])) losses_.add(batch.timesteps_on_host[i], per_picture[i]);
    }
    report.loss += share * loss.total.item();
  }
  const StepReport optimized = optimizer_.step(report.learning_rate);
  report.grad_norm = optimized.grad_norm;
  report.finite = optimized.finite;
  skipped_in_a_row_ = optimized.finite ? 0 : skipped_in_a_row_ + 1;
  skipped_ += optimized.finite ? 0 : 1;
  if (skipped_in_a_row_ >= kMostFailures) {
    throw_error<DivergedError>(
        "diffusion training: {} steps in a row were not finite, up to step {}; first in {}; go on from the "
        "last checkpoint "
        "with a lower learning rate, or in f32",
        skipped_in_a_row_, steps_, first_failure());
  }
  ++steps_;
  return report;
}

std::string DiffusionTrainer::first_failure() const {
  for (const ParameterPtr& parameter : network_.parameters()) {
    if (!all_finite(parameter->value())) return "the weight " + parameter->name();
  }
  clear_tape();
  for (std::int64_t micro = 0; micro < config_.accumulation; ++micro) {
    const Batch batch = draw_batch(micro);
    if (!all_finite(batch.x_t)) return "the noised pictures";
    std::string first;
    const UNetObserver observe = [&first](const UNetActivation& activation) {
      if (first.empty() && !all_finite(activation.value)) first = "the output of " + activation.name();
    };
    const NoiseLoss loss = noise_loss(predict(batch, micro, observe), batch.target);
    if (!first.empty()) return first;
    if (!all_finite(loss.total)) return "the loss";
    backward(loss.total);
  }
  // The backward pass visits parameters last to first.
  for (auto it = network_.parameters().rbegin(); it != network_.parameters().rend(); ++it) {
    if ((*it)->has_grad() && !all_finite((*it)->grad())) return "the gradient of " + (*it)->name();
  }
  return "the norm of all gradients";
}

DiffusionTrainer::Counters DiffusionTrainer::counters() const {
  return {steps_, optimizer_.steps(), skipped_, skipped_in_a_row_};
}

void DiffusionTrainer::restore(const Counters& counters,
                               const std::function<Tensor(const std::string&, const Shape&)>& find) {
  optimizer_.restore(counters.optimizer_steps, find);
  steps_ = counters.steps;
  skipped_ = counters.skipped;
  skipped_in_a_row_ = counters.skipped_in_a_row;
}

std::vector<std::pair<std::string, Tensor>> DiffusionTrainer::averaged_tensors() const {
  std::vector<std::pair<std::string, Tensor>> tensors;
  for (const ParameterPtr& parameter : network_.parameters()) {
    const Tensor average = optimizer_.average(*parameter);
    tensors.emplace_back(parameter->name(), average ? average : parameter->value());
  }
  return tensors;
}

void DiffusionTrainer::copy_average_to(UNet& target) const {
  const auto tensors = averaged_tensors();
  const ParameterList& parameters = target.parameters();
  if (!(target.config() == network_.config())) {
    throw_error("diffusion training: the average does not fit a network of another configuration");
  }
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    parameters[i]->value().copy_from(tensors[i].second);
    parameters[i]->changed();
  }
}

}  // namespace ddpmts
