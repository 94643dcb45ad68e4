#include "app/training_loop.h"

#include <cstdio>

#include "app/interrupt.h"
#include "app/progress_line.h"
#include "engine/error.h"

namespace ddpmts::app {

using nlohmann::ordered_json;

namespace {

constexpr int kMostSkipped = 10;

}  // namespace

bool TrainingLoop::run(TrainingPlan& plan) const {
  JsonLines lines(log, append);
  ProgressLine line;
  double last_checkpoint = now_seconds();
  double step_seconds = 0;  // smoothed
  int skipped = 0;          // in a row
  while (!plan.done() && !interrupted()) {
    const double start = now_seconds();
    ordered_json record = step(plan.progress());
    const double seconds = now_seconds() - start;
    step_seconds = step_seconds == 0 ? seconds : 0.9 * step_seconds + 0.1 * seconds;
    plan.advance(seconds);
    skipped = record.at("finite").get<bool>() ? 0 : skipped + 1;
    if (skipped > 0) {
      std::fprintf(stderr, "step %lld: a gradient was not finite; the step was skipped\n",
                   static_cast<long long>(plan.state().steps));
    }
    if (skipped == kMostSkipped) {
      throw_error(
          "{} steps in a row were not finite, up to step {}: start over with a lower --learning-rate, or "
          "with "
          "--precision f32",
          kMostSkipped, plan.state().steps);
    }
    const double speed = static_cast<double>(pictures_per_step) / step_seconds;
    const double mebibytes = static_cast<double>(peak_memory()) / 1048576.0;
    record.update({{"step", plan.state().steps},
                   {"progress", plan.progress()},
                   {"images_per_second", speed},
                   {"seconds", plan.state().seconds},
                   {"seconds_left", plan.seconds_left()},
                   {"memory_mib", mebibytes}});
    if (plan.state().steps % log_every == 0 || plan.done()) lines.write(record);
    if (line.due() || plan.done()) {
      line.show(fmt::format("step {:5d} {:3.0f} %  {}  {:.1f} img/s  {} left  {:.0f} MiB", plan.state().steps,
                            plan.progress() * 100, text(record), speed, clock_text(plan.seconds_left()),
                            mebibytes));
    }
    if (now_seconds() - last_checkpoint > checkpoint_minutes * 60) {
      save();
      last_checkpoint = now_seconds();
    }
  }
  line.finish();
  save();
  return plan.done();
}

}  // namespace ddpmts::app
