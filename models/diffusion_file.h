// A trained diffusion model in one safetensors file: the weights that sample (moving averages), the network's
// configuration, the noise schedule it was trained with, and how it was trained.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "models/diffusion.h"
#include "models/unet.h"

namespace ddpmts {

struct DiffusionModel {
  std::unique_ptr<UNet> network;
  NoiseSchedule schedule;
  Prediction prediction = Prediction::noise;
  std::string run_configuration;  ///< JSON: how it was trained
};

/// Writes atomically. `weights` as DiffusionTrainer::averaged_tensors or UNet::tensors. Throws FileError.
void save_diffusion_model(const std::filesystem::path& path, const UNetConfig& config,
                          const NoiseSchedule& schedule, Prediction prediction,
                          const std::vector<std::pair<std::string, Tensor>>& weights,
                          const std::string& run_configuration);

/// Throws FileError, SafetensorsError or Error naming what the file lacks or what in it cannot be used.
DiffusionModel load_diffusion_model(const std::filesystem::path& path, Device device);

}  // namespace ddpmts
