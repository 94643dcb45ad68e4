#include "models/sampler.h"

#include <algorithm>
#include <cmath>

#include "kernels/philox.h"

namespace ddpmts {
namespace {

// The Philox step of picture `index`: its start draws with 0, its reverse step i with i + 1, its s with kDrawS. Training
// draws with steps below 2^63.
constexpr std::uint64_t kDrawS = 0xffff;
std::uint64_t random_step(std::uint64_t index, std::uint64_t draw) {
  return std::uint64_t{1} << 63 | index << 16 | draw;
}

}  // namespace

Sampler::Sampler(const UNet& network, const NoiseSchedule& schedule, const SamplerConfig& config, DType type)
    : network_(network), config_(config), type_(type), schedule_(schedule.respaced(config.steps)) {
  if (network.config().in_channels != 3 || network.config().out_channels != 3) {
    throw_error("sampler: the network takes {} channels and gives {}; needs 3 and 3",
                network.config().in_channels, network.config().out_channels);
  }
  if (config.steps >= static_cast<std::int64_t>(kDrawS))
    throw_error("sampler: {} steps are too many", config.steps);
  if (!(config.s_low >= 0.0 && config.s_low <= config.s_high && config.s_high <= 10.0)) {
    throw_error("sampler: s is {} to {}; it must be a range within 0 to 10", config.s_low, config.s_high);
  }
  if (!(config.delta >= 0.0 && config.delta <= 1.0)) {
    throw_error("sampler: delta is {}; it must lie in 0 to 1", config.delta);
  }
  if (!(config.step.eta >= 0.0 && config.step.eta <= 1.0)) {
    throw_error("sampler: eta is {}; it must lie in 0 to 1", config.step.eta);
  }
  if (config.start_timestep >= schedule.steps()) {
    throw_error("sampler: starts at timestep {} of {}", config.start_timestep, schedule.steps());
  }
  first_ = schedule_.size() - 1;
  while (config.start_timestep >= 0 && schedule_.timesteps[first_] > config.start_timestep) --first_;
}

void Sampler::check(const SampleBatch& batch) const {
  const auto n = static_cast<std::int64_t>(batch.indices.size());
  const std::int64_t size = network_.config().size;
  if (n < 1 || std::ranges::any_of(batch.indices, [](std::uint64_t j) { return j >> 47 != 0; })) {
    throw_error<ShapeError>("sampler: {} pictures; their indices must be below 2^47", n);
  }
  const auto require = [](const char* what, const Tensor& x, const Shape& shape) {
    if (x && (x.shape() != shape || x.type() != DType::u8)) {
      throw_error<ShapeError>("sampler: {} must be u8 {}, not {} {}", what, shape.text(), name_of(x.type()),
                              x.shape().text());
    }
  };
  require("pictures", batch.pictures, {n, size, size, 3});
  require("mask", batch.mask, {n, size, size});
  if (config_.start_timestep >= 0 && !batch.pictures) {
    throw_error<ShapeError>("sampler: starting at timestep {} needs pictures to start from",
                            config_.start_timestep);
  }
  if (batch.keep_outside && (!batch.pictures || !batch.mask)) {
    throw_error<ShapeError>("sampler: keeping what lies outside of the mask needs pictures and a mask");
  }
}

// x at the first timestep, f32. Each picture has random numbers of its own, hence one call each.
Tensor Sampler::start(const SampleBatch& batch) const {
  const std::int64_t size = network_.config().size;
  const Device device = network_.device();
  const Shape one{1, size, size, 3};
  const double a = config_.start_timestep >= 0 ? schedule_.alphas_cumprod[first_] : 0.0;
  const auto table = [&](double value) {
    const auto entry = static_cast<float>(value);
    return Tensor::from_host<float>({1}, {&entry, 1}, device);
  };
  const DiffusionTables tables{table(std::sqrt(a)), table(std::sqrt(1.0 - a))};
  const Tensor only_entry = Tensor::zeros({1}, DType::i32, device);
  const Tensor pictures =
      config_.start_timestep >= 0 ? to_network_range(batch.pictures, DType::f32) : Tensor();
  const auto n = static_cast<std::int64_t>(batch.indices.size());
  const Tensor x = Tensor::empty({n, size, size, 3}, DType::f32, device);
  const Tensor x_0 = Tensor::zeros(one, DType::f32, device);
  const auto at = [&](const Tensor& tensor, std::size_t i) {
    return static_cast<char*>(tensor.raw()) + i * x_0.bytes();
  };
  for (std::size_t i = 0; i < batch.indices.size(); ++i) {
    if (pictures) copy_bytes(x_0.raw(), device, at(pictures, i), device, x_0.bytes());
    const NoisedPictures noised =
        forward_diffusion(x_0, only_entry, tables, config_.seed, random_step(batch.indices[i], 0));
    copy_bytes(at(x, i), device, noised.x_t.raw(), device, x_0.bytes());
  }
  return x;
}

Disturbance Sampler::disturbance_of(std::uint64_t index) const {
  const kernels::Philox random{config_.seed, kernels::RandomStream::diffusion, random_step(index, kDrawS)};
  const double share = kernels::uniform01(random.bits(0).x);
  return {config_.s_low + (config_.s_high - config_.s_low) * share, config_.delta};
}

Sampler::Chain& Sampler::chain_of(const SampleBatch& batch) const {
  const auto n = static_cast<std::int64_t>(batch.indices.size());
  const std::int64_t size = network_.config().size;
  const Shape pictures{n, size, size, 3};
  if (chain_ && chain_->x.shape() == pictures &&
      static_cast<bool>(chain_->step.mask) == static_cast<bool>(batch.mask) &&
      static_cast<bool>(chain_->step.known) == batch.keep_outside) {
    return *chain_;
  }
  if (chain_) dropped_captures_ += chain_->graph.captures();
  const Device device = network_.device();
  const auto tensor = [&](const Shape& shape, DType type) { return Tensor::empty(shape, type, device); };
  ReverseStep step;
  step.seed = config_.seed;
  if (batch.mask) step.mask = tensor({n, size, size}, DType::u8);
  if (batch.keep_outside) step.known = tensor(pictures, type_);
  const std::size_t coefficients = batch.indices.size() * sizeof(kernels::ReverseStepCoefficients);
  chain_.reset();  // its memory first
  chain_.reset(new Chain{tensor(pictures, DType::f32),
                         tensor({n}, DType::i32),
                         Buffer(device, coefficients),
                         step,
                         {tensor(pictures, type_), tensor(pictures, DType::u8)},
                         StepGraph(device)});
  return *chain_;
}

void Sampler::enqueue_step(const Chain& chain) const {
  const Tensor noise = network_.predict(chain.outputs.next_input, chain.timesteps);
  reverse_step(chain.x, noise, chain.step,
               static_cast<const kernels::ReverseStepCoefficients*>(chain.coefficients.data()),
               chain.outputs);
}

Tensor Sampler::sample(const SampleBatch& batch, const std::function<void(std::int64_t)>& after_step) const {
  check(batch);
  const NoGrad painting;
  const Device device = network_.device();
  std::vector<Disturbance> disturbances;
  for (const std::uint64_t index : batch.indices) disturbances.push_back(disturbance_of(index));

  Chain& chain = chain_of(batch);
  chain.x.copy_from(start(batch));
  chain.outputs.next_input.copy_from(chain.x.cast(type_));
  if (batch.mask) chain.step.mask.copy_from(batch.mask);
  if (batch.keep_outside) chain.step.known.copy_from(to_network_range(batch.pictures, type_));
  std::int64_t versions = 0;  // only grow, so that their sum changes whenever one does
  for (const ParameterPtr& parameter : network_.parameters()) versions += parameter->version();

  std::vector<kernels::ReverseStepCoefficients> coefficients(batch.indices.size());
  for (std::size_t i = first_ + 1; i-- > 0;) {
    const std::vector<std::int32_t> t(batch.indices.size(),
                                      static_cast<std::int32_t>(schedule_.timesteps[i]));
    for (std::size_t j = 0; j < coefficients.size(); ++j) {
      coefficients[j] = reverse_coefficients(schedule_, i, config_.step, disturbances[j], config_.prediction);
      coefficients[j].random_step = random_step(batch.indices[j], i + 1);
    }
    copy_bytes(chain.timesteps.raw(), device, t.data(), {}, chain.timesteps.bytes());
    copy_bytes(chain.coefficients.data(), device, coefficients.data(), {}, chain.coefficients.bytes());
    chain.graph.run({versions}, [&] { enqueue_step(chain); });
    if (after_step) after_step(static_cast<std::int64_t>(first_ - i + 1));
  }
  return chain.outputs.pictures.clone();
}

}  // namespace ddpmts
