// A record of the library work that a piece of code causes: every convolution with its shape, and the arithmetic of
// convolutions, matrix products and attention together. The benchmark derives its shapes and its counts from it, so that
// they are the networks' own.
#pragma once

#include <vector>

#include "engine/primitives.h"

namespace ddpmts {

struct TracedConv {
  ConvShape shape;
  ConvPass pass = ConvPass::forward;
  bool bias = false, residual = false, relu = false;  ///< of the epilogue; bias also of the weights' gradient
  bool operator==(const TracedConv&) const = default;
};

/// While alive, notes what this thread computes through engine/primitives.h. The innermost one alive notes.
class PrimitiveTrace {
 public:
  PrimitiveTrace() : outer_(current_) { current_ = this; }
  ~PrimitiveTrace() { current_ = outer_; }
  PrimitiveTrace(const PrimitiveTrace&) = delete;
  PrimitiveTrace& operator=(const PrimitiveTrace&) = delete;

  /// In the order of the calls.
  const std::vector<TracedConv>& convs() const { return convs_; }
  /// Two for every multiplication and addition.
  double flops() const { return flops_; }

  static bool on() { return current_ != nullptr; }
  static void note(const TracedConv& conv) {
    if (current_ == nullptr) return;
    current_->convs_.push_back(conv);
    current_->flops_ += conv.shape.flops();
  }
  static void note_flops(double flops) {
    if (current_ != nullptr) current_->flops_ += flops;
  }

 private:
  static inline thread_local PrimitiveTrace* current_ = nullptr;

  PrimitiveTrace* outer_;
  std::vector<TracedConv> convs_;
  double flops_ = 0.0;
};

}  // namespace ddpmts
