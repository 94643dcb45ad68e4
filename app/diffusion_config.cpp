#include "app/diffusion_config.h"

namespace ddpmts::app {

using nlohmann::ordered_json;

DiffusionTrainingConfig DiffusionRunConfig::short_run() {
  DiffusionTrainingConfig config;
  config.learning_rate = 3e-4f;
  config.final_learning_rate = 0.1;
  config.prediction = Prediction::velocity;
  return config;
}

ordered_json to_json(const DiffusionRunConfig& config) {
  const DiffusionTrainingConfig& t = config.training;
  return {{"data", config.data},
          {"steps", config.steps},
          {"minutes", config.minutes},
          {"picture_size", config.picture_size},
          {"held_out", config.held_out},
          {"preset", name_of(config.preset)},
          {"size", config.size},
          {"views", name_of(config.views)},
          {"view_count", config.view_count},
          {"schedule", name_of(config.schedule)},
          {"timesteps", config.timesteps},
          {"prediction", name_of(t.prediction)},
          {"precision", name_of(config.precision)},
          {"batch", t.batch},
          {"accumulation", t.accumulation},
          {"seed", t.seed},
          {"learning_rate", t.learning_rate},
          {"warmup", t.warmup},
          {"final_learning_rate", t.final_learning_rate},
          {"average_decay", t.optimizer.average_decay},
          {"max_grad_norm", t.optimizer.max_grad_norm},
          {"augmentation", name_of(t.synthesis.augmentation)},
          {"flip_horizontal", t.synthesis.flip_horizontal},
          {"flip_vertical", t.synthesis.flip_vertical},
          {"lighting", t.synthesis.lighting}};
}

DiffusionRunConfig diffusion_config_from_json(const ordered_json& stored) {
  DiffusionRunConfig config;
  config.data = stored.at("data");
  config.steps = stored.at("steps");
  config.minutes = stored.at("minutes");
  config.picture_size = stored.at("picture_size");
  config.held_out = stored.at("held_out");
  config.preset = parse_unet_preset(stored.at("preset"));
  config.size = stored.at("size");
  config.views = parse_view_scales(stored.at("views"));
  config.view_count = stored.at("view_count");
  config.schedule = parse_schedule_kind(stored.at("schedule"));
  config.timesteps = stored.at("timesteps");
  config.precision = parse_precision(stored.at("precision"), Device{});
  DiffusionTrainingConfig& t = config.training;
  t.prediction = parse_prediction(stored.at("prediction"));
  t.batch = stored.at("batch");
  t.accumulation = stored.at("accumulation");
  t.seed = stored.at("seed");
  t.learning_rate = stored.at("learning_rate");
  t.warmup = stored.at("warmup");
  t.final_learning_rate = stored.at("final_learning_rate");
  t.optimizer.average_decay = stored.at("average_decay");
  t.optimizer.max_grad_norm = stored.at("max_grad_norm");
  t.synthesis.augmentation = augmentation_named(stored.at("augmentation").get<std::string>());
  t.synthesis.flip_horizontal = stored.at("flip_horizontal");
  t.synthesis.flip_vertical = stored.at("flip_vertical");
  t.synthesis.lighting = stored.at("lighting");
  return config;
}

}  // namespace ddpmts::app
