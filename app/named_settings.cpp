#include "app/named_settings.h"

#include <set>

namespace ddpmts::app {

std::string settings_named(const CLI::App& command) {
  static const std::set<std::string> kOfTheCall = {
      "data",     "output", "resume",    "overwrite",          "test",     "device", "tf32", "deterministic",
      "autotune", "graph",  "workspace", "checkpoint-minutes", "log-every"};
  std::string named;
  for (const CLI::Option* option : command.get_options()) {
    const std::string& name = option->get_single_name();
    if (option->count() == 0 || kOfTheCall.contains(name)) continue;
    named += (named.empty() ? "--" : " --") + name;
  }
  return named;
}

}  // namespace ddpmts::app
