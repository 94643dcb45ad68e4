#include "app/training_session.h"

#include <algorithm>
#include <cstdio>
#include <optional>

#include "app/defect_bank.h"
#include "app/inspect_samples.h"
#include "app/interrupt.h"
#include "app/settings_json.h"
#include "app/teacher_search.h"
#include "app/training_data.h"
#include "app/training_loop.h"
#include "engine/files/atomic_file.h"
#include "models/calibrate.h"
#include "models/random_teacher.h"
#include "models/training_plan.h"

namespace ddpmts::app {
namespace {

using nlohmann::ordered_json;

constexpr std::int64_t kInspectBatch = 8;

// Everything that a checkpoint holds besides tensors.
struct Checkpoint {
  RunConfig config;
  TrainingPlan::State plan;
  DetectorTrainer::Counters trainer;
  std::int64_t picture_count = 0;
};

void save_checkpoint(const RunFolder& run, const RunConfig& config, const Detector& detector,
                     const DetectorTrainer& trainer, const TrainingPlan& plan, std::int64_t picture_count) {
  std::vector<std::pair<std::string, Tensor>> tensors;
  for (const ParameterPtr& parameter : detector.parameters())
    tensors.emplace_back(parameter->name(), parameter->value());
  for (const auto& entry : trainer.state()) tensors.push_back(entry);
  const TrainingPlan::State& state = plan.state();
  const DetectorTrainer::Counters counters = trainer.counters();
  const ordered_json training = {{"steps", state.steps},
                                 {"seconds", state.seconds},
                                 {"trainer_steps", counters.steps},
                                 {"optimizer_steps", counters.optimizer_steps},
                                 {"stage", static_cast<int>(counters.stage)},
                                 {"picture_count", picture_count}};
  write_tensors(
      run.checkpoint(), tensors,
      {{"format", "ddpmts-checkpoint"}, {"config", text_of(to_json(config))}, {"training", training.dump()}});
}

Checkpoint read_checkpoint(const SafetensorsFile& file) {
  try {
    if (file.metadata().at("format") != "ddpmts-checkpoint") throw std::out_of_range("format");
    const ordered_json training = ordered_json::parse(file.metadata().at("training"));
    Checkpoint checkpoint;
    checkpoint.config = run_config_from_json(ordered_json::parse(file.metadata().at("config")));
    checkpoint.plan = {training.at("steps"), training.at("seconds")};
    const int stage = training.at("stage");
    if (stage < 0 || stage > static_cast<int>(DetectorTrainer::Stage::head)) throw_error("stage {}", stage);
    checkpoint.trainer = {training.at("trainer_steps"), training.at("optimizer_steps"),
                          static_cast<DetectorTrainer::Stage>(stage)};
    checkpoint.picture_count = training.at("picture_count");
    return checkpoint;
  } catch (const std::exception& e) {
    throw FileError(fmt::format("{} is no checkpoint of this program ({}); start over with --overwrite",
                                in_quotes(file.path()), e.what()),
                    file.path());
  }
}

ordered_json log_record(const TrainingStepReport& report) {
  return {{"cosine", report.cosine},
          {"focal", report.focal},
          {"l1", report.l1},
          {"learning_rate", report.learning_rate},
          {"grad_norm", report.grad_norm},
          {"finite", report.finite}};
}

std::string line_text(const ordered_json& r) {
  return fmt::format("cosine {:.4f}  focal {:.5f}  L1 {:.4f}", r["cosine"].get<double>(),
                     r["focal"].get<double>(), r["l1"].get<double>());
}

void finish_model(Detector&& detector, const RunConfig& config, const TrainingData& data,
                  const RunFolder& run) {
  if (config.memory.vectors > 0) {
    detector.remember(data.training, config.memory, config.training.seed, kInspectBatch);
  }
  calibrate_maps(detector, data.held_out, kInspectBatch);
  Model model;
  const std::vector<float> good_scores = scores_of(detector, data.held_out, kInspectBatch);
  eval::ThresholdOptions threshold;
  threshold.false_alarm_rate = config.false_alarm_rate;
  model.threshold = eval::calibrate(good_scores, threshold);
  const std::int64_t probes = std::min<std::int64_t>(3, data.held_out.dim(0));
  model.probe_pictures = data.held_out.slice(0, probes).to(Device{});
  model.probe_scores.assign(good_scores.begin(), good_scores.begin() + probes);
  model.run_configuration = text_of(to_json(config));
  model.detector = std::make_unique<Detector>(std::move(detector));
  save_model(run.model(), model);
  std::printf("%s\n", model.threshold.describe().c_str());
}

// A replaced run's outcome goes aside: nothing of it may be taken for the new run's, and nothing is lost if that fails. What an
// earlier attempt to replace it left half done does not get among it.
void set_aside(const RunFolder& run) {
  const bool keeps_a_model = std::filesystem::exists(run.previous() / run.model().filename());
  const bool half_done = keeps_a_model && !std::filesystem::exists(run.model());
  for (const auto& file :
       {run.model(), run.checkpoint(), run.results(), run.table(), run.report(), run.config(), run.log()}) {
    if (!std::filesystem::exists(file)) continue;
    std::error_code error;
    if (half_done) {
      std::filesystem::remove(file, error);
    } else {
      make_folder(run.previous());
      std::filesystem::rename(file, run.previous() / file.filename(), error);
    }
    if (error) throw_system_error("move aside", file, error.value());
  }
}

}  // namespace

void note_settings_not_taken(const SessionOptions& options) {
  if (!options.resume || options.named.empty()) return;
  std::fprintf(stderr, "resuming with the run's own settings; not taken from the call: %s\n",
               options.named.c_str());
}

SessionEnd run_training(RunConfig config, const RunFolder& run, const SessionOptions& options) {
  watch_for_interrupt();
  const bool exists = std::filesystem::exists(run.checkpoint()) || std::filesystem::exists(run.model());
  if (exists && !options.resume && !options.overwrite) {
    throw_error(
        "{} already holds a run; continue it with --resume, replace it with --overwrite, or choose another "
        "-o",
        in_quotes(run.root));
  }
  const Device device = parse_device(options.device);
  std::optional<SafetensorsFile> checkpoint_file;
  Checkpoint checkpoint;
  if (options.resume) {
    checkpoint_file.emplace(run.checkpoint());
    checkpoint = read_checkpoint(*checkpoint_file);
    const std::string data = config.data;
    config = checkpoint.config;
    config.data = data;
    parse_precision(name_of(config.detector.precision), device);
    note_settings_not_taken(options);
  }
  check(config.detector);

  const Dataset dataset = scan_dataset(config.data);
  const TrainingData data =
      load_training_data(dataset, config.detector.size, config.held_out, config.training.seed, device);
  const Tensor folder_pictures =
      config.folder.empty() ? Tensor()
                            : load_folder_pictures(config.folder, "--folder", config.detector.size, device);
  const PaintedDefects painted =
      config.bank.empty() ? PaintedDefects() : load_bank(config.bank, data, device);
  const std::int64_t picture_count = data.count();
  if (options.resume && checkpoint.picture_count != picture_count) {
    throw_error(
        "{} now has {} good pictures, the run was started with {}: put them back, or start over with "
        "--overwrite",
        in_quotes(config.data), picture_count, checkpoint.picture_count);
  }
  if (!options.resume) config.training.synthesis.grey_pictures = data.grey;
  check(config.training.synthesis, data.training.dim(0), folder_pictures ? folder_pictures.dim(0) : 0,
        painted.bases);
  if (config.teacher == kRandomTeacher) {
    make_folder(run.root);
    write_random_teacher(run.random_teacher(), config.training.seed);
  }
  const SafetensorsFile teacher = open_teacher(
      config.teacher == kRandomTeacher ? run.random_teacher() : std::filesystem::path(config.teacher));
  Detector detector(NamedTensors(teacher, WeightOrder::oihw), config.detector, config.training.seed, device);
  TrainingPlan plan(config.steps, config.minutes);
  std::optional<DetectorTrainer> trainer(std::in_place, detector, data.training, folder_pictures,
                                         config.training, painted);
  if (options.resume) {
    NamedTensors(*checkpoint_file, WeightOrder::krsc).load_into(detector.parameters());
    trainer->restore(checkpoint.trainer, [&](const std::string& name, const Shape& shape) {
      return Tensor::from_host<float>(shape, checkpoint_file->read_f32(name, shape.extents()));
    });
    plan.restore(checkpoint.plan);
    checkpoint_file.reset();
  }
  make_folder(run.root);
  if (!options.resume) set_aside(run);
  write_file_atomically(run.config(), text_of(to_json(config), 2) + "\n");
  const TeacherDepth depth = detector.teacher().depth();
  std::printf("%lld good pictures to learn from, %lld held out; teacher %s, %s; %s; %s, batch %lld\n",
              static_cast<long long>(data.training.dim(0)), static_cast<long long>(data.held_out.dim(0)),
              config.teacher.c_str(), name_of(depth), describe(device).c_str(),
              name_of(config.detector.precision), static_cast<long long>(config.training.batch));
  if (!options.resume && config.training.start_student_from_teacher &&
      !trainer->student_started_from_teacher()) {
    std::printf("the student starts at random: it is a ResNet-18 and cannot start from a %s\n",
                name_of(depth));
  }
  std::fflush(stdout);

  TrainingLoop loop;
  loop.pictures_per_step = config.training.batch;
  loop.checkpoint_minutes = options.checkpoint_minutes;
  loop.log = run.log();
  loop.log_every = options.log_every;
  loop.append = options.resume;
  loop.step = [&](double progress) { return log_record(trainer->step(progress)); };
  loop.text = line_text;
  loop.save = [&] { save_checkpoint(run, config, detector, *trainer, plan, picture_count); };
  loop.peak_memory = [&] { return static_cast<std::size_t>(memory_stats(device).peak); };
  if (!loop.run(plan)) {
    std::printf("interrupted after %lld steps; continue with: ddpmts train %s -o %s --resume\n",
                static_cast<long long>(plan.state().steps), config.data.c_str(), run.root.c_str());
    return SessionEnd::interrupted;
  }
  trainer.reset();  // what it holds, its graph's memory too, is not needed any more
  finish_model(std::move(detector), config, data, run);
  std::error_code kept;  // then it merely takes up room
  std::filesystem::remove_all(run.previous(), kept);
  return SessionEnd::finished;
}

}  // namespace ddpmts::app
