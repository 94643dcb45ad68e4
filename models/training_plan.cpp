#include "models/training_plan.h"

#include <algorithm>

#include "engine/error.h"

namespace ddpmts {

TrainingPlan::TrainingPlan(std::int64_t steps, double minutes) : steps_(steps), seconds_(minutes * 60.0) {
  if ((steps > 0) == (minutes > 0)) throw_error("give either --steps or --minutes, above zero");
  // Before anything is measured a step counts as half a second; corrected at the first measurement.
  state_.increment = steps > 0 ? 1.0 / static_cast<double>(steps) : std::min(1.0, 0.5 / seconds_);
}

void TrainingPlan::advance(double step_seconds) {
  ++state_.steps;
  state_.seconds += step_seconds;
  if (steps_ > 0) {
    state_.progress = static_cast<double>(state_.steps) / static_cast<double>(steps_);
    return;
  }
  state_.progress += state_.increment;
  // The first steps compile kernels and are slow: the first plan follows after five, later ones average over the run.
  if (state_.steps == 5 || state_.steps % kReplanSteps == 0) {
    const double step = state_.seconds / static_cast<double>(state_.steps);
    const double steps_left = std::max(1.0, (seconds_ - state_.seconds) / step);
    state_.increment = (1.0 - state_.progress) / steps_left;
  }
  if (state_.seconds >= seconds_ * 1.02) state_.progress = 1.0;
  state_.progress = std::min(state_.progress, 1.0);
}

double TrainingPlan::seconds_left() const {
  if (steps_ > 0) {
    return state_.steps == 0 ? 0.0
                             : state_.seconds / static_cast<double>(state_.steps) *
                                   static_cast<double>(steps_ - state_.steps);
  }
  return std::max(0.0, seconds_ - state_.seconds);
}

}  // namespace ddpmts
