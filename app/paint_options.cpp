#include "app/paint_options.h"

#include "app/synthesis_options.h"
#include "engine/files/file_error.h"

namespace ddpmts::app {
void add_paint_options(CLI::App& command, PaintOptions& o) {
  command.add_option("--seed", o.seed, "Seed: the same seed paints the same defects");
  command
      .add_option(
          "--form", o.form,
          "h1: disturbed from noise, blended in; constant: the same, by a constant variance; h3: from the "
          "picture; inpaint: from noise inside of the mask")
      ->check(CLI::IsMember({"h1", "constant", "h3", "inpaint"}));
  command.add_option("--masks", o.masks, kMasksHelp);
  constexpr const char* kForms = "the form's";
  command.add_option("--chain", o.steps, "Reverse steps of a whole chain")
      ->check(CLI::Range(2, 1000))
      ->default_str(kForms);
  command.add_option("--start", o.start, "h3: timestep up to which the picture is diffused")
      ->check(CLI::NonNegativeNumber)
      ->default_str(kForms);
  command.add_option("--delta", o.delta, "constant, h3: standard deviation of the disturbance, in [0, 1]")
      ->check(CLI::Range(0.0, 1.0))
      ->default_str(kForms);
  command.add_option("--s", o.s, "h1, inpaint: range of s; variances are multiplied by 1 + s")
      ->expected(2)
      ->default_str(kForms);
  command.add_flag("--foreground", o.foreground, "Only on the part, for parts that lie on a plain ground");
}

PaintSource open_paint_source(const RunFolder& run, const std::string& data_folder, Device device) {
  if (!std::filesystem::exists(run.diffusion_model())) {
    throw FileError(
        fmt::format("{} has no diffusion model to paint with; teach it one: ddpmts train-diffusion "
                    "DATA -o {}",
                    in_quotes(run.root), run.root.string()),
        run.diffusion_model());
  }
  PaintSource source{load_diffusion_model(run.diffusion_model(), device), {}, {}};
  try {
    source.trained =
        diffusion_config_from_json(nlohmann::ordered_json::parse(source.model.run_configuration));
  } catch (const nlohmann::json::exception& e) {
    throw FileError(fmt::format("{}: how it was trained cannot be read ({}); train it again",
                                in_quotes(run.diffusion_model()), e.what()),
                    run.diffusion_model());
  }
  const DiffusionRunConfig& trained = source.trained;
  source.data = load_training_data(scan_dataset(data_folder.empty() ? trained.data : data_folder),
                                   trained.picture_size, trained.held_out, trained.training.seed, device);
  return source;
}

PaintConfig paint_config(const PaintOptions& o, const PaintSource& source) {
  PaintConfig config = ddpmts::paint_config(parse_paint_form(o.form));
  config.sampler.seed = o.seed;
  if (o.steps >= 0) config.sampler.steps = o.steps;
  if (o.start >= 0) config.sampler.start_timestep = o.start;
  if (o.delta >= 0) config.sampler.delta = o.delta;
  if (!o.s.empty()) {
    config.sampler.s_low = o.s.at(0);
    config.sampler.s_high = o.s.at(1);
  }
  set_masks(config.masks, o.masks);
  config.masks.grey_pictures = config.grey = source.data.grey;
  config.foreground_only = o.foreground;
  config.views = source.trained.views;
  return config;
}

}  // namespace ddpmts::app
