// `ddpmts train DATA -o RUN`: learns from good parts; then tests, when the dataset has a test set. With the source `diffusion`
// it first teaches the run a diffusion model and paints defects with it, as far as that is not done yet.
#include <cstdio>

#include "app/commands.h"
#include "app/defect_bank.h"
#include "app/device_options.h"
#include "app/diffusion_session.h"
#include "app/interrupt.h"
#include "app/named_settings.h"
#include "app/paint_options.h"
#include "app/settings_json.h"
#include "app/synthesis_options.h"
#include "app/teacher_search.h"
#include "app/test_run.h"
#include "app/training_session.h"
#include "app/usage_error.h"

namespace ddpmts::app {
namespace {

struct TrainOptions {
  RunConfig config;
  SessionOptions session;
  std::string run;
  std::string precision = "auto", head = "s", schedule = "joint", augment = "small", source, masks,
              flip = "none";
  bool test = true;
  // The source `diffusion`.
  double diffusion_minutes = DiffusionRunConfig().minutes;
  std::int64_t diffusion_steps = 0;
  std::int64_t paint = 400;
  PaintOptions painting;
};

// False when the program was asked to end.
bool make_bank(const TrainOptions& o, const RunFolder& run, Device device) {
  const RunConfig& config = o.config;
  if (!std::filesystem::exists(run.diffusion_model())) {
    DiffusionRunConfig diffusion;
    diffusion.data = config.data;
    diffusion.minutes = o.diffusion_steps > 0 ? 0 : o.diffusion_minutes;
    diffusion.steps = o.diffusion_steps;
    diffusion.picture_size = config.detector.size;
    diffusion.held_out = config.held_out;
    diffusion.precision = config.detector.precision;
    diffusion.training.seed = config.training.seed;
    diffusion.training.synthesis.augmentation = config.training.synthesis.augmentation;
    diffusion.training.synthesis.flip_horizontal = config.training.synthesis.flip_horizontal;
    diffusion.training.synthesis.flip_vertical = config.training.synthesis.flip_vertical;
    SessionOptions session = o.session;
    session.named.clear();
    session.resume = o.session.resume && std::filesystem::exists(run.diffusion_checkpoint());
    if (run_diffusion_training(diffusion, run, session) == SessionEnd::interrupted) return false;
  }
  const PaintSource source = open_paint_source(run, config.data, device);
  if (source.trained.picture_size != config.detector.size) {
    throw_error(
        "the diffusion model of {} was taught with pictures of {} pixels, the detector is to have {}; "
        "give --size {}, or another -o",
        in_quotes(run.root), source.trained.picture_size, config.detector.size, source.trained.picture_size);
  }
  PaintBankOptions bank;
  bank.count = o.paint;
  bank.overwrite = o.session.overwrite;
  PaintOptions painting = o.painting;
  painting.seed = config.training.seed;
  painting.masks = o.masks;
  const DType type = type_of(config.detector.precision);
  return paint_bank(run.defect_bank(), source.model, source.data, paint_config(painting, source), type, bank);
}

void run_train(TrainOptions& o) {
  RunConfig& config = o.config;
  const Device device = parse_device(o.session.device);
  config.detector.precision = parse_precision(o.precision, device);
  config.detector.head = parse_head_size(o.head);
  config.detector.top_k = default_top_k(config.detector.size);
  config.training.schedule = parse_schedule(o.schedule);
  config.training.synthesis.augmentation = augmentation_named(o.augment);
  set_flips(config.training.synthesis, o.flip);
  set_sources(config.training.synthesis, o.source);
  set_masks(config.training.synthesis, o.masks);
  if (config.steps > 0) config.minutes = 0;
  const SynthesisConfig& synthesis = config.training.synthesis;
  if (!config.folder.empty() && synthesis.folder_weight == 0) {
    throw UsageError(
        "--folder: the source `folder` has no weight; add it, for example --source self=0.6,folder=0.4");
  }
  if (!config.bank.empty() && synthesis.diffusion_weight == 0) {
    throw UsageError(
        "--bank: the source `diffusion` has no weight; add it, for example --source self=0.6,diffusion=0.4");
  }

  const RunFolder run{o.run};
  SessionOptions session = o.session;
  const bool own_bank = synthesis.diffusion_weight > 0 && config.bank.empty();
  // A run may have been stopped before its detector began; one whose detector did goes on with the bank it began with.
  if (own_bank) session.resume = session.resume && std::filesystem::exists(run.checkpoint());
  if (!session.resume) {
    config.teacher = find_teacher(config.teacher);
    if (config.teacher == shipped_teacher()) std::printf("%s\n", kAboutShippedTeacher);
  }
  if (own_bank && !session.resume) {
    if (!make_bank(o, run, device)) return;
    config.bank = run.defect_bank();
  }
  if (run_training(config, run, session) == SessionEnd::interrupted) return;
  std::printf("model: %s\n", run.model().c_str());
  const Dataset dataset = scan_dataset(config.data);
  if (!o.test || dataset.test.empty()) return;
  release_cached_memory(device);  // of the training; the test keeps every picture's maps
  const Model model = load_model(run.model(), "auto", device);
  if (interrupted() || !test_run(inspector_of(model, true), dataset, run.root, {})) {
    std::printf("interrupted before the test was done; it can be run with: ddpmts test %s %s\n",
                run.root.c_str(), config.data.c_str());
  }
}

// Empty when `text` is a number that pictures can be resized to.
std::string is_size(const std::string& text) {
  const long size = std::strtol(text.c_str(), nullptr, 10);
  return size % 32 == 0 ? "" : fmt::format("{} is no multiple of 32; 256 is", text);
}

}  // namespace

void add_train(CLI::App& app) {
  const auto o = std::make_shared<TrainOptions>();
  o->source = sources_text(o->config.training.synthesis);
  o->masks = masks_text(o->config.training.synthesis);
  RunConfig& c = o->config;
  CLI::App* command = app.add_subcommand("train", "Learn what good parts look like.");
  command->add_option("data", c.data, "Folder of good pictures, MVTec layout, or good/ and bad/")->required();
  command->add_option("-o,--output", o->run, "Run folder: model, log, report")->required();
  command->add_option("--teacher", c.teacher,
                      "ResNet-18 or -34 weights (safetensors), or `random`; default: $DDPMTS_TEACHER, then "
                      "the one that ships");
  command->add_option("--minutes", c.minutes, "Training time")->check(CLI::PositiveNumber);
  command->add_option("--steps", c.steps, "Optimiser steps, instead of minutes")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--seed", c.training.seed, "Seed of everything random");
  command->add_option("--batch", c.training.batch, "Triplets per step")->check(CLI::Range(2, 1024));
  command->add_option("--size", c.detector.size, "Pictures are resized to this square, a multiple of 32")
      ->check(CLI::Range(std::int64_t{32}, kLargestSize))
      ->check(is_size);
  command->add_option("--head", o->head, "Segmentation head: s, m or l (64, 128, 256 channels)")
      ->check(CLI::IsMember({"s", "m", "l"}));
  command->add_option("--precision", o->precision, "auto, f32 or bf16")
      ->check(CLI::IsMember({"auto", "f32", "bf16"}));
  add_device_options(command, o->session.device);
  command->add_option("--schedule", o->schedule, "joint (multi-task) or two-stage")
      ->check(CLI::IsMember({"joint", "two-stage"}));
  command->add_option("--source", o->source,
                      "Weights of the defect sources: self, texture, folder, diffusion");
  command->add_option("--masks", o->masks, kMasksHelp);
  command->add_option("--folder", c.folder,
                      "Pictures for the source `folder`, for example textures; default: none");
  command->add_option(
      "--bank", c.bank,
      "Painted defects for the source `diffusion` (ddpmts paint); default: the run's, made when needed");
  command
      ->add_option("--diffusion-minutes", o->diffusion_minutes,
                   "Training time of the diffusion model, where the run has none yet")
      ->check(CLI::PositiveNumber);
  command->add_option("--diffusion-steps", o->diffusion_steps, "Its optimiser steps, instead of minutes")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--paint", o->paint, "Defects that it paints")->check(CLI::Range(1, 1'000'000));
  command->add_option("--form", o->painting.form, "How it paints: h1, constant, h3 or inpaint (ddpmts paint)")
      ->check(CLI::IsMember({"h1", "constant", "h3", "inpaint"}));
  command->add_option("--augment", o->augment, "How good pictures are turned: none, small, quarter, rotate")
      ->check(CLI::IsMember({"none", "small", "quarter", "rotate"}));
  command->add_option("--flip", o->flip, "Mirror good pictures: none, horizontal, vertical, both")
      ->check(CLI::IsMember({"none", "horizontal", "vertical", "both"}));
  command->add_option("--learning-rate", c.training.learning_rate, "AdamW's, at its peak")
      ->check(CLI::PositiveNumber);
  command->add_option("--segmentation-weight", c.training.segmentation_weight, "Weight of the pixel loss")
      ->check(CLI::NonNegativeNumber);
  command
      ->add_option("--memory", c.memory.vectors,
                   "Vectors of the feature memory (a third map beside distance and segmentation); 0: none")
      ->check(CLI::Range(0, 20'000));
  command->add_option("--held-out", c.held_out, "Share of good pictures that only set the threshold")
      ->check(CLI::Range(0.01, 0.9));
  command->add_option("--false-alarm-rate", c.false_alarm_rate, "Good parts that may be called defective")
      ->check(CLI::Range(1e-6, 0.5));
  command->add_option("--checkpoint-minutes", o->session.checkpoint_minutes, "Time between checkpoints")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--log-every", o->session.log_every, "Steps from one line of the log to the next")
      ->check(CLI::PositiveNumber);
  command->add_flag("--resume", o->session.resume, "Continue an interrupted run with its own settings");
  command->add_flag("--overwrite", o->session.overwrite, "Replace a run that is there");
  command->add_flag("--test,!--no-test", o->test,
                    "Test afterwards when there are test pictures; default: yes");
  command->callback([o, command] {
    o->session.named = settings_named(*command);
    run_train(*o);
  });
}

}  // namespace ddpmts::app
