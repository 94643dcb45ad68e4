#include "app/report_skipped.h"

#include <cstdio>

namespace ddpmts::app {

void report_skipped(std::span<const Skipped> skipped) {
  for (const Skipped& file : skipped) {
    std::fprintf(stderr, "skipped %s: %s\n", file.path.c_str(), file.reason.c_str());
  }
}

}  // namespace ddpmts::app
