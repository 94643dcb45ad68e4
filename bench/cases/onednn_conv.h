// A convolution by oneDNN alone: what its best kernel for a shape reaches where nothing else has to be done. Ours is held
// against it with `--against onednn`.
#pragma once

#include <functional>

#include "engine/primitive_shapes.h"
#include "engine/tensor.h"

namespace ddpmts::bench {

/// What a pass reads; where the pass makes one of them, only its shape counts.
struct ConvTensors {
  Tensor x;     ///< [n, h, w, c]
  Tensor w;     ///< [k, r, s, c]
  Tensor y;     ///< [n, p, q, k]; dy in the backward passes
  Tensor bias;  ///< [k] f32, added by the forward pass
};

struct OnednnConv {
  std::function<void()> run;       ///< one primitive's execution and nothing besides
  std::function<Tensor()> result;  ///< of the last run, as ours lays it out: y, dx or dw (f32)
};

/// On the CPU, with the direct algorithm. Every array lies in the layout that oneDNN chooses for the pass (`any`), copied there
/// beforehand, with the scratchpad in place. forward: bias and, where asked for, ReLU; backward_weights: with the bias'
/// gradient. Throws dnnl::error for what oneDNN does not have.
OnednnConv onednn_conv(const ConvShape& shape, ConvPass pass, bool relu, const ConvTensors& tensors);

}  // namespace ddpmts::bench
