#include "app/run_config.h"

#include "app/weights_option.h"

namespace ddpmts::app {
namespace {

using nlohmann::ordered_json;

ordered_json range_json(const FloatRange& range) { return {range.low, range.high}; }
FloatRange range_from(const ordered_json& stored) { return {stored.at(0), stored.at(1)}; }

// One list of the synthesis settings serves writing and reading: visit(name, field).
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
  visit("never_empty", c.never_empty);
  visit("relabel_unchanged", c.relabel_unchanged);
  visit("unchanged_below", c.unchanged_below);
  visit("flip_horizontal", c.flip_horizontal);
  visit("flip_vertical", c.flip_vertical);
  visit("lighting", c.lighting);
}

}  // namespace

TrainingSchedule parse_schedule(const std::string& text) {
  if (text == "joint") return TrainingSchedule::joint;
  if (text == "two-stage") return TrainingSchedule::two_stage;
  throw_error("unknown schedule '{}': expected joint or two-stage", text);
}

const char* name_of(TrainingSchedule schedule) {
  return schedule == TrainingSchedule::joint ? "joint" : "two-stage";
}

ordered_json to_json(const RunConfig& config) {
  const DetectorTrainingConfig& t = config.training;
  ordered_json synthesis;
  visit_synthesis(t.synthesis, [&](const char* name, const auto& field) {
    if constexpr (std::is_same_v<std::decay_t<decltype(field)>, FloatRange>) {
      synthesis[name] = range_json(field);
    } else {
      synthesis[name] = field;
    }
  });
  synthesis["augmentation"] = ddpmts::name_of(t.synthesis.augmentation);
  const bool adamw = t.optimizer.kind == kernels::OptimizerKind::adamw;
  return {{"data", config.data},
          {"teacher", config.teacher},
          {"steps", config.steps},
          {"minutes", config.minutes},
          {"folder", config.folder},
          {"bank", config.bank},
          {"held_out", config.held_out},
          {"false_alarm_rate", config.false_alarm_rate},
          {"size", config.detector.size},
          {"head", ddpmts::name_of(config.detector.head)},
          {"precision", ddpmts::name_of(config.detector.precision)},
          {"top_k", config.detector.top_k},
          {"memory", config.memory.vectors},
          {"memory_candidates", config.memory.candidates},
          {"batch", t.batch},
          {"seed", t.seed},
          {"schedule", name_of(t.schedule)},
          {"first_stage", t.first_stage},
          {"learning_rate", t.learning_rate},
          {"head_learning_rate_scale", t.head_learning_rate_scale},
          {"warmup", t.warmup},
          {"final_learning_rate", t.final_learning_rate},
          {"segmentation_weight", t.segmentation_weight},
          {"segmentation_trains_student", t.segmentation_trains_student},
          {"start_student_from_teacher", t.start_student_from_teacher},
          {"optimizer", adamw ? "adamw" : "sgd"},
          {"weight_decay", t.optimizer.weight_decay},
          {"max_grad_norm", t.optimizer.max_grad_norm},
          {"focal_gamma", t.segmentation.gamma},
          {"focal_weight", t.segmentation.focal_weight},
          {"l1_weight", t.segmentation.l1_weight},
          {"synthesis", std::move(synthesis)}};
}

RunConfig run_config_from_json(const ordered_json& stored) {
  RunConfig config;
  config.data = stored.at("data");
  config.teacher = stored.at("teacher");
  config.steps = stored.at("steps");
  config.minutes = stored.at("minutes");
  config.folder = stored.at("folder");
  config.bank = stored.at("bank");
  config.held_out = stored.at("held_out");
  config.false_alarm_rate = stored.at("false_alarm_rate");
  config.detector.size = stored.at("size");
  config.detector.head = parse_head_size(stored.at("head"));
  config.detector.precision = parse_precision(stored.at("precision"), Device{});
  config.detector.top_k = stored.at("top_k");
  config.memory.vectors = stored.at("memory");
  config.memory.candidates = stored.at("memory_candidates");
  DetectorTrainingConfig& t = config.training;
  t.batch = stored.at("batch");
  t.seed = stored.at("seed");
  t.schedule = parse_schedule(stored.at("schedule"));
  t.first_stage = stored.at("first_stage");
  t.learning_rate = stored.at("learning_rate");
  t.head_learning_rate_scale = stored.at("head_learning_rate_scale");
  t.warmup = stored.at("warmup");
  t.final_learning_rate = stored.at("final_learning_rate");
  t.segmentation_weight = stored.at("segmentation_weight");
  t.segmentation_trains_student = stored.at("segmentation_trains_student");
  t.start_student_from_teacher = stored.at("start_student_from_teacher");
  t.optimizer.kind =
      stored.at("optimizer") == "sgd" ? kernels::OptimizerKind::sgd : kernels::OptimizerKind::adamw;
  t.optimizer.weight_decay = stored.at("weight_decay");
  t.optimizer.max_grad_norm = stored.at("max_grad_norm");
  t.segmentation.gamma = stored.at("focal_gamma");
  t.segmentation.focal_weight = stored.at("focal_weight");
  t.segmentation.l1_weight = stored.at("l1_weight");
  const ordered_json& synthesis = stored.at("synthesis");
  visit_synthesis(t.synthesis, [&](const char* name, auto& field) {
    if constexpr (std::is_same_v<std::decay_t<decltype(field)>, FloatRange>) {
      field = range_from(synthesis.at(name));
    } else {
      field = synthesis.at(name);
    }
  });
  t.synthesis.augmentation = augmentation_named(synthesis.at("augmentation").get<std::string>());
  return config;
}

void set_sources(SynthesisConfig& synthesis, const std::string& text) {
  const std::pair<const char*, float*> sources[] = {{"self", &synthesis.self_weight},
                                                    {"texture", &synthesis.texture_weight},
                                                    {"folder", &synthesis.folder_weight},
                                                    {"diffusion", &synthesis.diffusion_weight}};
  set_weights("--source", sources, text);
}

void set_flips(SynthesisConfig& synthesis, const std::string& text) {
  synthesis.flip_horizontal = text == "horizontal" || text == "both";
  synthesis.flip_vertical = text == "vertical" || text == "both";
}

std::string sources_text(const SynthesisConfig& synthesis) {
  std::string text = fmt::format("self={:g},texture={:g}", synthesis.self_weight, synthesis.texture_weight);
  if (synthesis.folder_weight > 0) text += fmt::format(",folder={:g}", synthesis.folder_weight);
  if (synthesis.diffusion_weight > 0) text += fmt::format(",diffusion={:g}", synthesis.diffusion_weight);
  return text;
}

}  // namespace ddpmts::app
