#include "models/unet.h"

#include <algorithm>

#include "layers/initialize.h"

namespace ddpmts {

const char* name_of(UNetPreset preset) {
  constexpr const char* names[] = {"xs", "s", "m"};
  return names[static_cast<int>(preset)];
}

UNetPreset parse_unet_preset(const std::string& text) {
  for (const UNetPreset preset : {UNetPreset::xs, UNetPreset::s, UNetPreset::m}) {
    if (text == name_of(preset)) return preset;
  }
  throw_error("unknown UNet '{}': expected xs, s or m", text);
}

UNetConfig preset(UNetPreset preset, std::int64_t size) {
  UNetConfig config;
  config.size = size;
  switch (size) {
    case 64:
      config.multipliers = {1, 2, 3, 4};
      break;
    case 128:
      config.multipliers = {1, 1, 2, 3, 4};
      break;
    case 256:
      config.multipliers = {1, 1, 2, 2, 4, 4};
      break;
    default:
      throw_error("diffusion model: pictures of {} pixels; the presets are made for 64, 128 and 256", size);
  }
  switch (preset) {
    case UNetPreset::xs:
      config.channels = 32;
      config.heads = 2;
      break;
    case UNetPreset::s:
      break;
    case UNetPreset::m:
      config.channels = 128;
      config.heads = 1;
      config.attention = {16};
      config.resample_in_blocks = false;
      break;
  }
  return config;
}

void check(const UNetConfig& c) {
  const auto levels = static_cast<std::int64_t>(c.multipliers.size());
  if (levels < 1 || levels > 10 ||
      std::ranges::any_of(c.multipliers, [](auto m) { return m < 1 || m > 64; })) {
    throw_error("UNet: {} channel multipliers; needs 1 to 10 of them, each 1 to 64", levels);
  }
  if (c.size < 1 || c.size > 4096 || c.size % (std::int64_t{1} << (levels - 1)) != 0) {
    throw_error("UNet: pictures of {} pixels do not halve {} times", c.size, levels - 1);
  }
  if (c.channels < 1 || c.channels > 1024 || c.channels % GroupNorm::kGroups != 0) {
    throw_error("UNet: {} channels; must be a multiple of {}, at most 1024", c.channels, GroupNorm::kGroups);
  }
  if (c.blocks < 1 || c.blocks > 16) throw_error("UNet: {} blocks per level; must be 1 to 16", c.blocks);
  if (c.heads < 1 ||
      std::ranges::any_of(c.multipliers, [&](auto m) { return m * c.channels % c.heads != 0; })) {
    throw_error("UNet: {} attention heads do not divide the channels", c.heads);
  }
  if (!(c.dropout >= 0.0f && c.dropout < 1.0f))
    throw_error("UNet: dropout is {}; must lie in [0, 1)", c.dropout);
  if (c.in_channels < 1 || c.in_channels > 64 || c.out_channels < 1 || c.out_channels > 64) {
    throw_error("UNet: {} channels in and {} out; must be 1 to 64", c.in_channels, c.out_channels);
  }
}

std::string UNetActivation::name() const {
  switch (stage) {
    case Stage::input:
      return fmt::format("input_blocks.{}.{}", block, part);
    case Stage::middle:
      return fmt::format("middle_block.{}", part);
    case Stage::output:
      return fmt::format("output_blocks.{}.{}", block, part);
    case Stage::out:
      break;
  }
  return "out";
}

namespace {

bool starts_at_zero(const std::string& name) {
  return name.ends_with(".out_layers.3.weight") || name.ends_with(".proj_out.weight") ||
         name == "out.2.weight";
}

}  // namespace

UNet::UNet(const UNetConfig& config, Device device) : config_(config), device_(device) {
  check(config);
  build();
}

UNet::UNet(const UNetConfig& config, std::uint64_t seed, Device device) : UNet(config, device) {
  initialize_uniform(parameters_, seed);
  for (const ParameterPtr& parameter : parameters_) {
    if (starts_at_zero(parameter->name())) fill(*parameter, 0.0f);
  }
}

UNet::UNet(const UNetConfig& config, const NamedTensors& weights, Device device) : UNet(config, device) {
  weights.load_into(parameters_);
}

// Lists every part in the order and under the names of ADM's checkpoints.
void UNet::build() {
  const UNetConfig& c = config_;
  const ParameterScope root(parameters_, device_);
  std::uint32_t blocks_so_far = 0;
  std::int64_t channels = c.multipliers[0] * c.channels;
  std::int64_t side = c.size;

  // Adds a part to a block, named after its position.
  const auto scope_of_next = [](const ParameterScope& scope, const Block& block) {
    return scope.child(std::to_string(block.size()));
  };
  const auto add_residual = [&](const ParameterScope& scope, Block& block, std::int64_t in, std::int64_t out,
                                Resample resample) {
    block.emplace_back(UNetBlock(scope_of_next(scope, block),
                                 {in, out, 4 * c.channels, c.scale_shift, resample, blocks_so_far++}));
    channels = out;
  };
  const auto add_attention = [&](const ParameterScope& scope, Block& block) {
    block.emplace_back(AttentionBlock(scope_of_next(scope, block), channels, c.heads));
  };
  const auto attends = [&] { return std::ranges::find(c.attention, side) != c.attention.end(); };

  time_embedding_ = std::make_unique<TimeEmbedding>(root.child("time_embed"), c.channels);

  std::vector<std::int64_t> skips;
  const auto next_input = [&] {
    return root.child("input_blocks").child(std::to_string(input_blocks_.size()));
  };
  const auto finish_input = [&](Block block) {
    input_blocks_.push_back(std::move(block));
    skips.push_back(channels);
  };
  Block stem;
  stem.emplace_back(Conv(next_input().child("0"), c.in_channels, channels, 3));
  finish_input(std::move(stem));
  for (std::size_t level = 0; level < c.multipliers.size(); ++level) {
    for (std::int64_t i = 0; i < c.blocks; ++i) {
      const ParameterScope scope = next_input();
      Block block;
      add_residual(scope, block, channels, c.multipliers[level] * c.channels, Resample::none);
      if (attends()) add_attention(scope, block);
      finish_input(std::move(block));
    }
    if (level + 1 == c.multipliers.size()) break;
    const ParameterScope scope = next_input();
    Block down;
    if (c.resample_in_blocks) {
      add_residual(scope, down, channels, channels, Resample::down);
    } else {
      down.emplace_back(Conv(scope.child("0").child("op"), channels, channels, 3, 2));
    }
    finish_input(std::move(down));
    side /= 2;
  }

  const ParameterScope middle = root.child("middle_block");
  add_residual(middle, middle_block_, channels, channels, Resample::none);
  add_attention(middle, middle_block_);
  add_residual(middle, middle_block_, channels, channels, Resample::none);

  for (std::size_t level = c.multipliers.size(); level-- > 0;) {
    for (std::int64_t i = 0; i <= c.blocks; ++i) {
      const ParameterScope scope = root.child("output_blocks").child(std::to_string(output_blocks_.size()));
      Block block;
      add_residual(scope, block, channels + skips.back(), c.multipliers[level] * c.channels, Resample::none);
      skips.pop_back();
      if (attends()) add_attention(scope, block);
      if (level > 0 && i == c.blocks) {
        if (c.resample_in_blocks) {
          add_residual(scope, block, channels, channels, Resample::up);
        } else {
          block.emplace_back(
              UpsampledConv{Conv(scope_of_next(scope, block).child("conv"), channels, channels, 3)});
        }
        side *= 2;
      }
      output_blocks_.push_back(std::move(block));
    }
  }
  out_norm_ = std::make_unique<GroupNorm>(root.child("out").child("0"), channels);
  out_conv_ = std::make_unique<Conv>(root.child("out").child("2"), channels, c.out_channels, 3);
}

Tensor UNet::run(const Block& block, UNetActivation::Stage stage, std::int64_t index, Tensor x,
                 const UNetPass& pass, const UNetObserver& observe) const {
  struct Forward {
    const Tensor& x;
    const UNetPass& pass;
    Tensor operator()(const Conv& conv) const { return conv.forward(x); }
    Tensor operator()(const UpsampledConv& up) const { return up.conv.forward(upsample_nearest_2x(x)); }
    Tensor operator()(const UNetBlock& residual) const { return residual.forward(x, pass); }
    Tensor operator()(const AttentionBlock& attention) const { return attention.forward(x); }
  };
  for (std::size_t i = 0; i < block.size(); ++i) {
    x = std::visit(Forward{x, pass}, block[i]);
    if (observe) observe({stage, index, static_cast<std::int64_t>(i), i + 1 == block.size(), x});
  }
  return x;
}

Tensor UNet::predict(const Tensor& x, const Tensor& timesteps, const UNetForward& options) const {
  const Shape expected{x.shape()[0], config_.size, config_.size, config_.in_channels};
  if (x.shape() != expected) {
    throw_error<ShapeError>("UNet: takes pictures {}, not {}", expected.text(), x.shape().text());
  }
  if (timesteps.shape() != Shape{x.dim(0)}) {
    throw_error<ShapeError>("UNet: timesteps {} for {} pictures", timesteps.shape().text(), x.dim(0));
  }
  using Stage = UNetActivation::Stage;
  const UNetPass pass{time_embedding_->forward(timesteps, x.type()), options.dropout};
  std::vector<Tensor> skips;
  Tensor h = x;
  for (std::size_t i = 0; i < input_blocks_.size(); ++i) {
    h = run(input_blocks_[i], Stage::input, static_cast<std::int64_t>(i), std::move(h), pass,
            options.observe);
    skips.push_back(h);
  }
  h = run(middle_block_, Stage::middle, 0, std::move(h), pass, options.observe);
  for (std::size_t i = 0; i < output_blocks_.size(); ++i) {
    h = concat_resized({h, skips.back()}, h.dim(1), h.dim(2));
    skips.pop_back();
    h = run(output_blocks_[i], Stage::output, static_cast<std::int64_t>(i), std::move(h), pass,
            options.observe);
  }
  GroupNormOptions activation;
  activation.silu = true;
  const Tensor prediction = out_conv_->forward(out_norm_->forward(h, activation));
  if (options.observe) options.observe({Stage::out, 0, 0, true, prediction});
  return prediction;
}

std::int64_t UNet::parameter_count() const {
  std::int64_t count = 0;
  for (const ParameterPtr& parameter : parameters_) count += parameter->shape().count();
  return count;
}

std::vector<std::pair<std::string, Tensor>> UNet::tensors() const {
  std::vector<std::pair<std::string, Tensor>> tensors;
  for (const ParameterPtr& parameter : parameters_)
    tensors.emplace_back(parameter->name(), parameter->value());
  return tensors;
}

}  // namespace ddpmts
