// `ddpmts train-diffusion DATA -o RUN`: teaches a run's diffusion model what good parts look like.
#include "app/commands.h"
#include "app/device_options.h"
#include "app/diffusion_session.h"
#include "app/named_settings.h"
#include "app/synthesis_options.h"

namespace ddpmts::app {
namespace {

struct TrainDiffusionOptions {
  DiffusionRunConfig config;
  SessionOptions session;
  std::string run;
  std::string precision = "auto", preset, views, schedule, predict, augment, flip = "none";
};

void run_train_diffusion(TrainDiffusionOptions& o) {
  DiffusionRunConfig& config = o.config;
  config.precision = parse_precision(o.precision, parse_device(o.session.device));
  config.preset = parse_unet_preset(o.preset);
  config.views = parse_view_scales(o.views);
  config.schedule = parse_schedule_kind(o.schedule);
  config.training.prediction = parse_prediction(o.predict);
  SynthesisConfig& synthesis = config.training.synthesis;
  synthesis.augmentation = augmentation_named(o.augment);
  set_flips(synthesis, o.flip);
  if (config.steps > 0) config.minutes = 0;
  run_diffusion_training(config, RunFolder{o.run}, o.session);
}

}  // namespace

void add_train_diffusion(CLI::App& app) {
  const auto o = std::make_shared<TrainDiffusionOptions>();
  DiffusionRunConfig& c = o->config;
  o->preset = name_of(c.preset);
  o->views = name_of(c.views);
  o->schedule = name_of(c.schedule);
  o->predict = name_of(c.training.prediction);
  o->augment = name_of(c.training.synthesis.augmentation);
  CLI::App* command =
      app.add_subcommand("train-diffusion", "Teach a diffusion model what good parts look like, for paint.");
  command->add_option("data", c.data, "Folder of good pictures, MVTec layout, or good/ and bad/")->required();
  command->add_option("-o,--output", o->run, "Run folder: model, log, samples")->required();
  command->add_option("--minutes", c.minutes, "Training time")->check(CLI::PositiveNumber);
  command->add_option("--steps", c.steps, "Optimiser steps, instead of minutes")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--seed", c.training.seed, "Seed of everything random");
  command->add_option("--preset", o->preset, "UNet: xs, s or m (32, 64, 128 channels)")
      ->check(CLI::IsMember({"xs", "s", "m"}));
  command->add_option("--size", c.size, "Side of what the network sees: 64, 128 or 256 pixels")
      ->check(CLI::IsMember({64, 128, 256}));
  command
      ->add_option(
          "--views", o->views,
          "What it sees: the whole picture, or detail: views of it at every scale from its own size on")
      ->check(CLI::IsMember({"whole", "detail"}));
  command
      ->add_option("--picture-size", c.picture_size, "Pictures are resized to this square, as the detector's")
      ->check(CLI::Range(32, 2048));
  command->add_option("--schedule", o->schedule, "Noise: linear or cosine")
      ->check(CLI::IsMember({"linear", "cosine"}));
  command->add_option("--predict", o->predict, "What the network learns to predict: noise or velocity")
      ->check(CLI::IsMember({"noise", "velocity"}));
  command->add_option("--batch", c.training.batch, "Views per pass")->check(CLI::Range(1, 1024));
  command->add_option("--accumulation", c.training.accumulation, "Passes per step")
      ->check(CLI::Range(1, 1024));
  command->add_option("--learning-rate", c.training.learning_rate, "AdamW's, at its peak")
      ->check(CLI::PositiveNumber);
  command->add_option("--precision", o->precision, "auto, f32 or bf16")
      ->check(CLI::IsMember({"auto", "f32", "bf16"}));
  add_device_options(command, o->session.device);
  command->add_option("--augment", o->augment, "How views are turned: none, small, quarter, rotate")
      ->check(CLI::IsMember({"none", "small", "quarter", "rotate"}));
  command->add_option("--flip", o->flip, "Mirror views: none, horizontal, vertical, both")
      ->check(CLI::IsMember({"none", "horizontal", "vertical", "both"}));
  command->add_option("--held-out", c.held_out, "Share of good pictures that it does not see")
      ->check(CLI::Range(0.01, 0.9));
  command
      ->add_option("--checkpoint-minutes", o->session.checkpoint_minutes,
                   "Time between checkpoints, each with a picture of samples")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--log-every", o->session.log_every, "Steps from one line of the log to the next")
      ->check(CLI::PositiveNumber);
  command->add_flag("--resume", o->session.resume, "Continue an interrupted run with its own settings");
  command->add_flag("--overwrite", o->session.overwrite, "Replace a diffusion model that is there");
  command->callback([o, command] {
    o->session.named = settings_named(*command);
    run_train_diffusion(*o);
  });
}

}  // namespace ddpmts::app
