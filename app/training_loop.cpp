#include "app/training_loop.h"

#include <cstdio>

#include "app/interrupt.h"
#include "app/progress_line.h"
#include "engine/error.h"

namespace ddpmts::app {

using nlohmann::ordered_json;

bool TrainingLoop::run(TrainingPlan& plan) const {
  JsonLines lines(log, append);
  ProgressLine line;
  double last_checkpoint = now_seconds();
  double step_seconds = 0;  // smoothed
  while (!plan.done() && !interrupted()) {
    const double start = now_seconds();
    ordered_json record = step(plan.progress());
    const double seconds = now_seconds() - start;
    step_seconds = step_seconds == 0 ? seconds : 0.9 * step_seconds + 0.1 * seconds;
    plan.advance(seconds);
    if (!record.at("finite").get<bool>()) {
      std::fprintf(stderr, "step %lld: a gradient was not finite; the step was skipped\n",
                   static_cast<long long>(plan.state().steps));
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
