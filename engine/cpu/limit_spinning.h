// How long the threads of parallel regions wait awake.
#pragma once

namespace ddpmts::cpu {

/// To be called first in main(). By default libgomp's threads wait for each other awake for about ten milliseconds. On a
/// machine that has other work, one of them is then off its core while the rest burn theirs until the scheduler's next
/// turn, dozens of times in an inspection: 28 times slower in one measurement (docs/performance.md). The limit can only be
/// set in the environment that a process starts with, so this starts the program again in its own place, once, with
/// GOMP_SPINCOUNT set. Whoever has set GOMP_SPINCOUNT or OMP_WAIT_POLICY has decided, and nothing happens.
void limit_spinning(char** argv);

}  // namespace ddpmts::cpu
