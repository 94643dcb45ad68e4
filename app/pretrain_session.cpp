#include "app/pretrain_session.h"

#include <cmath>
#include <cstdio>
#include <optional>

#include "app/interrupt.h"
#include "app/picture_grid.h"
#include "app/settings_json.h"
#include "app/training_loop.h"
#include "app/version.h"
#include "engine/files/safetensors.h"
#include "engine/settings.h"
#include "generated/commit.h"
#include "models/model_file.h"

namespace ddpmts::app {
namespace {

using nlohmann::ordered_json;

constexpr const char* kCheckpointFormat = "ddpmts-teacher-checkpoint";
constexpr std::int64_t kShownPairs = 32;
constexpr double kMostMinutes = 60.0 * 24 * 365;

struct Checkpoint {
  PretrainingRunConfig config;
  TrainingPlan::State plan;
  Pretrainer::Counters trainer;
};

// The parts of a checkpoint's state that are counts or times: visit(name, field).
template <class Visit>
void visit_state(TrainingPlan::State& plan, Pretrainer::Counters& trainer, Visit&& visit) {
  visit("steps", plan.steps);
  visit("seconds", plan.seconds);
  visit("trainer_steps", trainer.steps);
  visit("optimizer_steps", trainer.optimizer_steps);
  visit("skipped_in_a_row", trainer.skipped_in_a_row);
}

template <class Config, class Visit>
void visit_settings(Config& c, Visit&& visit) {
  visit("steps", c.steps);
  visit("minutes", c.minutes);
  visit("precision", c.precision);
  auto& t = c.training;
  visit("batch", t.batch);
  visit("size", t.size);
  visit("final_size", t.final_size);
  visit("final_share", t.final_share);
  visit("seed", t.seed);
  visit("temperature", t.temperature);
  visit("layer2_weight", t.layer2_weight);
  visit("learning_rate", t.learning_rate);
  visit("warmup", t.warmup);
  visit("final_learning_rate", t.final_learning_rate);
  visit("weight_decay", t.optimizer.weight_decay);
  visit("max_grad_norm", t.optimizer.max_grad_norm);
}

void check(const Checkpoint& checkpoint) {
  ddpmts::check(checkpoint.trainer);
  const auto& [steps, seconds] = checkpoint.plan;
  if (steps != checkpoint.trainer.steps) {
    throw_error("its plan stands at step {}, its weights at step {}", steps, checkpoint.trainer.steps);
  }
  if (!(seconds >= 0 && std::isfinite(seconds))) throw_error("a training of {} seconds", seconds);
}

Checkpoint read_checkpoint(const SafetensorsFile& file) {
  try {
    if (file.metadata().at("format") != kCheckpointFormat) throw std::out_of_range("format");
    const ordered_json training = ordered_json::parse(file.metadata().at("training"));
    Checkpoint checkpoint;
    checkpoint.config = pretraining_config_from_json(ordered_json::parse(file.metadata().at("config")));
    visit_state(checkpoint.plan, checkpoint.trainer, SettingsReader{training});
    check(checkpoint);
    return checkpoint;
  } catch (const std::exception& e) {
    throw FileError(fmt::format("{} is no checkpoint of a teacher ({}); start over with --overwrite",
                                in_quotes(file.path()), e.what()),
                    file.path());
  }
}

void save_checkpoint(const TeacherFiles& files, const PretrainingRunConfig& config, const Pretrainer& trainer,
                     const TrainingPlan& plan) {
  TrainingPlan::State state = plan.state();
  Pretrainer::Counters counters = trainer.counters();
  SettingsWriter training;
  visit_state(state, counters, training);
  write_tensors(files.checkpoint(), trainer.state(),
                {{"format", kCheckpointFormat},
                 {"config", to_json(config).dump()},
                 {"training", training.json.dump()}});
}

// What to call for the same run, with the defaults of this version written out.
std::string command_for(const PretrainingRunConfig& config, const SessionOptions& options) {
  const PretrainingConfig& t = config.training;
  const std::string length = config.steps > 0 ? fmt::format("--steps {}", config.steps)
                                              : fmt::format("--minutes {}", config.minutes);
  const EngineSettings& engine = engine_settings();
  return fmt::format(
      "ddpmts pretrain -o teacher.safetensors {} --seed {} --batch {} --size {} --final-size {} "
      "--final-share {} --temperature {} --layer2-weight {} --learning-rate {} --precision {} --device "
      "{}{}{}",
      length, t.seed, t.batch, t.size, t.final_size, t.final_share, t.temperature, t.layer2_weight,
      t.learning_rate, name_of(config.precision), options.device, engine.tf32 ? " --tf32" : "",
      engine.deterministic ? " --deterministic" : "");
}

// The checkpoint and the teacher as it is now. A teacher that is not finite replaces neither of those that lie there.
void save(const TeacherFiles& files, const PretrainingRunConfig& config, const SessionOptions& options,
          const Pretrainer& trainer, const TrainingPlan& plan) {
  const auto teacher = trainer.trunk().folded_tensors(DType::bf16);
  save_checkpoint(files, config, trainer, plan);
  write_tensors(files.teacher, teacher,
                {{"teacher", "ResNet-18 up to layer3, BatchNorm folded, trained on scenes drawn by ddpmts"},
                 {"version", kVersion},
                 {"commit", DDPMTS_COMMIT},
                 {"command", command_for(config, options)},
                 {"steps", std::to_string(trainer.counters().steps)},
                 {"config", to_json(config).dump()}});
}

ordered_json log_record(const PretrainingStepReport& report) {
  return {{"loss", report.loss},           {"accuracy2", report.accuracy2},
          {"accuracy3", report.accuracy3}, {"learning_rate", report.learning_rate},
          {"grad_norm", report.grad_norm}, {"finite", report.finite}};
}

std::string line_text(const ordered_json& r) {
  return fmt::format("loss {:.3f}  found {:.1f} % by layer2, {:.1f} % by layer3", r["loss"].get<double>(),
                     100 * r["accuracy2"].get<double>(), 100 * r["accuracy3"].get<double>());
}

// Both views of some scenes, one above the other.
void show_pictures(const TeacherFiles& files, const PretrainingConfig& config) {
  const Tensor views = draw_view_pairs(config.seed, 0, kShownPairs, config.final_size, Device{});
  constexpr std::int64_t kColumns = 16;
  std::vector<Tensor> rows;
  for (std::int64_t first = 0; first < kShownPairs; first += kColumns) {
    rows.push_back(views.slice(first, kColumns));
    rows.push_back(views.slice(kShownPairs + first, kColumns));
  }
  write_picture_grid(files.pictures(), rows, kColumns);
}

}  // namespace

ordered_json to_json(const PretrainingRunConfig& config) {
  SettingsWriter settings;
  visit_settings(config, settings);
  return std::move(settings.json);
}

PretrainingRunConfig pretraining_config_from_json(const ordered_json& stored) {
  PretrainingRunConfig config;
  visit_settings(config, SettingsReader{stored});
  check(config);
  return config;
}

void check(const PretrainingRunConfig& config) {
  if (config.steps < 0 || config.steps > Pretrainer::kMostSteps) {
    throw_error("pretraining: {} steps; there may be up to {}", config.steps, Pretrainer::kMostSteps);
  }
  if (!(config.minutes >= 0 && config.minutes <= kMostMinutes)) {
    throw_error("pretraining: {} minutes; there may be up to {}", config.minutes, kMostMinutes);
  }
  check(config.training);
}

SessionEnd run_pretraining(PretrainingRunConfig config, const TeacherFiles& files,
                           const SessionOptions& options) {
  check(config);
  watch_for_interrupt();
  const bool exists = std::filesystem::exists(files.checkpoint()) || std::filesystem::exists(files.teacher);
  if (exists && !options.resume && !options.overwrite) {
    throw_error(
        "{} is already there; continue it with --resume, replace it with --overwrite, or choose "
        "another -o",
        in_quotes(files.teacher));
  }
  const Device device = parse_device(options.device);
  std::optional<SafetensorsFile> checkpoint_file;
  Checkpoint checkpoint;
  if (options.resume) {
    checkpoint_file.emplace(files.checkpoint());
    checkpoint = read_checkpoint(*checkpoint_file);
    config = checkpoint.config;
    parse_precision(name_of(config.precision), device);
    note_settings_not_taken(options);
  }
  config.training.type = type_of(config.precision);
  if (files.teacher.has_parent_path()) make_folder(files.teacher.parent_path());

  TrainingPlan plan(config.steps, config.minutes);
  Pretrainer trainer(config.training, device);
  if (options.resume) {
    trainer.restore(checkpoint.trainer, [&](const std::string& name, const Shape& shape) {
      return Tensor::from_host<float>(shape, checkpoint_file->read_f32(name, shape.extents()));
    });
    plan.restore(checkpoint.plan);
    checkpoint_file.reset();
  }
  show_pictures(files, config.training);
  fmt::print(
      "teacher from made-up scenes, shown in {}; {}; {}, {} scenes a step, each seen twice at {} pixels\n",
      files.pictures().string(), describe(device), name_of(config.precision), config.training.batch,
      config.training.size);
  std::fflush(stdout);

  TrainingLoop loop;
  loop.pictures_per_step = 2 * config.training.batch;
  loop.checkpoint_minutes = options.checkpoint_minutes;
  loop.log = files.log();
  loop.append = options.resume;
  loop.step = [&](double progress) { return log_record(trainer.step(progress)); };
  loop.text = line_text;
  loop.save = [&] { save(files, config, options, trainer, plan); };
  loop.peak_memory = [&] { return static_cast<std::size_t>(memory_stats(device).peak); };
  if (!loop.run(plan)) {
    fmt::print("interrupted after {} steps; continue with: ddpmts pretrain -o {} --resume\n",
               plan.state().steps, files.teacher.string());
    return SessionEnd::interrupted;
  }
  fmt::print("teacher: {}\n", files.teacher.string());
  return SessionEnd::finished;
}

}  // namespace ddpmts::app
