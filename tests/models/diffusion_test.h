// What the diffusion model's tests share: a small network and weights that are not zero.
#pragma once

#include "models/diffusion_trainer.h"
#include "models/unet.h"
#include "tests/models/model_test.h"

namespace ddpmts::test {

/// 16 pixels, two levels, attention on the coarse one: 0.8 M parameters.
inline UNetConfig tiny_unet() {
  UNetConfig config;
  config.size = 16;
  config.channels = 32;
  config.multipliers = {1, 2};
  config.blocks = 1;
  config.attention = {8};
  config.heads = 2;
  return config;
}

/// Gives every parameter a value as after some training: nothing is zero.
inline void make_up_weights(UNet& network) {
  std::uint64_t step = 900;
  for (const ParameterPtr& p : network.parameters()) {
    const std::int64_t count = p->shape().count();
    const float bound =
        p->shape().rank() > 1 ? std::sqrt(3.0f / static_cast<float>(count / p->shape()[0])) : 0.2f;
    std::vector<float> values = random_floats(count, ++step, -bound, bound);
    if (p->shape().rank() == 1 && p->name().ends_with("weight")) {
      for (float& value : values) value += 1.0f;
    }
    set_values(*p, values);
  }
}

inline DiffusionTrainingConfig small_training(std::int64_t batch = 4) {
  DiffusionTrainingConfig config;
  config.batch = batch;
  config.seed = 5;
  config.learning_rate = 1e-3f;
  return config;
}

inline Tensor timesteps(const std::vector<std::int32_t>& values) {
  return Tensor::from_host<std::int32_t>({static_cast<std::int64_t>(values.size())}, values);
}

}  // namespace ddpmts::test
