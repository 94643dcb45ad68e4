// `ddpmts info RUN`: what a trained model is, and whether it still gives the scores it was saved with.
#include <cstdio>
#include <nlohmann/json.hpp>

#include "app/commands.h"
#include "app/device_options.h"
#include "app/run_folder.h"

namespace ddpmts::app {
namespace {

struct InfoOptions {
  std::string run, precision = "auto", device = "cpu";
  bool verify = false;
};

void run_info(const InfoOptions& options) {
  const Model model = open_model(options.run, options.precision, options.device);
  const DetectorConfig& config = model.detector->config();
  std::int64_t learned = 0;
  for (const ParameterPtr& parameter : model.detector->parameters()) {
    if (parameter->trainable()) learned += parameter->shape().count();
  }
  std::printf("pictures    resized to %lld x %lld\n", static_cast<long long>(config.size),
              static_cast<long long>(config.size));
  std::printf("networks    teacher ResNet-18, student, head %s: %.2f million learned parameters, %s\n",
              name_of(config.head), static_cast<double>(learned) / 1e6, name_of(config.precision));
  if (model.detector->has_memory()) {
    std::printf("memory      %lld vectors\n",
                static_cast<long long>(model.detector->memory().vectors().dim(0)));
  }
  std::printf("threshold   %s\n", model.threshold.describe().c_str());
  std::printf("trained by  %s\n", nlohmann::ordered_json::parse(model.run_configuration).dump(2).c_str());
  if (!options.verify) return;
  // Another machine, precision or thread count rounds differently; what matters is that verdicts stay.
  constexpr double kTolerance = 0.02;
  const double deviation = probe_deviation(model);
  std::printf("probes      %zu pictures, scores (0 to 1) within %.2g of the stored ones\n",
              model.probe_scores.size(), deviation);
  if (deviation > kTolerance)
    throw_error("{}: the model does not give the scores it was saved with", options.run);
}

}  // namespace

void add_info(CLI::App& app) {
  const auto options = std::make_shared<InfoOptions>();
  CLI::App* command = app.add_subcommand("info", "Show what a trained model is.");
  command->add_option("run", options->run, "Run folder, or its model.safetensors")->required();
  command->add_flag("--verify", options->verify,
                    "Inspect the stored probe pictures and compare their scores");
  command->add_option("--precision", options->precision, "auto, f32 or bf16");
  add_device_options(command, options->device);
  command->callback([options] { run_info(*options); });
}

}  // namespace ddpmts::app
