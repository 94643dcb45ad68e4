// `ddpmts draw -o FOLDER`: draws the demonstration parts, good and defective, with their masks.
#include <cstdio>

#include "app/commands.h"
#include "app/run_folder.h"
#include "data/drawn_set.h"

namespace ddpmts::app {
namespace {

struct DrawOptions {
  std::string output;
  std::uint64_t seed = 0;
  int size = 256;
  DrawnSetCounts counts;
};

}  // namespace

void add_draw(CLI::App& app) {
  const auto options = std::make_shared<DrawOptions>();
  CLI::App* command =
      app.add_subcommand("draw", "Draw a demonstration dataset of three kinds of parts (MVTec layout).");
  command->add_option("-o,--output", options->output, "Folder; each kind of part gets one in it")->required();
  command->add_option("--seed", options->seed, "Seed");
  command->add_option("--size", options->size, "Side of the pictures, pixels")->check(CLI::Range(32, 2048));
  command->add_option("--train", options->counts.train_good, "Good parts for training")
      ->check(CLI::Range(1, 100000));
  command->add_option("--test-good", options->counts.test_good, "Good parts for testing")
      ->check(CLI::Range(0, 100000));
  command->add_option("--test-defect", options->counts.test_defect, "Parts of each kind of defect")
      ->check(CLI::Range(0, 100000));
  command->callback([options] {
    make_folder(options->output);
    write_drawn_set(options->output, options->seed, options->size, options->counts);
    for (const PartKind part : kPartKinds) {
      std::printf("%s\n", (std::filesystem::path(options->output) / std::string(name_of(part))).c_str());
    }
  });
}

}  // namespace ddpmts::app
