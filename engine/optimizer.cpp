#include "engine/optimizer.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numbers>

namespace ddpmts {

Optimizer::Optimizer(const ParameterList& parameters, const OptimizerConfig& config) : config_(config) {
  for (const ParameterPtr& parameter : parameters) {
    if (!parameter->trainable()) continue;
    const Tensor& value = parameter->value();
    Entry entry{parameter, Tensor::zeros(value.shape(), DType::f32, value.device()), {}, {}};
    if (config.kind == kernels::OptimizerKind::adamw) {
      entry.second_moment = Tensor::zeros(value.shape(), DType::f32, value.device());
    }
    if (config.average_decay > 0) entry.average = value.clone();
    parameter->grad();  // allocated now, so that the first step already has its final memory layout
    entries_.push_back(std::move(entry));
  }
  if (entries_.empty()) throw_error("optimiser: there is nothing to train");
  device_ = entries_[0].parameter->value().device();
  rates_ = ExchangeBlock(device_, sizeof(kernels::OptimizerRates));
  norm_ = ExchangeBlock(device_, 2 * sizeof(float));
}

void Optimizer::scale_lr(const std::string& prefix, float scale) {
  for (Entry& entry : entries_) {
    if (entry.parameter->name().starts_with(prefix)) entry.lr_scale *= scale;
  }
}

StepReport Optimizer::step(float learning_rate) {
  prepare(learning_rate);
  enqueue();
  return finish();
}

kernels::OptimizerStepArgs Optimizer::step_args() const {
  kernels::OptimizerStepArgs args;
  args.kind = config_.kind;
  args.slots = static_cast<const kernels::ParameterSlot*>(slots_there_.data());
  args.slot_count = static_cast<std::int64_t>(slots_.size());
  args.rates = rates_.on_device<kernels::OptimizerRates>();
  args.momentum = config_.momentum;
  args.beta1 = config_.beta1;
  args.beta2 = config_.beta2;
  args.epsilon = config_.epsilon;
  args.norm = norm_.on_device<float>();
  args.max_norm = config_.max_grad_norm;
  return args;
}

void Optimizer::prepare(float learning_rate) {
  const std::int64_t next = steps_ + 1;
  kernels::OptimizerRates rates = optimizer_rates(step_args(), next);
  rates.learning_rate = learning_rate;
  rates.average_decay = config_.average_decay;
  if (config_.average_warmup) {
    const auto step = static_cast<float>(next);
    rates.average_decay = std::min(config_.average_decay, (1.0f + step) / (10.0f + step));
  }
  rates_.host<kernels::OptimizerRates>()[0] = rates;
}

// Addresses stay as they are from the first step on, so that this copies something in the first alone.
void Optimizer::upload_slots() {
  std::vector<kernels::ParameterSlot> slots;
  slots.reserve(entries_.size());
  stepped_.clear();
  for (Entry& entry : entries_) {
    Parameter& p = *entry.parameter;
    if (!p.has_grad()) continue;
    kernels::ParameterSlot slot;
    slot.count = p.value().count();
    slot.value = p.value().data<float>();
    slot.grad = p.grad().data<float>();
    slot.first_moment = entry.first_moment.data<float>();
    slot.second_moment = entry.second_moment ? entry.second_moment.data<float>() : nullptr;
    slot.low_precision = p.has_low_precision() ? p.low_precision().data<bf16>() : nullptr;
    slot.average = entry.average ? entry.average.data<float>() : nullptr;
    slot.lr_scale = entry.lr_scale;
    slot.weight_decay = p.decays() || config_.decay_all ? config_.weight_decay : 0.0f;
    slots.push_back(slot);
    stepped_.push_back(&p);
  }
  if (slots.empty()) throw_error("optimiser: no parameter has a gradient; call backward() first");
  if (slots == slots_) return;
  slots_ = std::move(slots);
  const LastingMemory kept;
  slots_there_ = upload<kernels::ParameterSlot>(slots_, device_);
}

void Optimizer::enqueue() {
  upload_slots();
  rates_.send();
  const kernels::OptimizerStepArgs args = step_args();
  const kernels::GradientNormArgs norm_args{args.slots, args.slot_count, norm_.on_device<float>()};
  DDPMTS_LAUNCH(device_, gradient_norm, norm_args);
  DDPMTS_LAUNCH(device_, optimizer_step, args);  // changes nothing where the norm is not finite
  norm_.fetch();
  for (Parameter* parameter : stepped_) parameter->clear_grad();
}

StepReport Optimizer::finish() {
  synchronize(device_);
  const std::span<const float> norm = norm_.host<float>();
  const StepReport report{norm[0], norm[1] != 0.0f};
  if (!report.finite) return report;
  ++steps_;
  for (Parameter* parameter : stepped_) parameter->changed_with_copy();
  return report;
}

std::vector<std::pair<std::string, Tensor>> Optimizer::state() const {
  std::vector<std::pair<std::string, Tensor>> tensors;
  for (const Entry& entry : entries_) {
    const std::string& name = entry.parameter->name();
    tensors.emplace_back("first_moment." + name, entry.first_moment);
    if (entry.second_moment) tensors.emplace_back("second_moment." + name, entry.second_moment);
    if (entry.average) tensors.emplace_back("average." + name, entry.average);
  }
  return tensors;
}

void Optimizer::restore(std::int64_t steps,
                        const std::function<Tensor(const std::string& name, const Shape& shape)>& find) {
  for (auto& [name, tensor] : state()) {
    Tensor target = tensor;
    const Tensor stored = find(name, target.shape());
    if (!stored) throw_error("optimiser: the checkpoint has no tensor '{}'", name);
    target.copy_from(stored);
  }
  steps_ = steps;
}

Tensor Optimizer::average(const Parameter& parameter) const {
  for (const Entry& entry : entries_) {
    if (entry.parameter.get() == &parameter) return entry.average;
  }
  return {};
}

float cosine_schedule(double progress, double warmup, double floor) {
  progress = std::clamp(progress, 0.0, 1.0);
  if (warmup > 0 && progress < warmup) return static_cast<float>(progress / warmup);
  const double rest = warmup < 1 ? (progress - warmup) / (1 - warmup) : 1.0;
  return static_cast<float>(floor + (1 - floor) * 0.5 * (1 + std::cos(std::numbers::pi * rest)));
}

}  // namespace ddpmts
