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
      losses_(schedule.steps()),
      graph_(network.device(), network.parameters()) {
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
  const Device device = network.device();
  const auto batches = static_cast<std::size_t>(config.accumulation);
  const std::size_t of_a_step = batches * static_cast<std::size_t>(config.batch);
  offsets_ = ExchangeBlock(device, sizeof(Offsets));
  recipes_ = ExchangeBlock(device, of_a_step * sizeof(kernels::TripletRecipe));
  timesteps_ = ExchangeBlock(device, of_a_step * sizeof(std::int32_t));
  picture_losses_ = ExchangeBlock(device, of_a_step * sizeof(float));
  batch_losses_ = ExchangeBlock(device, batches * sizeof(float));
}

void DiffusionTrainer::prepare_draws() {
  const std::int64_t size = network_.config().size;
  const auto passes = static_cast<std::uint64_t>(steps_ * config_.accumulation);
  auto sample = passes * static_cast<std::uint64_t>(config_.batch);
  offsets_.host<Offsets>()[0] = {sample, passes << 16};
  const std::span<kernels::TripletRecipe> recipes = recipes_.host<kernels::TripletRecipe>();
  const std::span<std::int32_t> timesteps = timesteps_.host<std::int32_t>();
  for (std::size_t i = 0; i < recipes.size(); ++i, ++sample) {
    recipes[i] = draw_recipe(config_.synthesis, config_.seed, sample, pictures_.dim(0), 0, size, size);
    const kernels::Philox random{config_.seed, kernels::RandomStream::diffusion, sample};
    timesteps[i] = static_cast<std::int32_t>(
        kernels::uniform_index(random.bits(kDrawTimestep).x, static_cast<std::uint32_t>(schedule_.steps())));
  }
}

void DiffusionTrainer::send_draws() const {
  offsets_.send();
  recipes_.send();
  timesteps_.send();
}

DiffusionTrainer::Batch DiffusionTrainer::enqueue_batch(std::int64_t micro) const {
  const std::int64_t size = network_.config().size, n = config_.batch;
  const Device device = network_.device();
  Batch batch;
  batch.timesteps = Tensor::empty({n}, DType::i32, device);
  copy_bytes(batch.timesteps.raw(), device, timesteps_.on_device<std::int32_t>() + micro * n, device,
             batch.timesteps.bytes());

  // A triplet without a defect: the same picture twice, and an empty mask.
  const Shape shape{n, size, size, 3};
  const Tensor x_0 = Tensor::empty(shape, config_.type, device);
  const Tensor same = Tensor::empty(shape, config_.type, device);
  const Tensor mask = Tensor::empty({n, size, size}, DType::u8, device);
  kernels::TripletArgs args;
  args.type = config_.type;
  args.n = n;
  args.h = args.w = size;
  args.pictures = pictures_.data<std::uint8_t>();
  args.recipes = recipes_.on_device<kernels::TripletRecipe>() + micro * n;
  args.normal = x_0.raw();
  args.defective = same.raw();
  args.mask = mask.data<std::uint8_t>();
  std::fill_n(args.mean, 3, 0.5f);
  std::fill_n(args.std, 3, 0.5f);
  DDPMTS_LAUNCH(device, triplet, args);

  const NoisedPictures noised =
      forward_diffusion(x_0, batch.timesteps, tables_, config_.seed, static_cast<std::uint64_t>(micro * n),
                        config_.prediction, &offsets_.on_device<Offsets>()->samples);
  batch.x_t = noised.x_t;
  batch.target = noised.target;
  return batch;
}

Tensor DiffusionTrainer::predict(const Batch& batch, std::int64_t micro, const UNetObserver& observe) const {
  UNetForward options;
  options.dropout = {network_.config().dropout, config_.seed, static_cast<std::uint64_t>(micro),
                     &offsets_.on_device<Offsets>()->dropout};
  options.observe = observe;
  return network_.predict(batch.x_t, batch.timesteps, options);
}

DiffusionStepReport DiffusionTrainer::step(double progress) {
  DiffusionStepReport report;
  report.learning_rate =
      config_.learning_rate * cosine_schedule(progress, config_.warmup, config_.final_learning_rate);
  prepare_draws();
  optimizer_.prepare(report.learning_rate);
  clear_tape();
  graph_.run({}, [this] { enqueue_step(); });
  const StepReport optimized = optimizer_.finish();
  const std::span<const float> per_picture = picture_losses_.host<float>();
  const std::span<const std::int32_t> timesteps = timesteps_.host<std::int32_t>();
  for (std::size_t i = 0; i < per_picture.size(); ++i) {
    if (std::isfinite(per_picture[i])) losses_.add(timesteps[i], per_picture[i]);
  }
  for (const float loss : batch_losses_.host<float>()) {
    report.loss += 1.0f / static_cast<float>(config_.accumulation) * loss;
  }
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

void DiffusionTrainer::enqueue_step() {
  const Device device = network_.device();
  const float share = 1.0f / static_cast<float>(config_.accumulation);
  send_draws();
  for (std::int64_t micro = 0; micro < config_.accumulation; ++micro) {
    const Batch batch = enqueue_batch(micro);
    const NoiseLoss loss = noise_loss(predict(batch, micro), batch.target);
    copy_bytes(picture_losses_.on_device<float>() + micro * config_.batch, device, loss.per_picture.raw(),
               device, loss.per_picture.bytes());
    copy_bytes(batch_losses_.on_device<float>() + micro, device, loss.total.raw(), device,
               loss.total.bytes());
    const LossTerm term{loss.total, share};
    backward({&term, 1});
  }
  picture_losses_.fetch();
  batch_losses_.fetch();
  optimizer_.enqueue();
}

std::string DiffusionTrainer::first_failure() const {
  for (const ParameterPtr& parameter : network_.parameters()) {
    if (!all_finite(parameter->value())) return "the weight " + parameter->name();
  }
  clear_tape();
  send_draws();
  for (std::int64_t micro = 0; micro < config_.accumulation; ++micro) {
    const Batch batch = enqueue_batch(micro);
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
