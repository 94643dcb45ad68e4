#include "app/training_session.h"

#include <algorithm>
#include <cstdio>
#include <numeric>

#include "app/inspect_samples.h"
#include "app/interrupt.h"
#include "app/progress_line.h"
#include "app/teacher_search.h"
#include "data/dataset_load.h"
#include "engine/files/atomic_file.h"
#include "kernels/philox.h"
#include "models/calibrate.h"
#include "models/random_teacher.h"
#include "models/training_plan.h"

namespace ddpmts::app {
namespace {

using nlohmann::ordered_json;

constexpr std::int64_t kFewestGood = 4;
constexpr std::int64_t kInspectBatch = 8;

struct TrainingData {
  Tensor training, held_out;  // u8 [count,size,size,3]
  bool grey = true;           // no picture has colour
};

// Which pictures only set the threshold: those with the smallest random numbers, at least one.
std::vector<bool> choose_held_out(std::size_t count, double share, std::uint64_t seed) {
  const auto wanted = std::clamp<std::size_t>(
      static_cast<std::size_t>(share * static_cast<double>(count) + 0.5), 1, count - 1);
  const kernels::Philox random{seed, kernels::RandomStream::split, 0};
  std::vector<std::size_t> order(count);
  std::iota(order.begin(), order.end(), std::size_t{0});
  const auto key = [&](std::size_t i) { return std::pair(random.bits(static_cast<std::uint32_t>(i)).x, i); };
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return key(a) < key(b); });
  std::vector<bool> held_out(count, false);
  for (std::size_t i = 0; i < wanted; ++i) held_out[order[i]] = true;
  return held_out;
}

TrainingData load_training_data(const Dataset& dataset, const RunConfig& config, Device device) {
  const std::int64_t size = config.detector.size;
  const std::vector<LoadedPicture> loaded = load_pictures(dataset.train_good, static_cast<int>(size));
  std::vector<const LoadedPicture*> usable;
  for (const LoadedPicture& picture : loaded) {
    if (picture.loaded()) {
      usable.push_back(&picture);
    } else {
      std::fprintf(stderr, "skipped: %s\n", picture.error.c_str());
    }
  }
  if (static_cast<std::int64_t>(usable.size()) < kFewestGood) {
    throw_error(
        "{} holds {} usable good picture{}; training needs at least {}, and 50 or more to be any good",
        in_quotes(dataset.root), usable.size(), usable.size() == 1 ? "" : "s", kFewestGood);
  }
  const std::vector<bool> is_held_out = choose_held_out(usable.size(), config.held_out, config.training.seed);
  std::vector<const LoadedPicture*> training, held_out;
  TrainingData data;
  for (std::size_t i = 0; i < usable.size(); ++i) {
    (is_held_out[i] ? held_out : training).push_back(usable[i]);
    const std::vector<std::uint8_t>& rgb = usable[i]->image.rgb;
    for (std::size_t p = 0; data.grey && p < rgb.size(); p += 3)
      data.grey = rgb[p] == rgb[p + 1] && rgb[p] == rgb[p + 2];
  }
  data.training = stack_pictures(training, size, device);
  data.held_out = stack_pictures(held_out, size, device);
  return data;
}

Tensor load_folder_pictures(const RunConfig& config, Device device) {
  if (config.folder.empty()) return {};
  const PictureList list = scan_pictures(config.folder);
  const std::vector<LoadedPicture> loaded =
      load_pictures(list.pictures, static_cast<int>(config.detector.size));
  std::vector<const LoadedPicture*> usable;
  for (const LoadedPicture& picture : loaded) {
    if (picture.loaded()) usable.push_back(&picture);
  }
  if (usable.empty()) throw_error("--folder {}: there is no usable picture in it", in_quotes(config.folder));
  return stack_pictures(usable, config.detector.size, device);
}

// Everything that a checkpoint holds besides tensors.
struct Checkpoint {
  ordered_json config;
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
      {{"format", "ddpmts-checkpoint"}, {"config", to_json(config).dump()}, {"training", training.dump()}});
}

Checkpoint read_checkpoint(const SafetensorsFile& file) {
  try {
    if (file.metadata().at("format") != "ddpmts-checkpoint") throw std::out_of_range("format");
    const ordered_json training = ordered_json::parse(file.metadata().at("training"));
    Checkpoint checkpoint;
    checkpoint.config = ordered_json::parse(file.metadata().at("config"));
    checkpoint.plan = {training.at("steps"), training.at("seconds")};
    checkpoint.trainer = {training.at("trainer_steps"), training.at("optimizer_steps"),
                          static_cast<DetectorTrainer::Stage>(training.at("stage").get<int>())};
    checkpoint.picture_count = training.at("picture_count");
    return checkpoint;
  } catch (const std::exception& e) {
    throw FileError(fmt::format("{} is no checkpoint of this program ({}); start over with --overwrite",
                                in_quotes(file.path()), e.what()),
                    file.path());
  }
}

// One JSON object and one line of text say the same.
ordered_json log_record(const TrainingStepReport& report, const TrainingPlan& plan, double images_per_second,
                        Device device) {
  return {{"step", plan.state().steps},
          {"progress", plan.progress()},
          {"cosine", report.cosine},
          {"focal", report.focal},
          {"l1", report.l1},
          {"learning_rate", report.learning_rate},
          {"grad_norm", report.grad_norm},
          {"finite", report.finite},
          {"images_per_second", images_per_second},
          {"seconds", plan.state().seconds},
          {"seconds_left", plan.seconds_left()},
          {"memory_mib", static_cast<double>(memory_stats(device).peak) / 1048576.0}};
}

std::string line_text(const ordered_json& r) {
  return fmt::format(
      "step {:5d} {:3.0f} %  cosine {:.4f}  focal {:.5f}  L1 {:.4f}  {:.1f} img/s  {} left  {:.0f} MiB",
      r["step"].get<std::int64_t>(), r["progress"].get<double>() * 100, r["cosine"].get<double>(),
      r["focal"].get<double>(), r["l1"].get<double>(), r["images_per_second"].get<double>(),
      clock_text(r["seconds_left"].get<double>()), r["memory_mib"].get<double>());
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
  model.run_configuration = to_json(config).dump();
  model.detector = std::make_unique<Detector>(std::move(detector));
  save_model(run.model(), model);
  std::printf("%s\n", model.threshold.describe().c_str());
}

}  // namespace

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
    config = run_config_from_json(checkpoint.config);
    config.data = data;
  }

  const Dataset dataset = scan_dataset(config.data);
  for (const Skipped& skipped : dataset.skipped) {
    std::fprintf(stderr, "skipped %s: %s\n", skipped.path.c_str(), skipped.reason.c_str());
  }
  const TrainingData data = load_training_data(dataset, config, device);
  const Tensor folder_pictures = load_folder_pictures(config, device);
  const std::int64_t picture_count = data.training.dim(0) + data.held_out.dim(0);
  if (options.resume && checkpoint.picture_count != picture_count) {
    throw_error(
        "{} now has {} good pictures, the run was started with {}: put them back, or start over with "
        "--overwrite",
        in_quotes(config.data), picture_count, checkpoint.picture_count);
  }
  if (!options.resume) config.training.synthesis.grey_pictures = data.grey;
  check(config.training.synthesis, data.training.dim(0), folder_pictures ? folder_pictures.dim(0) : 0);
  make_folder(run.root);
  write_file_atomically(run.config(), to_json(config).dump(2) + "\n");

  if (config.teacher == kRandomTeacher) write_random_teacher(run.random_teacher(), config.training.seed);
  const SafetensorsFile teacher(config.teacher == kRandomTeacher ? run.random_teacher()
                                                                 : std::filesystem::path(config.teacher));
  Detector detector(NamedTensors(teacher, WeightOrder::oihw), config.detector, config.training.seed, device);
  TrainingPlan plan(config.steps, config.minutes);
  DetectorTrainer trainer(detector, data.training, folder_pictures, config.training);
  if (options.resume) {
    NamedTensors(*checkpoint_file, WeightOrder::krsc).load_into(detector.parameters());
    trainer.restore(checkpoint.trainer, [&](const std::string& name, const Shape& shape) {
      return Tensor::from_host<float>(shape, checkpoint_file->read_f32(name, shape.extents()));
    });
    plan.restore(checkpoint.plan);
    checkpoint_file.reset();
  }
  std::printf("%lld good pictures to learn from, %lld held out; teacher %s; %s; %s, batch %lld\n",
              static_cast<long long>(data.training.dim(0)), static_cast<long long>(data.held_out.dim(0)),
              config.teacher.c_str(), describe(device).c_str(), name_of(config.detector.precision),
              static_cast<long long>(config.training.batch));
  std::fflush(stdout);

  JsonLines log(run.log(), options.resume);
  ProgressLine line;
  double last_checkpoint = now_seconds();
  double step_seconds = 0;  // smoothed
  while (!plan.done() && !interrupted()) {
    const double start = now_seconds();
    const TrainingStepReport report = trainer.step(plan.progress());
    const double seconds = now_seconds() - start;
    step_seconds = step_seconds == 0 ? seconds : 0.9 * step_seconds + 0.1 * seconds;
    plan.advance(seconds);
    if (!report.finite)
      std::fprintf(stderr, "step %lld: a gradient was not finite; the step was skipped\n",
                   static_cast<long long>(plan.state().steps));
    const ordered_json record =
        log_record(report, plan, static_cast<double>(config.training.batch) / step_seconds, device);
    if (plan.state().steps % 10 == 0 || plan.done()) log.write(record);
    if (line.due() || plan.done()) line.show(line_text(record));
    if (now_seconds() - last_checkpoint > options.checkpoint_minutes * 60) {
      save_checkpoint(run, config, detector, trainer, plan, picture_count);
      last_checkpoint = now_seconds();
    }
  }
  line.finish();
  save_checkpoint(run, config, detector, trainer, plan, picture_count);
  if (!plan.done()) {
    std::printf("interrupted after %lld steps; continue with: ddpmts train %s -o %s --resume\n",
                static_cast<long long>(plan.state().steps), config.data.c_str(), run.root.c_str());
    return SessionEnd::interrupted;
  }
  finish_model(std::move(detector), config, data, run);
  return SessionEnd::finished;
}

}  // namespace ddpmts::app
