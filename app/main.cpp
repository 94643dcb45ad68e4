// ddpmts: finds defects on industrial surfaces after learning from good parts alone.
// Exit codes: 0 done, 1 failed (one line on stderr says why), 2 called wrongly.
#include <cstdio>
#include <exception>

#include "app/commands.h"
#include "app/usage_error.h"
#include "app/version.h"
#include "engine/cpu/limit_spinning.h"

int main(int argc, char** argv) {
  ddpmts::cpu::limit_spinning(argv);
  CLI::App app("Learns from pictures of good parts, then finds, outlines and scores defects in new ones.",
               "ddpmts");
  app.set_version_flag("--version", ddpmts::app::kVersion);
  app.require_subcommand(1);
  app.get_formatter()->column_width(34);
  app.option_defaults()->always_capture_default();
  ddpmts::app::add_train(app);
  ddpmts::app::add_train_diffusion(app);
  ddpmts::app::add_paint(app);
  ddpmts::app::add_pretrain(app);
  ddpmts::app::add_test(app);
  ddpmts::app::add_predict(app);
  ddpmts::app::add_info(app);
  ddpmts::app::add_check(app);
  ddpmts::app::add_draw(app);
  ddpmts::app::add_convert(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    const auto named = [&](const CLI::App* command) { return command->get_name() == argv[1]; };
    if (argc > 1 && argv[1][0] != '-' && app.get_subcommands(named).empty()) {
      std::fprintf(stderr, "ddpmts: there is no command '%s'; see ddpmts --help\n", argv[1]);
      return 2;
    }
    if (e.get_exit_code() == 0) return app.exit(e);  // --help, --version
    std::fprintf(stderr, "ddpmts: %s; see --help\n", e.what());
    return 2;
  } catch (const ddpmts::app::UsageError& e) {
    std::fprintf(stderr, "ddpmts: %s\n", e.what());
    return 2;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "ddpmts: %s\n", e.what());
    return 1;
  }
  return 0;
}
