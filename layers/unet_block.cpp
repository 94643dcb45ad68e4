#include "layers/unet_block.h"

namespace ddpmts {

UNetBlock::UNetBlock(const ParameterScope& scope, const UNetBlockConfig& config)
    : config_(config),
      in_norm_(scope.child("in_layers").child("0"), config.in),
      in_conv_(scope.child("in_layers").child("2"), config.in, config.out, 3),
      embedding_(scope.child("emb_layers").child("1"), config.embedding,
                 config.scale_shift ? 2 * config.out : config.out),
      out_norm_(scope.child("out_layers").child("0"), config.out),
      out_conv_(scope.child("out_layers").child("3"), config.out, config.out, 3) {
  if (config.in != config.out) skip_.emplace(scope.child("skip_connection"), config.in, config.out, 1);
}

Tensor UNetBlock::resampled(const Tensor& x) const {
  switch (config_.resample) {
    case Resample::up:
      return upsample_nearest_2x(x);
    case Resample::down:
      return average_pool_2x(x);
    case Resample::none:
      break;
  }
  return x;
}

Tensor UNetBlock::forward(const Tensor& x, const UNetPass& pass) const {
  GroupNormOptions activation;
  activation.silu = true;
  Tensor h = in_conv_.forward(resampled(in_norm_.forward(x, activation)));
  (config_.scale_shift ? activation.scale_shift : activation.add) = embedding_.forward(pass.embedding);
  h = out_norm_.forward(h, activation);
  h = dropout(h, pass.dropout.probability, pass.dropout.seed, pass.dropout.step << 16 | config_.index,
              pass.dropout.offset);
  const Tensor shortcut = resampled(x);
  if (!skip_) return out_conv_.forward(h, shortcut);
  return skip_->forward_onto(out_conv_.forward(h), shortcut);
}

}  // namespace ddpmts
