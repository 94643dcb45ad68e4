// SIGINT and SIGTERM as a wish that long work asks about between two steps.
#pragma once

namespace ddpmts::app {

/// From now on SIGINT and SIGTERM only set a flag; a second one ends the program at once, with exit code 130.
void watch_for_interrupt();
bool interrupted();

}  // namespace ddpmts::app
