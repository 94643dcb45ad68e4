// `ddpmts paint RUN -o DIR`: paints defects on the good pictures that a run's diffusion model was taught with.
#include <cstdio>
#include <optional>

#include "app/commands.h"
#include "app/defect_bank.h"
#include "app/device_options.h"
#include "app/diffusion_config.h"
#include "app/interrupt.h"
#include "app/paint_options.h"
#include "app/realism_report.h"
#include "app/run_folder.h"
#include "app/teacher_search.h"
#include "models/random_teacher.h"

namespace ddpmts::app {
namespace {

struct PaintCommand {
  PaintOptions paint;
  PaintBankOptions bank;
  std::string run, data, output, precision = "auto", device = "cpu", teacher;
  bool report = false;
};

std::string teacher_file(const PaintCommand& o, const RunFolder& run) {
  const std::string teacher = find_teacher(o.teacher);
  if (teacher != kRandomTeacher) return teacher;
  if (!std::filesystem::exists(run.random_teacher()))
    write_random_teacher(run.random_teacher(), o.paint.seed);
  return run.random_teacher();
}

void run_paint(const PaintCommand& o) {
  watch_for_interrupt();
  const Device device = parse_device(o.device);
  const PaintSource source = open_paint_source(RunFolder{o.run}, o.data, device);
  PaintConfig config = paint_config(o.paint, source);
  const Precision precision = parse_precision(o.precision, device);
  const std::filesystem::path folder =
      o.output.empty() ? RunFolder{o.run}.defect_bank() : std::filesystem::path(o.output);
  std::optional<RealismReport> report;
  if (o.report) {
    report.emplace(o.data.empty() ? source.trained.data : o.data, source.trained.picture_size,
                   teacher_file(o, RunFolder{o.run}), device);
  }
  bool done = paint_bank(folder, source.model, source.data, config, type_of(precision), o.bank);
  if (done && report) done = report->write(folder, source.data, config);
  fmt::print("{}: {}\n", done ? "painted defects" : "interrupted; the same command goes on", folder.string());
}

}  // namespace

void add_paint(CLI::App& app) {
  const auto o = std::make_shared<PaintCommand>();
  CLI::App* command = app.add_subcommand(
      "paint",
      "Paint defects with masks on good pictures, with a run's diffusion model, as an ordinary folder.");
  command->add_option("run", o->run, "Run folder with a diffusion model (ddpmts train-diffusion)")
      ->required();
  command->add_option("-o,--output", o->output,
                      "Folder for good/, bad/ and masks/; default: defects in the run");
  command->add_option("--count", o->bank.count, "Defects in the folder in the end")
      ->check(CLI::Range(1, 1'000'000));
  command->add_option("--data", o->data, "Good pictures; default: those of the run");
  add_paint_options(*command, o->paint);
  command->add_option("--batch", o->bank.batch, "Painted at once")->check(CLI::Range(1, 1024));
  command->add_option("--precision", o->precision, "auto, f32 or bf16")
      ->check(CLI::IsMember({"auto", "f32", "bf16"}));
  add_device_options(command, o->device);
  command->add_flag(
      "--report", o->report,
      "Then measure how close they are to the dataset's real defects: realism.html, realism.json");
  command->add_option("--teacher", o->teacher,
                      "--report: ResNet-18 weights (safetensors), or `random`; default: $DDPMTS_TEACHER, "
                      "then the one that ships");
  command->add_flag("--overwrite", o->bank.overwrite, "Start over where a bank is");
  command->callback([o] { run_paint(*o); });
}

}  // namespace ddpmts::app
