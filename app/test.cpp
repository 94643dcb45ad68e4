// `ddpmts test RUN DATA`: inspects a labelled test set; writes results.json, results.csv and report.html.
#include <algorithm>

#include "app/commands.h"
#include "app/device_options.h"
#include "app/diffusion_inspector.h"
#include "app/interrupt.h"
#include "app/report_skipped.h"
#include "app/test_run.h"
#include "engine/files/atomic_file.h"

namespace ddpmts::app {
namespace {

struct TestOptions {
  std::string run, data, output, precision = "auto", device = "cpu", detector = "student";
  DiffusionInspectorOptions diffusion;
  TestRunOptions test;
};

void finish(const std::optional<eval::Summary>& summary) {
  if (!summary) throw_error("interrupted before every picture was inspected; nothing was written");
}

void run_test_command(const TestOptions& options) {
  watch_for_interrupt();
  const Dataset dataset = scan_dataset(options.data);
  report_skipped(dataset.skipped);
  if (options.detector != "student") {
    const RunFolder run{options.run};
    const DiffusionInspector inspector(run, parse_diffusion_detector_kind(options.detector),
                                       options.diffusion, options.precision, options.device);
    const std::filesystem::path output =
        options.output.empty() ? run.root / options.detector : std::filesystem::path(options.output);
    finish(test_run(inspector.inspector(), dataset, output, options.test));
    return;
  }
  const Model model = open_model(options.run, options.precision, options.device);
  std::filesystem::path output = options.output;
  if (output.empty()) output = std::filesystem::is_directory(options.run) ? options.run : ".";
  finish(test_run(inspector_of(model, true), dataset, output, options.test));
}

}  // namespace

void add_test(CLI::App& app) {
  const auto options = std::make_shared<TestOptions>();
  CLI::App* command =
      app.add_subcommand("test", "Measure a trained detector on labelled pictures; write a report.");
  command->add_option("run", options->run, "Run folder, or its model.safetensors")->required();
  command->add_option("data", options->data, "Dataset folder: MVTec layout, or good/ and bad/ (and masks/)")
      ->required();
  command->add_option("-o,--output", options->output,
                      "Folder for the results; default: the run folder, or the detector's in it");
  command
      ->add_option("--detector", options->detector,
                   "student: the trained detector; score, reconstruct: the run's diffusion model alone")
      ->check(CLI::IsMember({"student", "score", "reconstruct"}));
  command->add_option("--scales", options->diffusion.timesteps, "score: timesteps to look at")
      ->delimiter(',');
  command->add_option("--draws", options->diffusion.draws, "score: draws of noise per timestep")
      ->check(CLI::Range(1, 64));
  command
      ->add_option("--start", options->diffusion.start_timestep,
                   "reconstruct: timestep up to which the picture is diffused")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--precision", options->precision, "auto, f32 or bf16")
      ->check(CLI::IsMember({"auto", "f32", "bf16"}));
  add_device_options(command, options->device);
  command->add_option("--batch", options->test.batch, "Pictures inspected at once")
      ->check(CLI::PositiveNumber);
  command
      ->add_option("--gallery", options->test.gallery, "Pictures shown in the report, worst mistakes first")
      ->check(CLI::NonNegativeNumber);
  command->callback([options] { run_test_command(*options); });
}

}  // namespace ddpmts::app
