// `ddpmts paint RUN -o DIR`: paints defects on the good pictures that a run's diffusion model was taught with.
#include <cstdio>

#include "app/commands.h"
#include "app/defect_bank.h"
#include "app/diffusion_config.h"
#include "app/interrupt.h"
#include "app/paint_options.h"
#include "app/run_folder.h"

namespace ddpmts::app {
namespace {

struct PaintCommand {
  PaintOptions paint;
  PaintBankOptions bank;
  std::string run, data, output, precision = "auto", device = "cpu";
};

void run_paint(const PaintCommand& o) {
  watch_for_interrupt();
  const Device device = parse_device(o.device);
  const PaintSource source = open_paint_source(RunFolder{o.run}, o.data, device);
  PaintConfig config = paint_config(o.paint, source);
  const Precision precision = parse_precision(o.precision, device);
  const std::filesystem::path folder =
      o.output.empty() ? RunFolder{o.run}.defect_bank() : std::filesystem::path(o.output);
  const bool full = paint_bank(folder, source.model, source.data, config,
                               precision == Precision::bf16 ? DType::bf16 : DType::f32, o.bank);
  fmt::print("{}: {}\n", full ? "painted defects" : "interrupted; the same command goes on", folder.string());
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
  command->add_option("--device", o->device, "cpu or cuda[:index]");
  command->add_flag("--overwrite", o->bank.overwrite, "Start over where a bank is");
  command->callback([o] { run_paint(*o); });
}

}  // namespace ddpmts::app
