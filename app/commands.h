// The subcommands. Each adds itself to the command line; its callback does the work and throws Error when it cannot.
#pragma once

#include <CLI/CLI.hpp>

namespace ddpmts::app {

void add_train(CLI::App& app);
void add_train_diffusion(CLI::App& app);
void add_paint(CLI::App& app);
void add_pretrain(CLI::App& app);
void add_test(CLI::App& app);
void add_predict(CLI::App& app);
void add_info(CLI::App& app);
void add_check(CLI::App& app);
void add_draw(CLI::App& app);
void add_convert(CLI::App& app);

}  // namespace ddpmts::app
