// Where the time of a piece of code goes: every kernel launch and every library primitive by its name.
#pragma once

#include <chrono>
#include <cstring>
#include <vector>

#include "engine/device.h"

namespace ddpmts {

/// While alive, times what this thread launches. The innermost one alive notes. On a GPU it waits for the device around
/// each piece of work, so that the whole takes longer than it does untraced.
class TimeTrace {
 public:
  struct Part {
    const char* name;  ///< of the kernel's contract, or of the function in engine/primitives.h
    std::int64_t calls = 0;
    double seconds = 0.0;
  };

  TimeTrace() : outer_(current_) { current_ = this; }
  ~TimeTrace() { current_ = outer_; }
  TimeTrace(const TimeTrace&) = delete;
  TimeTrace& operator=(const TimeTrace&) = delete;

  /// In the order in which each was first seen.
  const std::vector<Part>& parts() const { return parts_; }

  static bool on() { return current_ != nullptr; }
  static void note(const char* name, double seconds) {
    for (Part& part : current_->parts_) {
      if (std::strcmp(part.name, name) != 0) continue;
      ++part.calls;
      part.seconds += seconds;
      return;
    }
    current_->parts_.push_back({name, 1, seconds});
  }

 private:
  static inline thread_local TimeTrace* current_ = nullptr;

  TimeTrace* outer_;
  std::vector<Part> parts_;
};

/// work(), timed while a TimeTrace is alive.
template <class F>
void traced(Device device, const char* name, F&& work) {
  if (!TimeTrace::on()) return work();
  synchronize(device);
  const auto start = std::chrono::steady_clock::now();
  work();
  synchronize(device);
  TimeTrace::note(name, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
}

}  // namespace ddpmts
