#include "app/run_config.h"

#include "app/settings_json.h"

namespace ddpmts::app {
namespace {

using nlohmann::ordered_json;

template <class Config, class Visit>
void visit_synthesis(Config& c, Visit&& visit) {
  visit("no_defect_probability", c.no_defect_probability);
  visit("grey_pictures", c.grey_pictures);
  visit("self_weight", c.self_weight);
  visit("texture_weight", c.texture_weight);
  visit("folder_weight", c.folder_weight);
  visit("diffusion_weight", c.diffusion_weight);
  visit("self_opacity", c.self_opacity);
  visit("texture_opacity", c.texture_opacity);
  visit("folder_opacity", c.folder_opacity);
  visit("diffusion_opacity", c.diffusion_opacity);
  visit("elsewhere_weight", c.elsewhere_weight);
  visit("displaced_weight", c.displaced_weight);
  visit("stained_weight", c.stained_weight);
  visit("smoothed_weight", c.smoothed_weight);
  visit("perlin_weight", c.perlin_weight);
  visit("blob_weight", c.blob_weight);
  visit("stroke_weight", c.stroke_weight);
  visit("rectangle_weight", c.rectangle_weight);
  visit("smooth_noise_weight", c.smooth_noise_weight);
  visit("perlin_min_exponent", c.perlin.min_exponent);
  visit("perlin_max_exponent", c.perlin.max_exponent);
  visit("perlin_threshold", c.perlin.threshold);
  visit("perlin_max_rotation", c.perlin.max_rotation);
  visit("perlin_max_tries", c.perlin.max_tries);
  visit("on_part_probability", c.on_part_probability);
  visit("window_probability", c.window_probability);
  visit("never_empty", c.never_empty);
  visit("relabel_unchanged", c.relabel_unchanged);
  visit("unchanged_below", c.unchanged_below);
  visit("augmentation", c.augmentation);
  visit("flip_horizontal", c.flip_horizontal);
  visit("flip_vertical", c.flip_vertical);
  visit("border", c.border);
  visit("lighting", c.lighting);
}

template <class Config, class Visit>
void visit_settings(Config& c, Visit&& visit) {
  visit("data", c.data);
  visit("teacher", c.teacher);
  visit("steps", c.steps);
  visit("minutes", c.minutes);
  visit("folder", c.folder);
  visit("bank", c.bank);
  visit("held_out", c.held_out);
  visit("false_alarm_rate", c.false_alarm_rate);
  visit("size", c.detector.size);
  visit("head", c.detector.head);
  visit("precision", c.detector.precision);
  visit("top_k", c.detector.top_k);
  visit("memory", c.memory.vectors);
  visit("memory_candidates", c.memory.candidates);
  auto& t = c.training;
  visit("batch", t.batch);
  visit("seed", t.seed);
  visit("schedule", t.schedule);
  visit("first_stage", t.first_stage);
  visit("learning_rate", t.learning_rate);
  visit("head_learning_rate_scale", t.head_learning_rate_scale);
  visit("warmup", t.warmup);
  visit("final_learning_rate", t.final_learning_rate);
  visit("segmentation_weight", t.segmentation_weight);
  visit("segmentation_trains_student", t.segmentation_trains_student);
  visit("start_student_from_teacher", t.start_student_from_teacher);
  visit_optimizer(t.optimizer, visit);
  visit("focal_gamma", t.segmentation.gamma);
  visit("focal_weight", t.segmentation.focal_weight);
  visit("l1_weight", t.segmentation.l1_weight);
}

}  // namespace

ordered_json to_json(const RunConfig& config) {
  SettingsWriter settings, synthesis;
  visit_settings(config, settings);
  visit_synthesis(config.training.synthesis, synthesis);
  settings.json["synthesis"] = std::move(synthesis.json);
  return std::move(settings.json);
}

RunConfig run_config_from_json(const ordered_json& stored) {
  RunConfig config;
  visit_settings(config, SettingsReader{stored});
  visit_synthesis(config.training.synthesis, SettingsReader{stored.at("synthesis")});
  return config;
}

}  // namespace ddpmts::app
