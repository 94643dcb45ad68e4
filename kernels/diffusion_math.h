// Standard normal numbers from Philox bits, shared by forward and reverse diffusion on both devices.
#pragma once

#include "kernels/philox.h"

namespace ddpmts::kernels {

/// Four independent N(0, 1) numbers from one Philox block: Box and Muller (1958) on (x, y) and on (z, w).
/// |value| ≤ 6.7. The same bits on every machine when compiled without contraction.
Float4 gaussians(const Uint4& bits);

}  // namespace ddpmts::kernels
