// Draws pictures from a diffusion model: new ones from noise, changed ones from a picture, disturbed or not, everywhere or
// inside a mask.
//
// Picture j of a seed is a function of (seed, j) and of the network alone: of no other picture in the batch. Its random
// numbers are keyed by j; the network works on each picture by itself.
//
// On a GPU the reverse step (the network and what follows it) is one graph (engine/step_graph.h), also from one call of
// sample() to the next, as long as the batches are alike. Timesteps and coefficients are copied to where it reads them
// before every step.
#pragma once

#include <functional>
#include <memory>

#include "engine/step_graph.h"
#include "models/diffusion.h"
#include "models/unet.h"

namespace ddpmts {

struct SamplerConfig {
  Prediction prediction = Prediction::noise;  ///< what the network was taught
  ReverseStepOptions step;
  std::int64_t steps = 20;  ///< of the whole chain, as NoiseSchedule::respaced
  /// H1: every picture draws its s from this range. RealNet paints with 0.1 … 0.2 (arXiv 2403.05897).
  double s_low = 0.0, s_high = 0.0;
  double delta = 0.0;  ///< H1′
  /// H3: start from the batch's pictures, diffused to the last visited timestep not after this one (arXiv 2108.01073);
  /// negative: start from noise.
  std::int64_t start_timestep = -1;
  std::uint64_t seed = 0;
};

struct SampleBatch {
  std::vector<std::uint64_t> indices;  ///< j of each picture, below 2^47
  /// [N,size,size,3] u8, on the network's device: where the chain starts (start_timestep ≥ 0) and what is kept.
  Tensor pictures;
  Tensor mask;                ///< [N,size,size] u8: disturbed where 1; empty: everywhere
  bool keep_outside = false;  ///< outside of the mask the pictures stay as they are (arXiv 2201.09865)
};

class Sampler {
 public:
  /// The network and what it was trained with; type: of activations, f32 or bf16. Keeps a reference to the network.
  /// Throws Error when the configuration makes no sense.
  Sampler(const UNet& network, const NoiseSchedule& schedule, const SamplerConfig& config, DType type);

  /// How many reverse steps a picture takes.
  std::int64_t steps() const { return static_cast<std::int64_t>(first_) + 1; }

  /// → u8 pictures [N,size,size,3] on the network's device. `after_step(done)` is called after every reverse step.
  /// Throws ShapeError when the batch does not fit the network or the configuration.
  /// Safe from one thread at a time.
  Tensor sample(const SampleBatch& batch, const std::function<void(std::int64_t)>& after_step = {}) const;

  /// How often the reverse step was captured as a graph.
  std::int64_t captures() const { return dropped_captures_ + (chain_ ? chain_->graph.captures() : 0); }

 private:
  /// What a reverse step reads and writes; kept for the next batch of its kind.
  struct Chain {
    Tensor x;                    // f32
    Tensor timesteps;            // [N] i32
    Buffer coefficients;         // [N] ReverseStepCoefficients
    ReverseStep step;            // mask and known picture; not the coefficients
    ReverseStepOutputs outputs;  // the network's next input; pictures
    StepGraph graph;
  };
  Chain& chain_of(const SampleBatch& batch) const;
  void enqueue_step(const Chain& chain) const;
  void check(const SampleBatch& batch) const;
  Tensor start(const SampleBatch& batch) const;
  Disturbance disturbance_of(std::uint64_t index) const;

  const UNet& network_;
  SamplerConfig config_;
  DType type_;
  ReverseSchedule schedule_;
  std::size_t first_;  // index in schedule_ of the step that the chain begins with
  mutable std::unique_ptr<Chain> chain_;
  mutable std::int64_t dropped_captures_ = 0;
};

}  // namespace ddpmts
