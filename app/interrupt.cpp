#include "app/interrupt.h"

#include <unistd.h>

#include <csignal>

namespace ddpmts::app {
namespace {

volatile std::sig_atomic_t wishes = 0;

void on_signal(int) {
  if (wishes != 0) _exit(130);
  wishes = 1;
}

}  // namespace

void watch_for_interrupt() {
  struct sigaction action = {};
  action.sa_handler = on_signal;
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

bool interrupted() { return wishes != 0; }

}  // namespace ddpmts::app
