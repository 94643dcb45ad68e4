// The diffusion model's network: ADM's UNet (arXiv 2105.05233) with its optional parts as switches, and the smaller shapes
// that diffusion models of industrial parts use.
//
// Parameters are named as in ADM's public checkpoints: time_embed.0.weight, input_blocks.0.0.weight,
// middle_block.1.qkv.weight, output_blocks.5.2.in_layers.0.weight, out.2.bias. Such a checkpoint fits after two changes:
// convolution weights go from OIHW to KRSC (the 1-D weights of qkv and proj_out gain two extents of 1), and the rows of qkv
// go into the order [q | k | v], each head after head.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "layers/attention_block.h"
#include "layers/time_embedding.h"
#include "layers/unet_block.h"
#include "models/named_tensors.h"

namespace ddpmts {

struct UNetConfig {
  std::int64_t size = 64;      ///< side of the pictures; divisible by 2^(levels − 1)
  std::int64_t channels = 64;  ///< at multiplier 1; a multiple of 32
  std::vector<std::int64_t> multipliers = {1, 2, 3,
                                           4};        ///< of each level; the side halves from one to the next
  std::int64_t blocks = 2;                            ///< residual blocks per level (one more in the decoder)
  std::vector<std::int64_t> attention = {32, 16, 8};  ///< sides of the maps with self-attention
  std::int64_t heads = 4;
  bool scale_shift = false;  ///< the embedding as scale and shift of the second norm, not added before it
  bool resample_in_blocks = true;  ///< false: a strided convolution down, nearest and a convolution up
  float dropout = 0.0f;            ///< in training
  std::int64_t in_channels = 3, out_channels = 3;

  bool operator==(const UNetConfig&) const = default;
};

enum class UNetPreset { xs, s, m };
const char* name_of(UNetPreset preset);
/// Throws Error on anything but "xs", "s", "m".
UNetPreset parse_unet_preset(const std::string& text);

/// xs: 32 channels (8.3 M parameters at 256 pixels), s: 64 (33.0 M), both with attention on maps of 32, 16 and 8 pixels as
/// DDAD (arXiv 2305.15956); m: 128 (113.7 M), attention at 16, one head, resampling by convolutions, as DDPM's LSUN models
/// (arXiv 2006.11239). size is 64, 128 or 256; the multipliers are ADM's for each: (1,2,3,4), (1,1,2,3,4), (1,1,2,2,4,4), so
/// that the coarsest map is always 8×8. Throws Error for another size.
UNetConfig preset(UNetPreset preset, std::int64_t size);

/// Throws Error when the configuration makes no sense.
void check(const UNetConfig& config);

/// One of the network's results on the way: what a part (residual block, attention, convolution) hands on.
struct UNetActivation {
  enum class Stage { input, middle, output, out };
  Stage stage = Stage::input;
  std::int64_t block = 0;   ///< index within the stage
  std::int64_t part = 0;    ///< index within the block
  bool ends_block = false;  ///< its last part
  const Tensor& value;      ///< [N,h,w,c]

  std::string name() const;  ///< "output_blocks.3.1"
};
using UNetObserver = std::function<void(const UNetActivation&)>;

struct UNetForward {
  /// Training draws its dropout from these; probability 0 switches it off, whatever the configuration says.
  DropoutDraw dropout;
  /// Sees every part's result. The decoder's blocks, as feature taps (arXiv 2112.03126), are those of Stage::output with
  /// ends_block.
  UNetObserver observe;
};

class UNet {
 public:
  /// Starts from `seed`: weights uniform in ±1/√fan_in, biases 0, each residual branch's last convolution and the output
  /// convolution 0 (arXiv 2105.05233).
  UNet(const UNetConfig& config, std::uint64_t seed, Device device);
  /// Takes the weights from `weights`, by name.
  UNet(const UNetConfig& config, const NamedTensors& weights, Device device);
  UNet(const UNet&) = delete;
  UNet& operator=(const UNet&) = delete;

  /// x [N,size,size,in_channels] f32 or bf16, timesteps [N] i32 → predicted noise [N,size,size,out_channels] in x's type.
  Tensor predict(const Tensor& x, const Tensor& timesteps, const UNetForward& options = {}) const;

  const UNetConfig& config() const { return config_; }
  Device device() const { return device_; }
  const ParameterList& parameters() const { return parameters_; }
  std::int64_t parameter_count() const;
  /// All parameters by name, f32, convolution weights in KRSC order.
  std::vector<std::pair<std::string, Tensor>> tensors() const;

 private:
  struct UpsampledConv {
    Conv conv;
  };
  using Part = std::variant<Conv, UpsampledConv, UNetBlock, AttentionBlock>;
  using Block = std::vector<Part>;

  UNet(const UNetConfig& config, Device device);
  void build();
  Tensor run(const Block& block, UNetActivation::Stage stage, std::int64_t index, Tensor x,
             const UNetPass& pass, const UNetObserver& observe) const;

  UNetConfig config_;
  Device device_;
  ParameterList parameters_;
  std::unique_ptr<TimeEmbedding> time_embedding_;
  std::vector<Block> input_blocks_, output_blocks_;
  Block middle_block_;
  std::unique_ptr<GroupNorm> out_norm_;
  std::unique_ptr<Conv> out_conv_;
};

}  // namespace ddpmts
