// A thread of control with a stack of its own, switched by hand: one CUDA thread of a block is one fiber.
#pragma once

#include <cstddef>

namespace ddpmts::shim {

class Fiber {
 public:
  Fiber();
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  /// The next resume() calls body(argument) on this fiber's stack. Whatever ran there before is forgotten: its
  /// destructors do not run.
  void start(void (*body)(void*), void* argument);
  /// Runs until the fiber calls leave() or its body returns. Called from outside of any fiber.
  void resume();
  bool finished() const { return finished_; }
  /// Called on a fiber: back to the one who called resume().
  static void leave();

 private:
  static void enter();
  void switch_out();

  static constexpr std::size_t kStackBytes = 256 * 1024;
  struct Context;  // of the processor
  Context* context_ = nullptr;
  char* stack_ = nullptr;
  void (*body_)(void*) = nullptr;
  void* argument_ = nullptr;
  bool finished_ = true;
};

}  // namespace ddpmts::shim
