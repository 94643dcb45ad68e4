#include "models/diffusion_file.h"

#include <nlohmann/json.hpp>

#include "models/model_file.h"

namespace ddpmts {
namespace {

using nlohmann::json;

constexpr const char* kFormat = "ddpmts-diffusion";
constexpr int kVersion = 1;

json to_json(const UNetConfig& c) {
  return {{"size", c.size},
          {"channels", c.channels},
          {"multipliers", c.multipliers},
          {"blocks", c.blocks},
          {"attention", c.attention},
          {"heads", c.heads},
          {"scale_shift", c.scale_shift},
          {"resample_in_blocks", c.resample_in_blocks},
          {"dropout", c.dropout},
          {"in_channels", c.in_channels},
          {"out_channels", c.out_channels}};
}

UNetConfig unet_config(const json& stored) {
  UNetConfig c;
  stored.at("size").get_to(c.size);
  stored.at("channels").get_to(c.channels);
  stored.at("multipliers").get_to(c.multipliers);
  stored.at("blocks").get_to(c.blocks);
  stored.at("attention").get_to(c.attention);
  stored.at("heads").get_to(c.heads);
  stored.at("scale_shift").get_to(c.scale_shift);
  stored.at("resample_in_blocks").get_to(c.resample_in_blocks);
  stored.at("dropout").get_to(c.dropout);
  stored.at("in_channels").get_to(c.in_channels);
  stored.at("out_channels").get_to(c.out_channels);
  check(c);
  return c;
}

/// The file holds the widest convolution of every block that the configuration asks for. Checked before the network is
/// built, so that a few bytes of configuration cannot ask for more memory than the file's own size warrants.
void require_widths(const SafetensorsFile& file, const UNetConfig& c) {
  std::int64_t block = 0;
  for (std::size_t level = c.multipliers.size(); level-- > 0;) {
    const std::int64_t width = c.multipliers[level] * c.channels;
    const std::int64_t shape[] = {width, 3, 3, width};
    for (std::int64_t i = 0; i <= c.blocks; ++i) {
      file.require(fmt::format("output_blocks.{}.0.out_layers.3.weight", block++), shape);
    }
  }
}

const std::string& metadata(const SafetensorsFile& file, const char* key) {
  const auto found = file.metadata().find(key);
  if (found == file.metadata().end()) {
    throw FileError(
        fmt::format(
            "{} is no diffusion model: its metadata lacks '{}'; use the diffusion.safetensors of a run",
            in_quotes(file.path()), key),
        file.path());
  }
  return found->second;
}

}  // namespace

void save_diffusion_model(const std::filesystem::path& path, const UNetConfig& config,
                          const NoiseSchedule& schedule, Prediction prediction,
                          const std::vector<std::pair<std::string, Tensor>>& weights,
                          const std::string& run_configuration) {
  const json noise = {
      {"schedule", name_of(schedule.kind())}, {"steps", schedule.steps()}, {"predicts", name_of(prediction)}};
  write_tensors(path, weights,
                {{"format", kFormat},
                 {"version", std::to_string(kVersion)},
                 {"weight_order", "KRSC"},
                 {"unet", to_json(config).dump()},
                 {"diffusion", noise.dump()},
                 {"run", run_configuration}});
}

DiffusionModel load_diffusion_model(const std::filesystem::path& path, Device device) {
  const SafetensorsFile file(path);
  if (metadata(file, "format") != kFormat || metadata(file, "version") != std::to_string(kVersion)) {
    throw FileError(fmt::format("{} has format {} version {}; this program reads {} version {}",
                                in_quotes(path), in_quotes(metadata(file, "format")),
                                in_quotes(metadata(file, "version")), kFormat, kVersion),
                    path);
  }
  const std::string& unet = metadata(file, "unet");
  const std::string& diffusion = metadata(file, "diffusion");
  const auto unusable = [&](const std::exception& e) {
    return FileError(
        fmt::format("{}: its description of the diffusion model cannot be used ({}); train again or copy "
                    "the file again",
                    in_quotes(path), e.what()),
        path);
  };
  DiffusionModel model;
  UNetConfig config;
  try {
    config = unet_config(json::parse(unet));
    const json noise = json::parse(diffusion);
    model.prediction = parse_prediction(noise.at("predicts").get<std::string>());
    model.schedule = NoiseSchedule(parse_schedule_kind(noise.at("schedule").get<std::string>()),
                                   noise.at("steps").get<std::int64_t>());
  } catch (const json::exception& e) {
    throw unusable(e);
  } catch (const Error& e) {
    throw unusable(e);
  }
  model.run_configuration = metadata(file, "run");
  require_widths(file, config);
  model.network = std::make_unique<UNet>(config, NamedTensors(file, WeightOrder::krsc), device);
  return model;
}

}  // namespace ddpmts
