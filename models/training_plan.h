// How far a training run is: by a number of steps, or by minutes of wall time. Learning rate and stages follow
// `progress`, which is part of the checkpoint, so that a resumed run goes on exactly where it was.
#pragma once

#include <cstdint>

namespace ddpmts {

class TrainingPlan {
 public:
  struct State {
    std::int64_t steps = 0;
    double progress = 0;   ///< in [0, 1]; 1: done
    double increment = 0;  ///< of progress per step
    double seconds = 0;    ///< of training so far, over all sessions
  };

  /// Exactly one of steps and minutes is > 0; throws Error otherwise.
  TrainingPlan(std::int64_t steps, double minutes);

  bool done() const { return steps_ > 0 ? state_.steps >= steps_ : state_.progress >= 1.0; }
  double progress() const { return state_.progress; }
  /// To be called after every step with the seconds it took. A plan by minutes measures its first steps, then keeps
  /// to the clock by adjusting the increment every kReplanSteps steps.
  void advance(double step_seconds);
  double seconds_left() const;

  const State& state() const { return state_; }
  void restore(const State& state) { state_ = state; }

 private:
  static constexpr std::int64_t kReplanSteps = 50;
  std::int64_t steps_;
  double seconds_;
  State state_;
};

}  // namespace ddpmts
