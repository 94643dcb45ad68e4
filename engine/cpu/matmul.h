// Matrix products by oneDNN, also as a building block of attention. Only engine/cpu includes this.
#pragma once

#include "engine/primitives.h"

namespace ddpmts::cpu {

/// c += op(a)·op(b) instead of c = op(a)·op(b); the result type must be f32.
void matmul_accumulate(const MatmulShape& shape, const void* a, const void* b, float* c);

}  // namespace ddpmts::cpu
