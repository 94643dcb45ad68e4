#include "models/training_plan.h"

#include "engine/error.h"

namespace ddpmts {

TrainingPlan::TrainingPlan(std::int64_t steps, double minutes) : steps_(steps), seconds_(minutes * 60.0) {
  if ((steps > 0) == (minutes > 0)) throw_error("give either --steps or --minutes, above zero");
}

double TrainingPlan::seconds_left() const {
  if (steps_ == 0) return std::max(0.0, seconds_ - state_.seconds);
  if (state_.steps == 0) return 0.0;
  return state_.seconds / static_cast<double>(state_.steps) * static_cast<double>(steps_ - state_.steps);
}

}  // namespace ddpmts
