#include "app/device_options.h"

#include "engine/settings.h"

namespace ddpmts::app {

void add_device_options(CLI::App* command, std::string& device) {
  EngineSettings& settings = engine_settings();
  command->add_option("--device", device, "cpu or cuda[:index]");
  command->add_flag("--tf32", settings.tf32, "On a GPU, f32 products may round their inputs to tf32");
  command->add_flag("--deterministic", settings.deterministic,
                    "On a GPU, the same inputs give the same bits in every run");
  command->add_flag("--autotune", settings.autotune,
                    "On a GPU, measure which convolution plans are fastest, and remember them");
  command->add_flag(
      "--graph,!--no-graph", settings.graphs,
      "On a GPU, steps that are done again and again are captured once as CUDA graphs and replayed, with the "
      "same numbers; default: yes");
  command
      ->add_option_function<std::int64_t>(
          "--workspace", [&settings](std::int64_t mebibytes) { settings.workspace_limit = mebibytes << 20; },
          "On a GPU, the most scratch memory that one operation may take [MiB]; default: 512")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 20));
}

}  // namespace ddpmts::app
