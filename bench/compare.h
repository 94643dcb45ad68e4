// Two runs side by side: which rows became faster or slower, and of which that cannot be said.
#pragma once

#include <string>
#include <vector>

#include "bench/results.h"

namespace ddpmts::bench {

enum class Verdict {
  same,       ///< the medians differ by no more than allowed
  faster,     ///< by more than allowed, and the intervals [5 %, 95 %] do not touch
  slower,     ///< likewise
  too_noisy,  ///< by more than allowed, but the intervals overlap
  broken,     ///< wrong in the second run
  only_one,   ///< timed in one of the two runs only
};
const char* name_of(Verdict verdict);

/// allowed: share of the time before.
Verdict judge(const Summary& before, const Summary& after, double allowed);

struct Comparison {
  std::string name;
  Verdict verdict = Verdict::same;
  double before = 0.0, after = 0.0;                ///< medians in seconds; 0: not timed
  double before_spread = 0.0, after_spread = 0.0;  ///< as Summary::spread
};

/// Rows by name: in the order of `after`, then those that only `before` has.
std::vector<Comparison> compare(const Results& before, const Results& after, double allowed);
/// True where a row is slower or broken: what a continuous integration stops at.
bool is_worse(const std::vector<Comparison>& comparisons);
/// A Markdown table; differences of machine and program and what either run was warned of first, last the counts, how many
/// agree and which of the others are farthest apart.
std::string comparison_text(const Results& before, const Results& after,
                            const std::vector<Comparison>& comparisons);

}  // namespace ddpmts::bench
