// Matrix products by cuBLASLt.
#pragma once

#include "engine/primitives.h"

namespace ddpmts::cuda {

/// c = op(a)·op(b) (+ bias) (+ c itself where `accumulate`), row-major as in engine/primitives.h.
void product(int device, const MatmulShape& shape, const void* a, const void* b, const float* bias,
             bool accumulate, void* c);

}  // namespace ddpmts::cuda
