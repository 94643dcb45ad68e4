#include "engine/cpu/limit_spinning.h"

#include <cstdlib>

#if defined(__linux__)
#include <unistd.h>
#endif

namespace ddpmts::cpu {

void limit_spinning(char** argv) {
#if defined(__linux__)
  // About a quarter of a millisecond: longer than the gaps between parallel regions, much shorter than a scheduler's turn.
  constexpr const char* kSpins = "5000";
  if (std::getenv("GOMP_SPINCOUNT") != nullptr || std::getenv("OMP_WAIT_POLICY") != nullptr) return;
  char program[4096] = {};  // its path, so that it keeps its name
  if (readlink("/proc/self/exe", program, sizeof program - 1) <= 0) return;
  setenv("GOMP_SPINCOUNT", kSpins, 1);
  execv(program, argv);
  // Where that is not possible the program goes on: slower on a busy machine, with the same results.
#else
  static_cast<void>(argv);
#endif
}

}  // namespace ddpmts::cpu
