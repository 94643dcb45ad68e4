#include "app/diffusion_config.h"

#include "app/settings_json.h"

namespace ddpmts::app {

using nlohmann::ordered_json;

namespace {

template <class Config, class Visit>
void visit_settings(Config& c, Visit&& visit) {
  visit("data", c.data);
  visit("steps", c.steps);
  visit("minutes", c.minutes);
  visit("picture_size", c.picture_size);
  visit("held_out", c.held_out);
  visit("preset", c.preset);
  visit("size", c.size);
  visit("views", c.views);
  visit("view_count", c.view_count);
  visit("schedule", c.schedule);
  visit("timesteps", c.timesteps);
  visit("precision", c.precision);
  auto& t = c.training;
  visit("prediction", t.prediction);
  visit("batch", t.batch);
  visit("accumulation", t.accumulation);
  visit("seed", t.seed);
  visit("learning_rate", t.learning_rate);
  visit("warmup", t.warmup);
  visit("final_learning_rate", t.final_learning_rate);
  visit_optimizer(t.optimizer, visit);
  visit("augmentation", t.synthesis.augmentation);
  visit("flip_horizontal", t.synthesis.flip_horizontal);
  visit("flip_vertical", t.synthesis.flip_vertical);
  visit("lighting", t.synthesis.lighting);
}

}  // namespace

DiffusionTrainingConfig DiffusionRunConfig::short_run() {
  DiffusionTrainingConfig config;
  config.learning_rate = 3e-4f;
  config.final_learning_rate = 0.1;
  config.prediction = Prediction::velocity;
  return config;
}

ordered_json to_json(const DiffusionRunConfig& config) {
  SettingsWriter settings;
  visit_settings(config, settings);
  return std::move(settings.json);
}

DiffusionRunConfig diffusion_config_from_json(const ordered_json& stored) {
  DiffusionRunConfig config;
  visit_settings(config, SettingsReader{stored});
  return config;
}

}  // namespace ddpmts::app
