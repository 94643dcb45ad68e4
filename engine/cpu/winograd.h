// Convolutions by Winograd's algorithm (kernels/winograd.h), for shapes where it is faster than oneDNN's direct one. Only
// engine/cpu and the tests include this.
#pragma once

#include "engine/primitives.h"

namespace ddpmts::cpu {

/// Whether Winograd's algorithm computes this pass of this shape. It can where the filter is 3×3, the stride 1, the padding
/// the dilation and the type f32; it does where that saves enough: see winograd.cpp for the measure.
bool uses_winograd(const ConvShape& shape, ConvPass pass);

/// As engine/primitives.h has them, for any shape that Winograd's algorithm can compute, f32.
void winograd_forward(const ConvShape& shape, const float* x, Parameter& weight, const ConvEpilogue& epilogue,
                      float* y);
void winograd_backward_data(const ConvShape& shape, const float* dy, Parameter& weight, float* dx);

}  // namespace ddpmts::cpu
