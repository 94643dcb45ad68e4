// How far a training run is: by a number of steps, or by minutes of training. Learning rate and stages follow `progress`;
// what it is made of is part of the checkpoint, so that a resumed run goes on exactly where it was.
#pragma once

#include <algorithm>
#include <cstdint>

namespace ddpmts {

class TrainingPlan {
 public:
  struct State {
    std::int64_t steps = 0;
    double seconds = 0;  ///< of training so far, over all sessions
  };

  /// Exactly one of steps and minutes is > 0; throws Error otherwise.
  TrainingPlan(std::int64_t steps, double minutes);

  bool done() const { return progress() >= 1.0; }
  /// In [0, 1]; 1: done.
  double progress() const {
    const double share = steps_ > 0 ? static_cast<double>(state_.steps) / static_cast<double>(steps_)
                                    : state_.seconds / seconds_;
    return std::min(share, 1.0);
  }
  /// To be called after every step with the seconds it took.
  void advance(double step_seconds) {
    ++state_.steps;
    state_.seconds += step_seconds;
  }
  double seconds_left() const;

  const State& state() const { return state_; }
  void restore(const State& state) { state_ = state; }

 private:
  std::int64_t steps_;
  double seconds_;
  State state_;
};

}  // namespace ddpmts
