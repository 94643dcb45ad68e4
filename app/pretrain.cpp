// `ddpmts pretrain -o FILE`: a teacher of one's own, from pictures that the program makes up.
#include "app/commands.h"
#include "app/device_options.h"
#include "app/named_settings.h"
#include "app/pretrain_session.h"

namespace ddpmts::app {
namespace {

struct PretrainOptions {
  PretrainingRunConfig config;
  SessionOptions session;
  std::string file, precision = "auto";
};

void run_pretrain(PretrainOptions& o) {
  o.config.precision = parse_precision(o.precision, parse_device(o.session.device));
  if (o.config.steps > 0) o.config.minutes = 0;
  run_pretraining(o.config, TeacherFiles{o.file}, o.session);
}

}  // namespace

void add_pretrain(CLI::App& app) {
  const auto o = std::make_shared<PretrainOptions>();
  o->session.checkpoint_minutes = 10;
  PretrainingRunConfig& c = o->config;
  PretrainingConfig& t = c.training;
  CLI::App* command =
      app.add_subcommand("pretrain", "Train a teacher on made-up scenes, for train --teacher.");
  command->add_option("-o,--output", o->file, "The teacher (safetensors); checkpoint and log lie beside it")
      ->required();
  command->add_option("--minutes", c.minutes, "Training time")->check(CLI::PositiveNumber);
  command->add_option("--steps", c.steps, "Optimiser steps, instead of minutes")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--seed", t.seed, "Seed of everything random");
  const CLI::Range sides(PretrainingConfig::kLeastSize, PretrainingConfig::kMostSize);
  command->add_option("--batch", t.batch, "Scenes per step, each seen twice, a multiple of 4")
      ->check(CLI::Range(PretrainingConfig::kLeastBatch, PretrainingConfig::kMostBatch));
  command->add_option("--size", t.size, "Side of a view, a multiple of 32")->check(sides);
  command->add_option("--final-size", t.final_size, "Side of a view towards the end of the run")
      ->check(sides);
  command->add_option("--final-share", t.final_share, "Share of the run that has the final size")
      ->check(CLI::Range(0.0, 1.0));
  command->add_option("--temperature", t.temperature, "Of the contrastive loss")
      ->check(CLI::Range(PretrainingConfig::kLeastTemperature, PretrainingConfig::kMostTemperature));
  command->add_option("--layer2-weight", t.layer2_weight, "Of layer2's loss beside layer3's")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--learning-rate", t.learning_rate, "AdamW's, at its peak")->check(CLI::PositiveNumber);
  command->add_option("--precision", o->precision, "auto, f32 or bf16")
      ->check(CLI::IsMember({"auto", "f32", "bf16"}));
  add_device_options(command, o->session.device);
  command
      ->add_option("--checkpoint-minutes", o->session.checkpoint_minutes,
                   "Time between checkpoints, each with the teacher as it is then")
      ->check(CLI::NonNegativeNumber);
  command->add_flag("--resume", o->session.resume, "Continue an interrupted run with its own settings");
  command->add_flag("--overwrite", o->session.overwrite, "Replace a teacher that is there");
  command->callback([o, command] {
    o->session.named = settings_named(*command);
    run_pretrain(*o);
  });
}

}  // namespace ddpmts::app
