#include "app/pretrain_session.h"

#include <cstdio>
#include <optional>

#include "app/interrupt.h"
#include "app/picture_grid.h"
#include "app/training_loop.h"
#include "app/version.h"
#include "engine/files/safetensors.h"
#include "models/model_file.h"

namespace ddpmts::app {
namespace {

using nlohmann::ordered_json;

constexpr const char* kCheckpointFormat = "ddpmts-teacher-checkpoint";
constexpr std::int64_t kShownPairs = 32;

struct Checkpoint {
  PretrainingRunConfig config;
  TrainingPlan::State plan;
  Pretrainer::Counters trainer;
};

Checkpoint read_checkpoint(const SafetensorsFile& file) {
  try {
    if (file.metadata().at("format") != kCheckpointFormat) throw std::out_of_range("format");
    const ordered_json training = ordered_json::parse(file.metadata().at("training"));
    Checkpoint checkpoint;
    checkpoint.config = pretraining_config_from_json(ordered_json::parse(file.metadata().at("config")));
    checkpoint.plan = {training.at("steps"), training.at("seconds")};
    checkpoint.trainer = {training.at("trainer_steps"), training.at("optimizer_steps"),
                          training.at("skipped_in_a_row")};
    return checkpoint;
  } catch (const std::exception& e) {
    throw FileError(fmt::format("{} is no checkpoint of a teacher ({}); start over with --overwrite",
                                in_quotes(file.path()), e.what()),
                    file.path());
  }
}

void save_checkpoint(const TeacherFiles& files, const PretrainingRunConfig& config, const Pretrainer& trainer,
                     const TrainingPlan& plan) {
  const Pretrainer::Counters counters = trainer.counters();
  const ordered_json training = {{"steps", plan.state().steps},
                                 {"seconds", plan.state().seconds},
                                 {"trainer_steps", counters.steps},
                                 {"optimizer_steps", counters.optimizer_steps},
                                 {"skipped_in_a_row", counters.skipped_in_a_row}};
  write_tensors(
      files.checkpoint(), trainer.state(),
      {{"format", kCheckpointFormat}, {"config", to_json(config).dump()}, {"training", training.dump()}});
}

void save_teacher(const TeacherFiles& files, const PretrainingRunConfig& config, const Pretrainer& trainer) {
  write_tensors(files.teacher, trainer.trunk().folded_tensors(DType::bf16),
                {{"teacher", "ResNet-18 up to layer3, BatchNorm folded, trained on scenes drawn by ddpmts"},
                 {"version", kVersion},
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
  const PretrainingConfig& t = config.training;
  return {{"steps", config.steps},
          {"minutes", config.minutes},
          {"precision", name_of(config.precision)},
          {"batch", t.batch},
          {"size", t.size},
          {"final_size", t.final_size},
          {"final_share", t.final_share},
          {"seed", t.seed},
          {"temperature", t.temperature},
          {"layer2_weight", t.layer2_weight},
          {"learning_rate", t.learning_rate},
          {"warmup", t.warmup},
          {"final_learning_rate", t.final_learning_rate},
          {"weight_decay", t.optimizer.weight_decay},
          {"max_grad_norm", t.optimizer.max_grad_norm}};
}

PretrainingRunConfig pretraining_config_from_json(const ordered_json& stored) {
  PretrainingRunConfig config;
  config.steps = stored.at("steps");
  config.minutes = stored.at("minutes");
  config.precision = parse_precision(stored.at("precision"), Device{});
  PretrainingConfig& t = config.training;
  t.batch = stored.at("batch");
  t.size = stored.at("size");
  t.final_size = stored.at("final_size");
  t.final_share = stored.at("final_share");
  t.seed = stored.at("seed");
  t.temperature = stored.at("temperature");
  t.layer2_weight = stored.at("layer2_weight");
  t.learning_rate = stored.at("learning_rate");
  t.warmup = stored.at("warmup");
  t.final_learning_rate = stored.at("final_learning_rate");
  t.optimizer.weight_decay = stored.at("weight_decay");
  t.optimizer.max_grad_norm = stored.at("max_grad_norm");
  return config;
}

SessionEnd run_pretraining(PretrainingRunConfig config, const TeacherFiles& files,
                           const SessionOptions& options) {
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
  loop.save = [&] {
    save_checkpoint(files, config, trainer, plan);
    save_teacher(files, config, trainer);
  };
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
