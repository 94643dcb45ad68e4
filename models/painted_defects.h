// Defects painted on pictures of good parts, with their labels.
#pragma once

#include <vector>

#include "data/view.h"
#include "engine/tensor.h"

namespace ddpmts {

struct PaintedDefects {
  Tensor pictures;                  ///< u8 [N,side,side,3]
  Tensor masks;                     ///< u8 [N,side,side], 0 or 1
  std::vector<std::int64_t> bases;  ///< index of the good picture that each was painted on
  std::vector<View> views;          ///< where the chain looked; empty for defects from disk
  std::vector<float>
      changes;  ///< levels, mean over the mask of the largest channel's; empty for defects from disk
};

}  // namespace ddpmts
